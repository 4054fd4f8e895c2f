"""How soon rows reach a target: areas under profiles by their closed form, by integration, and by resampled seeds."""

from __future__ import annotations

import json
import math

import making
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganbench import ranking
from ganbench.arrivals import MOST, standings
from ganbench.arrivals_table import arrivals, tables_of
from ganbench.cli import main
from ganbench.records import write_json
from ganbench.results import Results
from ganbench.tabulate import tables


def rows(times):
    """What :func:`standings` takes, of ``times`` [rows, blocks, seeds]."""
    return [{(b, s): float(t) for b, seeds in enumerate(row) for s, t in enumerate(seeds)} for row in times]


def test_areas_are_what_is_left_of_the_budget_and_misses_have_none():
    first, second, never = standings(rows([[[10.0, 8.0]], [[20.0, 4.0]], [[math.inf, 16.0]]]))
    assert first.area.mean == pytest.approx((1 + (4 - 2) / 3) / 2)
    assert second.area.mean == pytest.approx(((4 - 2) / 3 + 1) / 2)
    assert never.area.mean == 0  # four times the fastest is where the profile ends
    assert (first.first, second.first, never.first) == (1, 1, 0)
    assert (first.reached, never.reached, never.pairs) == (2, 1, 2)
    assert [p.mean for p in never.profile] == [0, 0, 0, 0, 0, 0.5]


def test_where_nothing_arrives_nobody_is_first():
    both = standings(rows([[[math.inf]], [[math.inf]]]))
    assert [(one.area.mean, one.first, one.reached) for one in both] == [(0, 0, 0)] * 2
    assert standings([{(0, 0): 1.0}, {(0, 1): 1.0}]) is None
    assert standings([]) is None


times = st.one_of(st.floats(0.1, 1e3), st.just(math.inf))


@given(st.lists(st.lists(times, min_size=4, max_size=4), min_size=2, max_size=3), st.floats(0.5, 50))
def test_the_area_is_the_integral_of_the_profile_whatever_the_unit(found, unit):
    values = np.array(found).reshape(len(found), 2, 2)
    best = values.min(0)
    at = np.linspace(1, MOST, 3001)
    for one, scaled, row in zip(standings(rows(values)), standings(rows(values * unit)), values, strict=True):
        t = np.where(np.isinf(row), np.inf, row / np.where(np.isinf(best), 1, best))
        shares = (t[..., None] <= at + 1e-12).mean((0, 1))
        assert one.area.mean == pytest.approx(np.trapezoid(shares, at) / (MOST - 1), abs=1e-3)
        assert one.area.mean == pytest.approx(scaled.area.mean)


def test_intervals_are_those_of_resampled_whole_seeds():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=(2, 5, 6)))
    one = standings(rows(values))[1]
    t = values[1] / values.min(0)
    area = np.maximum(0, MOST - t)[None] / (MOST - 1)
    half = ranking.half_widths(ranking.joint(area, lambda x: x[:, 0].mean((1, 2)), draws=20_000), 6)
    assert one.area.mean == pytest.approx(area.mean())
    assert one.area.half == pytest.approx(half, rel=0.03)  # the error of so many draws
    assert one.area.n == 6
    assert standings(rows(values[:, :, :1]))[0].area.low is None


def run_with_times(folder, seconds, **changed):
    """A run with a cell for each loss in ``seconds``, whose trials reach fd 30 then; None: the trial failed."""
    run = making.make_run(folder / "r", dict.fromkeys(seconds), seeds=(0, 1))
    raw = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", raw | {"settings": {"targets": {"fd": 30.0}}})
    for loss, found in seconds.items():
        for seed, when in enumerate(found):
            if when is None:
                (making.add_trial(run, loss, seed, status="oom", measures={}) / "curves.jsonl").unlink()
                continue
            trial = making.add_trial(run, loss, seed, **changed.get(loss, {}))
            (trial / "curves.jsonl").write_text(json.dumps({"step": 5, "train_s": when, "fd": 30.0}) + "\n")
    return Results(run)


def test_tables_have_the_area_of_each_cell_and_say_what_it_is(tmp_path):
    results = run_with_times(tmp_path, {"hinge": (1.0, 2.0), "minimax": (2.0, None)})
    (table,) = tables(results)
    assert [row.entries["fd_to_30_s_area"].mean for row in table.rows] == pytest.approx([1, 1 / 3])
    assert any(footer.startswith("Area: ") for footer in table.footers)
    (alone,) = tables(run_with_times(tmp_path / "alone", {"hinge": (1.0, 2.0)}))
    assert "fd_to_30_s_area" not in [c.name for c in alone.columns]


def test_times_of_several_machines_have_no_area(tmp_path):
    other = {"minimax": {"fingerprints": {"hardware": "other"}}}
    results = run_with_times(tmp_path, {"hinge": (1.0, 2.0), "minimax": (2.0, 2.0)}, **other)
    assert arrivals(results.records, results.targets, role="loss") == []
    assert "fd_to_30_s_area" not in [c.name for c in tables(results)[0].columns]


@pytest.mark.parametrize("style", ["rich", "md", "latex", "html", "csv", "json"])
def test_the_rank_command_shows_areas_of_levels(tmp_path, capsys, monkeypatch, style):
    monkeypatch.setenv("COLUMNS", "160")
    results = run_with_times(tmp_path, {"hinge": (1.0, 2.0), "minimax": (2.0, 8.0)})
    (found,) = arrivals(results.records, results.targets, role="loss")
    assert (found.blocks, found.seeds, found.lacking, found.unlike) == (1, 2, 0, 0)
    assert {level: one.area.mean for level, one in found.levels.items()} == pytest.approx(
        {"hinge": 1, "minimax": 1 / 3}
    )
    assert [len(tables_of([found], profiles=profiles)) for profiles in (False, True)] == [1, 2]
    assert main(["rank", str(results.path), "--by", "loss", "--profile", "--format", style]) == 0
    out = capsys.readouterr().out
    if style == "json":
        soon, profile = (table["rows"] for table in json.loads(out)[-2:])
        assert [row["area"] for row in soon] == pytest.approx([1, 1 / 3])
        assert [row["within_2"] for row in profile] == [1, 0.5]
        assert [row["reached"] for row in soon] == ["2/2", "2/2"]
    else:
        assert "fd 30" in out
        assert "2/2" in out


def test_blocks_that_a_level_lacks_are_left_out_and_counted(tmp_path):
    results = run_with_times(tmp_path, {"hinge": (1.0, 2.0), "minimax": (2.0, 8.0)})
    records = results.records
    more = records[records["loss"] == "hinge"].assign(generator="other", cell="other")
    import pandas as pd

    (found,) = arrivals(pd.concat([records, more], ignore_index=True), results.targets, role="loss")
    assert (found.blocks, found.lacking) == (1, 1)
    assert "left out: 1 that some level lacks" in " ".join(tables_of([found])[0].footers)
