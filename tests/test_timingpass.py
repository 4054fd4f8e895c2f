"""The timing pass over a run: its files, when they hold, and what tables make of them."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from ganbench import heartbeat, machine, pacing, timingpass, watch
from ganbench.cli import main
from ganbench.driver import Driver
from ganbench.grid import Grid
from ganbench.records import write_json
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.runner import Options, execute
from ganbench.steptimes import AGAIN, BASELINE, SCHEMA, Block, StepTimes, block_id, file_of
from ganbench.tabulate import tables
from ganbench.timer import BlockJob, time_block
from ganbench.timingpass import Pass, specs_of


def block(rounds: dict[str, list[float]], *, quiet: bool = True, id_: str = "b", drifted: int = 0) -> dict[str, object]:
    """A file of the pass with these rounds; a cell called ``none`` is the baseline."""

    def facts(ms: list[float]) -> dict[str, object]:
        summary = {"step_ms": sorted(ms)[len(ms) // 2], "step_ms_n": len(ms)}
        return {"rounds": ms, "summary": summary, "converged": True, "drifted": drifted, "first_s": 1.0}

    cells = {n: facts(ms) | ({"is_baseline": True} if n == "none" else {}) for n, ms in rounds.items() if n != AGAIN}
    base = facts(rounds["none"])
    again = facts(rounds.get(AGAIN, rounds["none"]))
    return {
        "schema": SCHEMA,
        "block": id_,
        "mode": "serial",
        "exclusive": quiet,
        BASELINE: base,
        AGAIN: again,
        "cells": cells,
    }


def write(folder: Path, content: dict[str, object]) -> None:
    path = file_of(folder, str(content["block"]), "serial")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def test_cells_are_timed_together_if_they_differ_in_regularizers_and_in_what_no_step_sees():
    spec = {"loss": {"use": "hinge"}, "batch": 8, "regularizer": [], "steps": 5, "engine": "serial", "metrics": []}
    assert block_id(spec) == block_id(spec | {"regularizer": [{"use": "r1"}], "steps": 9, "engine": "fused"})
    assert block_id(spec) != block_id(spec | {"batch": 16})
    assert block_id(spec) != block_id(spec | {"loss": {"use": "wasserstein"}})


def test_ratios_are_paired_by_round_and_only_within_a_block(tmp_path):
    write(tmp_path, block({"none": [1.0, 2.0, 4.0], "r1": [1.5, 3.0, 6.0], AGAIN: [1.0, 2.02, 4.0]}))
    write(tmp_path, block({"other": [1.0, 1.0], "none": [1.0, 1.0]}, id_="c"))
    times = StepTimes.read(tmp_path)
    found = times.ratio([("r1", BASELINE)])
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))
    assert times.ratio([("r1", "other")]) is None
    assert times.ratio([("r1", "not timed")]) is None
    (floor,) = times.floors(["r1"])
    assert 0.01 < floor < 0.03


def test_a_file_that_is_not_one_of_the_pass_is_left_out(tmp_path):
    write(tmp_path, block({"none": [1.0], "r1": [2.0]}))
    file_of(tmp_path, "x", "serial").write_text("{}")
    file_of(tmp_path, "y", "serial").write_text("{")
    file_of(tmp_path, "z", "serial").write_text(json.dumps({"schema": SCHEMA, "mode": "serial"}))
    assert set(StepTimes.read(tmp_path).blocks) == {"none", "r1"}


def test_a_run_without_the_pass_flags_the_times_of_training(small, tmp_path):
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    frame = outcome.results.records
    assert set(frame["timed"]) == {"in training"}
    (table,) = tables(outcome.results)
    assert all(row.shared for row in table.rows)
    assert not (tmp_path / "small" / "timing").exists()  # auto: it would take longer than this training


def test_whether_it_pays_does_not_depend_on_what_is_left_to_train(small, tmp_path, monkeypatch):
    passes: list[Pass] = []
    monkeypatch.setattr(Pass, "run", lambda self: passes.append(self) or [])
    options = Options(device="cpu", workers=2)
    records = execute(Grid.load(small), tmp_path, options).results.trials
    assert len(records) > 1
    spent = sum(r.timing["wall_s"] / r.facts["together"] for r in records)
    for share, expected in ((0.75, 0), (0.25, 1)):  # of two processes, each spends half
        monkeypatch.setattr(Pass, "expected", share * spent)
        passes.clear()
        assert not execute(Grid.load(small), tmp_path, options).run.todo
        assert len(passes) == expected


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass of the same course in a tenth of a second."""
    monkeypatch.setattr(pacing, "WINDOW", 0.002)
    monkeypatch.setattr(pacing, "WARM_SECONDS", 0.01)
    monkeypatch.setattr(pacing, "LEAST", 0.002)


def test_what_the_pass_finds_is_in_records_and_tables(small, tmp_path, quick):
    small["run"]["seeds"] = 1
    small["grid"]["regularizer"] = ["none", "r1", {"use": "r1", "every": 4}]
    run = execute(Grid.load(small), tmp_path, Options(device="cpu")).run
    folder = tmp_path / "small"
    made = Pass(folder=folder, cells=[c.cell for c in run.plan.combinations])
    ((id_, cells),) = made.blocks()
    assert not made.kept(id_, cells)
    job = BlockJob(
        file=file_of(folder, id_, "serial"),
        block=id_,
        mode="serial",
        specs={cell.name: cell.spec for cell in cells},
        plugins=(),
        without=(),
        device="cpu",
        threads=1,
        seconds=0.0,
    )
    time_block(job)
    assert made.kept(id_, cells)
    assert not made.kept(id_, cells[:2]), "with other cells it is another comparison"
    found = Block.read(job.file)
    assert found is not None
    assert {len(rounds) for rounds in found.rounds.values()} == {pacing.ROUNDS}
    lazy = cells[2].name
    assert found.cells[lazy]["steps_a_round"] % 4 == 0
    results = Results(folder)
    frame = results.records.set_index("regularizer")
    assert set(frame["timed"]) == {"apart"}
    assert frame.loc["none", "step_ratio"] == 1.0
    assert frame.loc["r1", "step_ratio_low"] < frame.loc["r1", "step_ratio"] < frame.loc["r1", "step_ratio_high"]
    assert (frame["train_step_ms"] > 0).all()
    assert (frame["first_step_s"] > 0).all()
    (table,) = tables(results)
    ratios = [row.entries["step_ratio"] for row in table.rows]
    assert [ratio.n for ratio in ratios] == [1, pacing.ROUNDS, pacing.ROUNDS]
    assert any("noise floor" in text and "apart" in text for text in table.footers)
    specs, settings, files = specs_of(results)
    assert [spec["regularizer"] for spec in specs] == [cell.spec["regularizer"] for cell in cells]
    assert (settings.seeds, files) == (1, ())


def test_a_cell_that_cannot_step_says_so_and_the_others_are_timed(small, tmp_path, plugins, quick):
    small["run"]["plugins"] = [str(plugins / "trouble.py")]
    small["grid"]["regularizer"] = ["none", "raises", "r1"]
    grid = Grid.load(small)
    cells = [c.cell for c in grid.combinations(Registry.load(grid.plugin_files))]
    job = BlockJob(
        file=tmp_path / "timing" / "b-serial.json",
        block="b",
        mode="serial",
        specs={cell.name: cell.spec for cell in cells},
        plugins=grid.plugin_files,
        without=(),
        device="cpu",
        threads=1,
        seconds=0.0,
    )
    time_block(job)
    times = StepTimes.read(tmp_path)
    assert set(times.blocks) == {cells[0].name, cells[2].name}
    found = Block.read(job.file)
    assert found is not None
    assert "the plugin's own mistake" in found.cells[cells[1].name]["error"]


def test_a_pass_says_what_it_is_at_and_how_long_it_will_take(small, tmp_path, monkeypatch, capsys):
    small["grid"]["loss"] = ["hinge", "non-saturating"]
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu", seeds=(0,), timing=False))
    folder, told, seen = tmp_path / "small", [], []

    def look(*_: object) -> str:
        (heard,) = heartbeat.read(folder)
        board = watch.look(folder)
        assert board is not None
        assert main(["status", str(folder)]) == 0
        seen.append((heard.pulse.doing, heard.pulse.left_s, tuple(board.doing), capsys.readouterr().out))
        return ""

    monkeypatch.setattr(Pass, "_time", look)
    monkeypatch.setattr(timingpass, "only_timing", contextlib.nullcontext)  # tests beside this one may be timing
    cells = [c.cell for c in outcome.run.plan.combinations]
    assert Pass(folder=folder, cells=cells, seconds=5.0, tell=told.append).run() == []
    doing = [f"timing pass: block {n} of 2, 2 cells" for n in (1, 2)]
    assert told[0] == f"{doing[0]}, about 40 s left"  # two blocks of two cells and twice the baseline, of 5 s each
    assert [s[0] for s in seen] == doing
    assert [s[2] for s in seen] == [(d,) for d in doing]
    assert seen[0][1] == pytest.approx(40, abs=1)
    assert seen[1][1] < 20  # the first took a moment, and so will the second
    assert "block 1 of 2" in seen[0][3]
    assert "0 of 0 trials" not in seen[0][3]
    assert heartbeat.read(folder) == []


@pytest.mark.slow
def test_the_command_times_a_run_and_keeps_what_holds(small, tmp_path, capsys):
    execute(Grid.load(small), tmp_path, Options(device="cpu", timing=True))
    files = {path: path.read_bytes() for path in (tmp_path / "small" / "timing").iterdir()}
    assert len(files) == 1
    assert main(["time", "small", "--results", str(tmp_path), "--device", "cpu", "--json"]) == 0
    assert {path: path.read_bytes() for path in files} == files
    rows = json.loads(capsys.readouterr().out)
    assert [row["timed"] for row in rows] == ["apart", "apart"]
    assert main(["time", "small", "--results", str(tmp_path), "--device", "cpu", "--again", "--seconds", "0.1"]) == 0
    assert {path: path.read_bytes() for path in files} != files
    assert "noise floor" in capsys.readouterr().out


def test_a_run_that_is_interrupted_in_the_pass_ends_as_one_that_is_interrupted_in_training(
    small, tmp_path, monkeypatch
):
    def interrupt(_pass):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pass, "run", interrupt)
    small["run"] |= {"timing": True, "seeds": 1}
    ended = []
    monkeypatch.setattr(Driver, "finished", lambda driver: ended.append(driver.interrupted))
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert (outcome.exit_code, ended) == (130, [True])
    assert set(outcome.results.records["status"]) == {"done"}


def test_what_was_timed_with_other_code_is_not_shown(tmp_path):
    found = block({"none": [1.0, 2.0], "r1": [1.5, 3.0]})
    for cell in found["cells"].values():
        cell["code"] = "then"
    write(tmp_path, found)
    times = StepTimes.read(tmp_path)
    assert set(times.of({"none": {"then"}, "r1": {"now"}}).blocks) == {"none"}
    assert set(times.of({"none": {"then"}, "r1": {"now", "then"}}).blocks) == {"none", "r1"}


def test_the_command_says_what_it_lacks(small, tmp_path, capsys, plugins):
    plugin = tmp_path / "away.py"
    plugin.write_text((plugins / "trouble.py").read_text())
    small["run"] |= {"plugins": [str(plugin)], "seeds": 1, "timing": False}
    small["grid"]["regularizer"] = "none"
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    plugin.unlink()
    command = ["time", "small", "--results", str(tmp_path), "--device", "cpu", "--seconds"]
    assert main([*command, "0"]) == 2
    assert "'0' is not a number of seconds above 0" in capsys.readouterr().err
    assert main([*command, "0.05"]) == 0
    told = capsys.readouterr()
    assert "away.py, which the run's grid names: give its place with --plugin" in told.err
    assert "none" in told.out
    spec = next((tmp_path / "small").glob("trials/*/seed-0/spec.json"))
    content = json.loads(spec.read_text())
    del content["spec"]["channels_last"]
    spec.write_text(json.dumps(content))
    assert main([*command, "0.05"]) == 2
    assert "of another version of ganbench, has no channels_last" in capsys.readouterr().err
    spec.unlink()
    assert main([*command, "0.05"]) == 2
    assert "no trial of this cell has its spec.json" in capsys.readouterr().err


def test_other_work_is_what_the_machine_did_less_our_own(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 900 0 25 25 0 0 0\ncpu0 1 2 3\n")
    ticks = os.sysconf("SC_CLK_TCK")
    assert machine.busy_seconds(stat) == pytest.approx(200 / ticks)
    assert machine.busy_seconds(tmp_path / "absent") is None
    clock = {"now": 0.0, "busy": 100.0, "own": 10.0}
    for name, key in (("now", "now"), ("busy_seconds", "busy"), ("own_seconds", "own")):
        monkeypatch.setattr(machine, name, lambda key=key: clock[key])
    watch = machine.Watch(0.0, 100.0, 10.0)
    clock.update(now=10.0, busy=117.0, own=19.0)
    assert watch.others() == pytest.approx(0.8)


def test_facts_of_a_gpu_are_read_from_its_tool(monkeypatch):
    other, absent = "1", "999999999"  # the first process of every system, and a number above all
    answers = {
        f"--query-gpu={','.join(machine.GPU_FACTS)}": ["1980, 2619, 41, 120.5"],
        "--query-gpu=clocks_throttle_reasons.active": ["0x0"],
        "--query-compute-apps=pid": [other, str(os.getpid()), str(os.getppid())],
    }
    monkeypatch.setattr(machine, "_ask", lambda gpu, query: answers.get(query, []))
    found = machine.gpu_state("GPU-a")
    assert found is not None
    assert (found["clocks.sm"], found["throttled"]) == ("1980", "0x0")
    assert found["others"] == 1
    answers["--query-compute-apps=pid"] = [absent, "999999998"]  # those of the host: one of them is this process
    assert machine.gpu_state(0) == {**found, "others": 1}
    answers.clear()
    assert machine.gpu_state(0) is None
