"""Time left of a run, from the seconds that trials like the remaining ones took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganbench.grid import Trial
    from ganbench.runner import Run

PACE = 0.05
"""The share of a first trial that has to be seen before its pace says how long it will take."""


@dataclass
class _Seen:
    """A trial in training: when it began, when and at which share it was first heard of, and its share now."""

    begun: float
    heard: float | None = None
    first: float = 0.0
    share: float = 0.0

    def pace(self, now: float) -> float:
        """Seconds for all of its steps, at what was seen since it was first heard of; 0 if too little was seen."""
        if self.heard is None or self.share - self.first < PACE:
            return 0.0
        return (now - self.heard) / (self.share - self.first)


class TimeLeft:
    """An estimate of the seconds until a run ends.

    A trial of a cell that has finished before is expected to take as long again; other trials take the mean of
    what is known of their data set and networks, or of all. A trial that goes on from a checkpoint is judged by the
    steps that were seen. Trials in training together share the clock, so the sum is divided by as many as have been
    at once; it is never less than the longest trial needs.
    """

    def __init__(self, run: Run) -> None:
        self.left = {(p.trial.cell.id, p.trial.seed): p.trial for p in run.todo}
        self.at_once = self.workers = run.workers
        self.seconds: dict[tuple[str, ...], list[float]] = {}
        self.paces: dict[tuple[str, ...], float] = {}
        self.running: dict[tuple[str, int], _Seen] = {}

    def started(self, trial: Trial) -> None:
        """A trial began."""
        self.running[trial.cell.id, trial.seed] = _Seen(time.monotonic())
        self.at_once = max(self.at_once, len(self.running))

    def stepped(self, trial: Trial, step: int) -> None:
        """A trial has finished ``step`` steps."""
        seen = self.running.setdefault((trial.cell.id, trial.seed), _Seen(time.monotonic()))
        seen.share = step / trial.cell.steps
        if seen.heard is None:
            seen.heard, seen.first = time.monotonic(), seen.share

    def finished(self, trial: Trial) -> None:
        """A trial ended, well or not."""
        key, now = (trial.cell.id, trial.seed), time.monotonic()
        seen = self.running.pop(key, None)
        self.left.pop(key, None)
        if seen is None or seen.heard is None:  # one that failed before it was heard of tells nothing
            return
        whole = seen.heard - seen.begun + (now - seen.heard) / (1 - seen.first if seen.first < 1 else 1)
        for kind in _kinds(trial):
            self.seconds.setdefault(kind, []).append(whole)

    def stopped(self, trial: Trial) -> None:
        """A trial is to go on later, with fewer beside it: there was no memory for as many."""
        self.running.pop((trial.cell.id, trial.seed), None)
        self.at_once = max(self.workers, len(self.running))

    def remaining(self) -> float | None:
        """Seconds until the run ends, None while nothing is known."""
        now = time.monotonic()
        for key, seen in self.running.items():  # a first trial tells by its own pace
            pace = seen.pace(now)
            if pace and key in self.left:
                self.paces |= dict.fromkeys(_kinds(self.left[key]), pace)
        total = longest = 0.0
        for key, trial in self.left.items():
            expected = self._expected(trial)
            if expected is None:
                return None
            alone = expected * (1 - (self.running[key].share if key in self.running else 0.0))
            total, longest = total + alone, max(longest, alone)
        return max(total / self.at_once, longest)

    def _expected(self, trial: Trial) -> float | None:
        for kind in _kinds(trial):
            known = self.seconds.get(kind)
            if known:
                return sum(known) / len(known)
            if kind in self.paces:
                return self.paces[kind]
        return None


def _kinds(trial: Trial) -> tuple[tuple[str, ...], ...]:
    cell = trial.cell
    return (("cell", cell.id), ("networks", cell.dataset.name, cell.discriminator.label), ("all",))


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
