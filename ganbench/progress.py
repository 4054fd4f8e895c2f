"""What a person sees while a run goes on: bars with an ETA on a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape

from ganbench.board import Board, draw
from ganbench.eta import duration
from ganbench.facts import name_of, stacking, varying
from ganbench.records import FAILED, ROLES
from ganbench.standing import several_protocols, so_far
from ganbench.text import plural
from ganbench.tracking import Tracker

if TYPE_CHECKING:
    from ganbench.grid import Trial
    from ganbench.records import Record, Value
    from ganbench.runner import Run

QUIET = 60.0
"""Seconds without a line after which one says what is in training."""
LOSSES = ("d_loss", "g_loss")


def short(trial: Trial) -> str:
    """``ring / mlp / hinge / r1 / seed 0``; networks once if both are of one kind."""
    labels = trial.cell.labels
    g, d = labels["generator"], labels["discriminator"]
    networks = g if trial.cell.generator.name == trial.cell.discriminator.name else f"{g} {d}"
    return " / ".join((labels["dataset"], networks, labels["loss"], labels["regularizer"], f"seed {trial.seed}"))


class Lines(Tracker):
    """Progress as plain lines, for logs and pipes: one for each finished trial, with the time left.

    In between, one for what is in training, if nothing has been said for :data:`QUIET` seconds.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self.out = out
        self.said = time.monotonic()

    def begin(self, run: Run) -> None:
        """Say what the run is about to do."""
        super().begin(run)
        self._say(heading(run))

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        """Say how a trial ended."""
        super().finished(slot, trial, record)
        self._say(f"[{self.done}/{self.todo}{self._ahead()}] {short(trial)}: {verdict(record)}")

    def note(self, text: str) -> None:
        """Say it."""
        self._say(f"note: {text}")

    def tick(self) -> None:
        """Say what is in training, if it has been quiet for long."""
        if time.monotonic() - self.said >= QUIET and self.running:
            for current in self.running.values():
                losses = "".join(f", {name} {current.losses[name]:.3g}" for name in LOSSES if name in current.losses)
                at = f"step {current.step:,} of {current.steps:,}{losses}"
                name = name_of(current.labels, [r for r in ROLES if r in current.labels][:5])
                self._say(f"[{self.done}/{self.todo}{self._ahead()}] {name} / seed {current.seed}: {at}")

    def end(self) -> None:
        """Let nothing wait in a buffer."""
        self.out.flush()

    def _ahead(self) -> str:
        left = self.estimate.remaining()
        return f", {duration(left)} left" if left and self.done < self.todo else ""

    def _say(self, text: str) -> None:
        self.said = time.monotonic()
        print(text, file=self.out, flush=True)


class Bars(Tracker):
    """Progress on a terminal: a board that fits it, redrawn in place; failures stay above it as they come."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.said: list[str] = []

    def begin(self, run: Run) -> None:
        """Say what the run is about to do, and show the board."""
        super().begin(run)
        self._print(escape(heading(run)))
        self.planned = Counter(p.trial.cell.name for p in run.plan.trials)
        self.roles = varying([{"labels": c.cell.labels} for c in run.plan.combinations])
        self._show()
        self.width = self.console.width

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        """Print a failure above the board."""
        super().finished(slot, trial, record)
        if record.status in FAILED:
            self._print(f"[red]{escape(verdict(record))}[/]  {escape(short(trial))}")

    def note(self, text: str) -> None:
        """Print it above the board."""
        self._print(f"[yellow]note:[/] {escape(text)}")

    def tick(self) -> None:
        """Draw everything anew where the window has become narrower, which breaks the lines that were drawn."""
        narrower, self.width = self.console.width < self.width, self.console.width
        if narrower:
            self.live.stop()
            self.console.clear()
            for line in self.said:
                self.console.print(line, highlight=False)
            self._show()

    def end(self) -> None:
        """Take the board away."""
        if hasattr(self, "live"):
            self.live.stop()

    def _show(self) -> None:
        self.live = Live(
            get_renderable=self.board, console=self.console, refresh_per_second=4, transient=True, redirect_stdout=False
        )
        self.live.start(refresh=True)

    def _print(self, line: str) -> None:
        self.said.append(line)
        self.console.print(line, highlight=False)

    def board(self) -> RenderableType:
        """What is known now, as it fits the terminal."""
        records = list(self.records.values())
        board = Board(
            roles=self.roles,
            finished=len(records),
            planned=len(self.run.plan.trials),
            failed=sum(record.status in FAILED for record in records),
            seconds=self.seconds,
            left_s=self.estimate.remaining(),
            running=list(self.running.values()),
            cells=so_far(records, self.planned),
            mixed=list(several_protocols(records)),
        )
        width, height = self.console.size
        return draw(board, width, height - 1)


def heading(run: Run) -> str:
    """What a run is about to do, in one line."""
    plan = run.plan
    cells = len(plan.combinations) - len(plan.skipped)
    seeds, trials = plural(len(plan.seeds), "seed"), plural(len(plan.trials), "trial")
    told = stacking([(s.trials[0].trial.cell.stacked, len(s.trials)) for s in run.stacks])
    every = told.startswith(f"{trials} ")
    parts = [f"{plural(cells, 'cell')} x {seeds} = {told if every else trials}"]
    if len(run.todo) < len(plan.trials):
        parts.append(f"{len(plan.trials) - len(run.todo)} on disk already")
    if plan.skipped:
        parts.append(f"{plural(len(plan.skipped), 'cell')} skipped")
    if told and not every:
        parts.append(told)
    where = run.devices[0] if len(run.devices) == 1 else f"{len(run.devices)} devices"
    parts.append(f"{plural(run.workers, 'process', 'processes')} on {where}")
    return f"{run.name}: {', '.join(parts)}"


def verdict(record: Record) -> str:
    """``done in 4.2 s`` with the first measure, or the status and its reason."""
    if record.status != "done":
        return f"{record.status}: {record.reason}"
    shown = [f", {name} {value.last if value.ema is None else value.ema:.3g}" for name, value in _known(record)]
    ema = " (ema)" if any(value.ema is not None for _, value in _known(record)) else ""
    return f"done in {duration(record.timing.get('wall_s', 0.0))}{''.join(shown)}{ema}"


def _known(record: Record) -> list[tuple[str, Value]]:
    """The first measures that have a value."""
    found = [(name, v) for name, v in record.measures.items() if v.ema is not None or v.last is not None]
    return found[:3]
