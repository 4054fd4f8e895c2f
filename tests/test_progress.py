"""Progress: an ETA from what was seen, plain lines off a terminal, bars on one."""

from __future__ import annotations

import dataclasses
import io
import re
import time
from pathlib import Path

import making
import pytest
from rich.cells import cell_len
from rich.console import Console

from ganbench import plan as planning
from ganbench import progress
from ganbench.board import Board, draw
from ganbench.eta import TimeLeft, duration
from ganbench.grid import Grid
from ganbench.progress import Bars, Lines, heading, verdict
from ganbench.records import Record, Value
from ganbench.registry import Registry
from ganbench.runner import Run
from ganbench.standing import CellSoFar
from ganbench.tracking import Current, Tracker


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def run(small, registry, tmp_path: Path) -> Run:
    plan = planning.make(Grid.load(small), registry, tmp_path)
    return Run("small", tmp_path, plan, plan.to_run(), ["cpu"], 2)


def record(trial, status="done", reason="") -> Record:
    return Record(
        cell=trial.cell.name, id=trial.cell.id, seed=trial.seed, status=status, labels=trial.cell.labels, reason=reason,
        measures={"sw2": Value(last=1.0, ema=0.5)}, timing={"wall_s": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (48, "48 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (360000, "100 h 00 min")],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_the_time_left_is_that_of_trials_alike_over_the_processes(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    estimate = TimeLeft(run)
    assert estimate.remaining() is None
    first, *others = [p.trial for p in run.todo]
    estimate.started(first)
    estimate.stepped(first, 0)
    assert estimate.remaining() is None
    clock[0] += 5
    estimate.stepped(first, first.cell.steps // 2)
    assert estimate.remaining() == pytest.approx((5 + 3 * 10) / 2)
    clock[0] += 5
    estimate.finished(first)
    assert estimate.remaining() == pytest.approx(3 * 10 / 2)
    for trial in others:
        estimate.started(trial)
        estimate.stepped(trial, 0)
        clock[0] += 10
        estimate.finished(trial)
    assert estimate.remaining() == 0


def test_a_trial_that_goes_on_is_judged_by_the_steps_that_were_seen(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    estimate = TimeLeft(run)
    first, *_ = [p.trial for p in run.todo]
    estimate.started(first)
    estimate.stepped(first, first.cell.steps // 2)
    assert estimate.remaining() is None, "nothing was seen of its pace"
    clock[0] += 5
    estimate.stepped(first, first.cell.steps * 3 // 4)
    assert estimate.remaining() == pytest.approx((20 / 4 + 3 * 20) / 2)
    clock[0] += 5
    estimate.finished(first)
    assert estimate.remaining() == pytest.approx(3 * 20 / 2)


def test_the_time_left_is_never_less_than_the_longest_trial_needs(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    estimate = TimeLeft(run)
    *others, last = [p.trial for p in run.todo]
    for trial in others:
        estimate.started(trial)
        estimate.stepped(trial, 0)
        clock[0] += 10
        estimate.finished(trial)
    estimate.started(last)
    assert estimate.remaining() == pytest.approx(10), "a second process is of no use to one trial"


def test_seeds_that_train_together_share_the_time(run, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    estimate = TimeLeft(dataclasses.replace(run, workers=1))
    trials = [p.trial for p in run.todo]
    for trial in trials[:2]:
        estimate.started(trial)
        estimate.stepped(trial, 0)
    clock[0] += 10
    for trial in trials[:2]:
        estimate.finished(trial)
    assert estimate.remaining() == pytest.approx(10)


def test_trials_that_a_process_left_are_not_in_training(run):
    tracker = Tracker()
    tracker.begin(dataclasses.replace(run, workers=1))
    trials = [planned.trial for planned in run.todo]
    for trial in trials:
        tracker.started(0, trial)
    assert tracker.estimate.at_once == len(trials)
    for trial in trials[1:]:
        tracker.stopped(0, trial)
    assert [current.seed for current in tracker.running.values()] == [trials[0].seed]
    assert tracker.estimate.at_once == 1, "those that go on have fewer beside them"


def test_lines_have_no_escape_codes_and_one_for_each_trial(run):
    out = io.StringIO()
    display = Lines(out)
    display.begin(run)
    for planned in run.todo:
        display.started(0, planned.trial)
        display.stepped(0, planned.trial, 5, {"d_loss": 1.0})
        display.finished(0, planned.trial, record(planned.trial))
    display.end()
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert text.count("\n") == 1 + len(run.todo)
    assert "[4/4]" in text


def test_bars_show_processes_and_failures_as_they_come(run):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    display = Bars(console)
    display.begin(run)
    trials = [p.trial for p in run.todo]
    display.started(0, trials[0])
    display.stepped(0, trials[0], 10, {"d_loss": 1.25, "g_loss": 0.5})
    plain = Console(file=io.StringIO(), width=80)
    plain.print(display.board())
    lines = plain.file.getvalue().splitlines()  # type: ignore[attr-defined] # a StringIO
    assert "0/4" in lines[0]
    assert "training" in lines[1]
    assert re.search(r"D +G", lines[1])
    assert re.search(r"10/20 +1\.25 +0\.5", lines[2])
    display.finished(0, trials[0], record(trials[0], "diverged", "d_loss is nan [bold]at step 3[/]"))
    display.finished(0, trials[1], record(trials[1]))
    plain.print(display.board())
    assert "2/4 1 failed" in plain.file.getvalue()  # type: ignore[attr-defined] # a StringIO
    assert re.search(r"1/2! +0\.5", plain.file.getvalue())  # type: ignore[attr-defined] # a StringIO
    display.end()
    said = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO
    assert "diverged" in said
    assert "[bold]" in said, "markup in a message is shown as it is"


def test_the_heading_counts_cells_trials_and_processes(run):
    assert heading(run) == "small: 2 cells x 2 seeds = 4 trials, 2 processes on cpu"


def test_the_heading_counts_stacks_of_trials_that_train_together(small, registry, tmp_path: Path):
    small["run"] |= {"engine": "fused", "compile": False}
    plan = planning.make(Grid.load(small), registry, tmp_path)
    stacks = plan.stacks(plan.to_run(), 2, 64)
    whole = Run("small", tmp_path, plan, plan.to_run(), ["cpu"], 2, stacks)
    assert heading(whole) == "small: 2 cells x 2 seeds = 4 trials in 2 stacks, 2 processes on cpu"
    part = dataclasses.replace(whole, stacks=stacks[:1])
    assert heading(part) == "small: 2 cells x 2 seeds = 4 trials, 2 trials in 1 stack, 2 processes on cpu"


def test_a_trial_without_a_running_average_is_told_by_its_last_iterate(run):
    first = run.todo[0].trial
    plain = dataclasses.replace(record(first), measures={"a": Value(last=2.0), "b": Value(last=None)})
    assert verdict(plain) == "done in 1 s, a 2"
    assert verdict(dataclasses.replace(plain, measures={})) == "done in 1 s"
    assert verdict(record(first)) == "done in 1 s, sw2 0.5 (ema)"


def test_a_long_silence_is_broken_by_what_is_in_training(run, monkeypatch):
    out = io.StringIO()
    display = Lines(out)
    display.begin(run)
    trial = run.todo[0].trial
    display.started(0, trial)
    display.stepped(0, trial, 5, {"d_loss": 1.25, "g_loss": 0.5, "other": 3.0})
    display.tick()
    assert out.getvalue().count("\n") == 1
    monkeypatch.setattr(progress, "QUIET", 0.0)
    display.tick()
    _, line = out.getvalue().splitlines()
    assert line.startswith("[0/4")
    assert line.endswith("seed 0: step 5 of 20, d_loss 1.25, g_loss 0.5")


@pytest.mark.parametrize("height", [1, 2, 3, 4, 6, 9, 24])
@pytest.mark.parametrize("width", [1, 20, 40, 80, 140])
def test_a_board_fits_the_terminal_and_counts_what_it_leaves_out(width, height):
    labels = [making.labels(loss=f"loss-{n:02d}", regularizer="r1(gamma=0.1)") for n in range(30)]
    losses = {"d_loss": 1.25, "g_loss": 0.5}
    running = [Current(cell=str(n), seed=n, labels=labels[n], step=10 * n, steps=1000, losses=losses) for n in range(3)]
    cells = [
        CellSoFar(str(n), labels[n], 1, 3, {"sw2": 0.123, "modes": 7.5, "step_ms": 2.25}, {"oom": 1} if n == 29 else {})
        for n in range(30)
    ]
    failed = [Record(cell="0", id="0", seed=0, status="oom", labels=labels[0], reason="out of memory " * 20)]
    board = Board(
        roles=["loss"],
        finished=31,
        planned=90,
        failed=1,
        seconds=12.0,
        left_s=60.0,
        running=running,
        cells=cells,
        failures=failed,
    )
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(draw(board, width, height))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined] # a StringIO
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    if width < 80:
        return
    assert "31/90 1 failed 12 s 60 s left" in lines[0]
    if height == 3:
        assert lines[1].startswith("training, 2 more before these")
        assert "loss-02 / seed 2" in lines[2]
    if height == 24:
        assert lines[7].startswith("finished so far (means), 14 more before these")
        assert lines[-1].split() == ["loss-29", "1/3!", "0.123", "7.5", "2.25"]
        assert "oom loss-00 / seed 0: out of memory" in lines[6]
