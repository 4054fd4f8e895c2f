"""What the driver knows of a run that goes on: trials in training and their last reports, counts, the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganbench.eta import TimeLeft
from ganbench.records import FAILED

if TYPE_CHECKING:
    from ganbench.grid import Trial
    from ganbench.records import Record
    from ganbench.runner import Run


@dataclass(frozen=True, kw_only=True)
class Current:
    """A trial in training, and what it was last heard of.

    Args:
        cell: name of its folder.
        labels: of the cell's components, by role.
        step: steps that are finished; 0 before the first report.
        losses: of the last report: ``d_loss``, ``g_loss`` and whatever else was reported.
    """

    cell: str
    seed: int
    labels: Mapping[str, str]
    step: int
    steps: int
    losses: Mapping[str, float]


class Tracker:
    """A display that shows nothing and remembers: what other displays are made from."""

    def __init__(self) -> None:
        self.running: dict[tuple[str, int], Current] = {}
        self.records: dict[tuple[str, int], Record] = {}
        """The finished trials of the plan, those of earlier executions too."""
        self.done = self.failed = self.todo = 0
        self.begun = time.monotonic()

    def begin(self, run: Run) -> None:
        """The run begins."""
        self.estimate, self.run, self.todo = TimeLeft(run), run, len(run.todo)
        again = {(p.trial.cell.name, p.trial.seed) for p in run.todo}
        self.records = {
            (p.record.cell, p.trial.seed): p.record
            for p in run.plan.trials
            if p.record is not None and (p.trial.cell.name, p.trial.seed) not in again
        }
        self.begun = time.monotonic()

    def started(self, slot: int, trial: Trial) -> None:
        """A trial began in the process of a slot."""
        del slot
        self.estimate.started(trial)
        cell = trial.cell
        self.running[cell.name, trial.seed] = Current(
            cell=cell.name, seed=trial.seed, labels=cell.labels, step=0, steps=cell.steps, losses={}
        )

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        """A trial has finished ``step`` steps."""
        key = (trial.cell.name, trial.seed)
        if key not in self.running:
            self.started(slot, trial)
        self.estimate.stepped(trial, step)
        self.running[key] = replace(self.running[key], step=step, losses=dict(logs))

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        """A trial's record is on disk."""
        del slot
        self.estimate.finished(trial)
        self.running.pop((trial.cell.name, trial.seed), None)
        self.records[trial.cell.name, trial.seed] = record
        self.done += 1
        self.failed += record.status in FAILED

    def stopped(self, slot: int, trial: Trial) -> None:
        """The process of a slot has left a trial, which goes on later in another."""
        del slot
        self.estimate.stopped(trial)
        self.running.pop((trial.cell.name, trial.seed), None)

    def note(self, text: str) -> None:
        """Something a user should read once."""

    def tick(self) -> None:
        """The driver is alive."""

    def end(self) -> None:
        """The run ended, well or not."""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.begun
