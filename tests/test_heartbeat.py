"""The heartbeat of a run: written while it goes on, removed at its end; what a dead driver left is known as such."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import making
import pytest

from ganbench import board, heartbeat, standing, watch
from ganbench import plan as planning
from ganbench.board import Board
from ganbench.cli import main
from ganbench.errors import ResultsError
from ganbench.facts import status_facts
from ganbench.grid import Grid
from ganbench.heartbeat import Beacon
from ganbench.records import Record, Value
from ganbench.registry import Registry
from ganbench.report import figures
from ganbench.results import Results
from ganbench.runner import Options, Run, execute, make_folder


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def run(small, registry, tmp_path: Path) -> Run:
    grid = Grid.load(small)
    plan = planning.make(grid, registry, tmp_path / "small")
    run = Run("small", tmp_path / "small", plan, plan.to_run(), ["cpu"], 2)
    make_folder(run, grid, Options())
    return run


@pytest.fixture
def beacon(run) -> Beacon:
    """Of a driver in the middle of a first trial."""
    beacon = Beacon(run.folder)
    beacon.begin(run)
    trial = run.todo[0].trial
    beacon.started(0, trial)
    beacon.stepped(0, trial, 7, {"d_loss": 1.25, "g_loss": 0.5})
    beacon._beat()
    return beacon


def only(folder: Path) -> heartbeat.Heard:
    (heard,) = heartbeat.read(folder)
    return heard


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def changed(beacon: Beacon, **values: object) -> None:
    beacon.path.write_text(json.dumps(json.loads(beacon.path.read_text()) | values))


def test_a_reader_sees_what_the_driver_knows(run, beacon):
    heard = only(run.folder)
    assert heard.state == "running"
    assert heard.pulse == dataclasses.replace(beacon.pulse(), seconds=heard.pulse.seconds)
    (current,) = heard.pulse.running
    assert (current.step, current.steps, current.losses) == (7, 20, {"d_loss": 1.25, "g_loss": 0.5})
    assert heard.pulse.todo == 4


def test_it_beats_at_most_once_a_second_and_leaves_nothing(run, beacon, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    beacon._beat()
    before = beacon.path.read_text()
    clock[0] += heartbeat.EVERY * 0.9
    beacon.tick()
    assert beacon.path.read_text() == before
    clock[0] += heartbeat.EVERY * 0.2
    beacon.tick()
    assert beacon.path.read_text() != before
    beacon.end()
    assert not beacon.path.parent.exists()
    beacon.end()


def test_a_dead_driver_is_gone_and_the_next_one_clears_it_away(run, beacon):
    changed(beacon, pid=dead_pid())
    assert only(run.folder).state == "gone"
    left = beacon.path.rename(beacon.path.with_name("vm-1.json"))
    Beacon(run.folder).begin(run)
    assert not left.exists()
    assert only(run.folder).state == "running"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to tell processes of one number apart")
def test_another_process_with_the_number_of_a_dead_driver_is_not_it(run, beacon):
    changed(beacon, born=beacon.born - 1)
    assert only(run.folder).state == "gone"


def test_a_driver_that_does_not_beat_is_silent_here_and_gone_elsewhere(run, beacon):
    then = time.time() - 2 * heartbeat.LATE
    os.utime(beacon.path, (then, then))
    assert only(run.folder).state == "silent"
    changed(beacon, host="elsewhere")
    assert only(run.folder).state == "running", "it was heard of just now"
    os.utime(beacon.path, (then, then))
    assert only(run.folder).state == "gone"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": 1}', "\0"])
def test_a_broken_heartbeat_is_passed_over(run, beacon, text):
    beacon.path.write_text(text)
    assert heartbeat.read(run.folder) == []


def test_a_folder_that_cannot_be_written_stops_nothing(run, beacon):
    beacon.path.unlink()
    beacon.path.parent.rmdir()
    beacon.path.parent.write_text("in the way")
    beacon.begin(run)
    beacon._beat()
    beacon.end()
    assert heartbeat.read(run.folder) == []


def test_a_run_beats_while_it_goes_on_and_not_after(small, tmp_path):
    seen = []

    class Looking:
        def __getattr__(self, name):
            return lambda *_: seen.append((name, heartbeat.read(tmp_path / "small")))

    execute(Grid.load(small), tmp_path, Options(device="cpu"), Looking())
    assert [heard.state for name, beats in seen if name == "tick" for heard in beats][-1] == "running"
    assert not (tmp_path / "small" / "live").exists()


# -- status --------------------------------------------------------------------------------------------------------


def status(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    return " ".join(out.split())


def test_status_shows_who_trains_what_and_not_as_unfinished(run, beacon, capsys):
    (run.folder / run.todo[0].trial.folder).mkdir(parents=True)
    said = status(run.folder, capsys)
    assert f"running process {os.getpid()} on" in said
    assert "0 of 4 trials" in said
    assert "training step D G none / seed 0 7/20 1.25 0.5" in said
    assert "no checkpoint" not in said
    changed(beacon, pid=dead_pid())
    said = status(run.folder, capsys)
    assert "killed" in said
    assert "the same `ganbench run` goes on" in said
    assert "7/20" not in said
    assert "begun none / seed 0: no checkpoint yet" in said


def test_status_shows_finished_cells_with_their_measures_so_far(tmp_path, capsys):
    run = making.make_run(tmp_path / "run", {"hinge": None, "minimax": None})
    making.add_trial(run, "hinge", 0)
    making.add_trial(run, "hinge", 1, status="oom", reason="out of memory", measures={}, timing={})
    assert "finished so far (means) done fd step ms hinge 1/2! 0.5 2" in status(run, capsys)
    making.add_trial(run, "minimax", 0)
    making.add_trial(run, "minimax", 1)
    assert "so far" not in status(run, capsys), "the table has them all"


def test_measures_of_several_protocols_are_in_no_status_board_or_plot_and_that_is_said(tmp_path, capsys):
    run = making.make_run(tmp_path / "run", {"hinge": None, "minimax": None})
    for loss, extractor in (("hinge", "a"), ("minimax", "b")):
        protocol = {"metric": "kid", "extractor": extractor}
        measures = {"fd": Value(last=2.0, better="lower"), "kid": Value(last=7.0, better="lower", protocol=protocol)}
        trial = making.add_trial(run, loss, 0, measures=measures)
        (trial / "curves.jsonl").write_text(json.dumps({"step": 5, "train_s": 1.0, "fd": 2.0, "kid": 7.0}) + "\n")
    said = status(run, capsys)
    assert "done fd step ms hinge 1/2 2 2" in said
    assert "NOT SHOWN: kid. Values of several protocols do not compare" in said
    results = Results(run)
    assert all("kid" not in row.measures for row in standing.so_far(results.trials, {}))
    shown = board.cells(standing.so_far(results.trials, {}), ["loss"], 100, 9, ["kid"])
    assert "kid not shown: several protocols" in str(shown.renderables[0])
    page = figures.curves(results, "none")
    assert "fd" in page
    assert "ring: kid" not in page
    assert "NOT SHOWN: kid" in page
    with pytest.raises(ResultsError, match="nothing to plot: NOT SHOWN: kid"):
        results.plot("kid")
    with pytest.raises(ResultsError, match="NOT SHOWN: kid"):
        results.frontier("kid")
    assert len(results.frontier("fd")) == 2
    one = standing.several_protocols([r for r in results.trials if r.labels["loss"] == "hinge"])
    assert one == {}


def test_means_so_far_are_those_of_the_tables(tmp_path):
    run = making.make_run(tmp_path / "run", {"hinge": None})
    for seed, values in enumerate([(1.0, 1.0), (4.0, 2.0)]):
        distance, share = (Value(last=9.0, ema=v, better=b) for v, b in zip(values, ("lower", "higher"), strict=True))
        making.add_trial(run, "hinge", seed, measures={"fd": distance, "share": share}, timing={"step_ms": 2.0**seed})
    results = Results(run)
    (row,) = standing.so_far(results.trials, {})
    assert row.measures == pytest.approx({"fd": 2.0, "share": 1.5, "step_ms": 2**0.5})
    table = results.table().iloc[0]
    assert [table[name] for name in ("fd_ema", "share_ema", "step_ms")] == pytest.approx(list(row.measures.values()))


def test_status_as_json_has_the_drivers(run, beacon, capsys):
    assert main(["status", str(run.folder), "--json"]) == 0
    (driver,) = json.loads(capsys.readouterr().out)["drivers"]
    assert driver["state"] == "running"
    assert driver["running"][0]["losses"]["g_loss"] == 0.5


# -- watching ------------------------------------------------------------------------------------------------------


def test_watching_off_a_terminal_says_one_line_for_each_trial_until_the_end(run, beacon, capsys):
    moves = [run.todo[0].trial, run.todo[1].trial, None]

    def sleep(seconds: float) -> None:
        trial = moves.pop(0)
        if trial is None:
            beacon.end()
            return
        about = {"cell": trial.cell.name, "id": trial.cell.id, "seed": trial.seed, "labels": trial.cell.labels}
        (run.folder / trial.folder).mkdir(parents=True)
        Record(**about, status="error", reason="no").write(run.folder / trial.folder)

    results = watch.watch(run.folder, sleep)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines() == ["none / seed 0: error: no", "none / seed 1: error: no"]
    assert len(results.trials) == 2


def test_looking_at_a_run_counts_what_all_its_drivers_do(run, beacon):
    other = json.loads(beacon.path.read_text()) | {"host": "elsewhere", "left_s": 60.0}
    beacon.path.with_name("elsewhere-1.json").write_text(json.dumps(other))
    board = watch.look(run.folder)
    assert isinstance(board, Board)
    assert (board.finished, board.planned, board.left_s, len(board.running)) == (0, 4, 60.0, 2)


def test_nothing_is_seen_of_a_run_that_nobody_works_on(run, capsys):
    assert watch.look(run.folder) is None
    assert main(["status", str(run.folder), "--watch"]) == 0
    assert "4 trials: 4 missing" in capsys.readouterr().out
    assert main(["status", str(run.folder), "--watch", "--json"]) == 2
    assert status_facts(Results(run.folder))["drivers"] == []
