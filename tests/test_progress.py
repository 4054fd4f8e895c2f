"""Progress: an ETA from what was seen, plain lines off a terminal, bars on one."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from ganbench import plan as planning
from ganbench.grid import Grid
from ganbench.progress import Bars, Estimate, Lines, duration, heading
from ganbench.records import Record, Value
from ganbench.registry import Registry
from ganbench.runner import Run


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
    estimate = Estimate(run)
    assert estimate.remaining() is None
    first, *others = [p.trial for p in run.todo]
    estimate.started(first)
    clock[0] += 5
    estimate.stepped(first, first.cell.steps // 2)
    assert estimate.remaining() == pytest.approx((5 + 3 * 10) / 2)
    clock[0] += 5
    estimate.finished(first)
    assert estimate.remaining() == pytest.approx(3 * 10 / 2)
    for trial in others:
        estimate.started(trial)
        clock[0] += 10
        estimate.finished(trial)
    assert estimate.remaining() == 0


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
    with console.capture() as shown:
        console.print(display._render())
    assert "10/20" in shown.get()
    assert "D 1.25" in shown.get()
    display.finished(0, trials[0], record(trials[0], "diverged", "d_loss is nan [bold]at step 3[/]"))
    display.end()
    said = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO
    assert "diverged" in said
    assert "[bold]" in said, "markup in a message is shown as it is"


def test_the_heading_counts_cells_trials_and_processes(run):
    assert heading(run) == "small: 2 cells x 2 seeds = 4 trials, 2 processes on cpu"
