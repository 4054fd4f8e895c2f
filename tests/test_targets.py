"""Time to quality: what is reached, when, and what is missed."""

from __future__ import annotations

import json
import math

import making
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganbench.errors import ConfigError
from ganbench.grid import Grid
from ganbench.records import write_json
from ganbench.results import Results, load
from ganbench.runner import Options, execute
from ganbench.tabulate import tables
from ganbench.targets import frontier, median, reached, text


def lines(*values: float | None) -> list[dict[str, float | None]]:
    return [{"step": i, "train_s": float(10 * i), "fd": value} for i, value in enumerate(values, 1)]


def test_the_first_evaluation_as_good_as_the_target_counts_and_nothing_is_interpolated():
    assert reached(lines(50.0, 29.0, 35.0, 20.0), "fd", 30.0, "lower") == 20.0
    assert reached(lines(50.0, 30.0), "fd", 30.0, "lower") == 20.0
    assert reached(lines(0.1, None, 0.9), "fd", 0.5, "higher") == 30.0
    assert reached(lines(50.0, 31.0), "fd", 30.0, "lower") == math.inf
    assert reached(lines(50.0), "kid", 30.0, "lower") is None
    assert reached(lines(50.0), "fd", 30.0, None) is None


def test_misses_take_part_in_the_median():
    assert median([1.0, 2.0, math.inf]) == 2.0
    assert median([1.0, math.inf, math.inf]) == math.inf
    assert median([1.0, math.inf]) == math.inf
    assert median([1.0, 3.0]) == 2.0
    assert text([1.0, 2.0, math.inf]) == "2 s (2/3)"
    assert text([math.inf]) == "never (0/1)"
    assert text([12345.0]) == "12,345 s (1/1)"


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20))
def test_the_frontier_is_what_nothing_beats_in_both(points):
    found = frontier(points, "lower")
    beaten = {
        p for p in points if any((q[0] <= p[0] and q[1] < p[1]) or (q[0] < p[0] and q[1] <= p[1]) for q in points)
    }
    assert set(found) == set(points) - beaten
    assert found == sorted(found)
    mirrored = frontier([(s, -v) for s, v in points], "higher")
    assert [(s, -v) for s, v in mirrored] == found


def run_with_target(folder, target: float) -> Results:
    run = making.make_run(folder / "r", {"hinge": None}, seeds=(0, 1, 2))
    raw = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", raw | {"settings": {"targets": {"fd": target}}})
    for seed, values in enumerate([(40.0, 20.0), (30.0, 35.0)]):
        trial = making.add_trial(run, "hinge", seed)
        (trial / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(*values)))
    trial = making.add_trial(run, "hinge", 2, status="crashed", measures={}, reason="x")
    (trial / "curves.jsonl").unlink()
    return load(run)


def test_records_tables_and_the_frontier_have_it(tmp_path):
    results = run_with_target(tmp_path, 30.0)
    assert list(results.records["fd_to_30_s"]) == [20.0, 10.0, math.inf]
    (table,) = tables(results)
    assert table.rows[0].entries["fd_to_30_s"] == "20 s (2/3)"
    assert table.column("fd_to_30_s").header == "s to fd 30"
    assert any("infinite" in footer for footer in table.footers)
    found = results.frontier("fd")
    assert list(found["fd"]) == [35.0, 27.5]
    assert list(found["train_s"]) == [10.0, 20.0]


def test_a_target_of_no_measure_names_the_nearest(small, tmp_path):
    small["run"]["targets"] = {"sw": 1.0}
    with pytest.raises(ConfigError, match="did you mean 'sw2'"):
        execute(Grid.load(small), tmp_path, Options(device="cpu"))
    small["run"]["targets"] = {"sw2": "low"}
    with pytest.raises(ConfigError, match="table of float"):
        Grid.load(small)


def test_a_target_changes_no_identity_and_takes_no_training(small, tmp_path):
    small["run"] |= {"seeds": 1, "timing": False}
    small["grid"]["regularizer"] = "none"
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    small["run"]["targets"] = {"sw2": 1e9, "sw2_ema": 0.0}
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert not outcome.run.todo
    (row,) = outcome.results.records.to_dict("records")
    first = outcome.results.curves.iloc[0]["train_s"]
    assert row["sw2_to_1e+09_s"] == first > 0
    assert row["sw2_ema_to_0_s"] == math.inf


def test_shares_of_steps_of_several_widths_are_told(tmp_path):
    run = run_with_target(tmp_path, 30.0).path
    assert not any("trained together" in f for f in tables(load(run))[0].footers)
    for seed, stack in enumerate((2, 9)):
        path = run / "trials" / making.cell_of("hinge") / f"seed-{seed}" / "result.json"
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"facts": raw["facts"] | {"stack": stack}}))
    (told,) = [f for f in tables(load(run))[0].footers if "trained together" in f]
    assert "a step that trained 2 to 9 trials together" in told
