"""What a person sees while a run goes on: bars with an ETA on a terminal, one line per event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from ganbench.records import FAILED

if TYPE_CHECKING:
    from ganbench.grid import Trial
    from ganbench.records import Record
    from ganbench.runner import Run


def duration(seconds: float) -> str:
    """``48 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short(trial: Trial) -> str:
    """``ring / mlp / hinge / r1 / seed 0``; networks once if both are of one kind."""
    labels = trial.cell.labels
    g, d = labels["generator"], labels["discriminator"]
    networks = g if trial.cell.generator.name == trial.cell.discriminator.name else f"{g} {d}"
    return " / ".join((labels["dataset"], networks, labels["loss"], labels["regularizer"], f"seed {trial.seed}"))


class Estimate:
    """Time left, from the seconds that trials like the remaining ones took.

    A trial of a cell that has finished before is expected to take as long again; other trials take the mean of
    what is known of their data set, or of all.
    """

    def __init__(self, run: Run) -> None:
        self.left = {(p.trial.cell.id, p.trial.seed): p.trial for p in run.todo}
        self.workers = run.workers
        self.seconds: dict[tuple[str, ...], list[float]] = {}
        self.running: dict[tuple[str, int], tuple[float, float]] = {}

    def started(self, trial: Trial) -> None:
        self.running[trial.cell.id, trial.seed] = (time.monotonic(), 0.0)

    def stepped(self, trial: Trial, step: int) -> None:
        begun, _ = self.running.get((trial.cell.id, trial.seed), (time.monotonic(), 0.0))
        self.running[trial.cell.id, trial.seed] = (begun, step / trial.cell.steps)

    def finished(self, trial: Trial) -> None:
        key = (trial.cell.id, trial.seed)
        begun, _ = self.running.pop(key, (time.monotonic(), 1.0))
        self.left.pop(key, None)
        for kind in self._kinds(trial):
            self.seconds.setdefault(kind, []).append(time.monotonic() - begun)

    def remaining(self) -> float | None:
        """Seconds until the run ends, None while nothing is known."""
        now = time.monotonic()
        for key, (begun, share) in self.running.items():  # a first trial tells by its own pace
            if share > 0.05 and key in self.left:
                for kind in self._kinds(self.left[key]):
                    if kind not in self.seconds:
                        self.seconds.setdefault(("pace", *kind), [0.0])[0] = (now - begun) / share
        total = 0.0
        for key, trial in self.left.items():
            expected = self._expected(trial)
            if expected is None:
                return None
            begun, share = self.running.get(key, (now, 0.0))
            total += max(0.0, expected * (1 - share))
        return total / self.workers

    def _expected(self, trial: Trial) -> float | None:
        for kind in self._kinds(trial):
            known = self.seconds.get(kind) or self.seconds.get(("pace", *kind))
            if known:
                return sum(known) / len(known)
        return None

    @staticmethod
    def _kinds(trial: Trial) -> tuple[tuple[str, ...], ...]:
        cell = trial.cell
        return (("cell", cell.id), ("networks", cell.dataset.name, cell.discriminator.label), ("all",))


class Lines:
    """Progress as plain lines, for logs and pipes: one for each finished trial, with the time left."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.done = self.total = 0

    def begin(self, run: Run) -> None:
        self.estimate, self.total = Estimate(run), len(run.todo)
        self._say(heading(run))

    def started(self, slot: int, trial: Trial) -> None:
        del slot
        self.estimate.started(trial)

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        del slot, logs
        self.estimate.stepped(trial, step)

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        del slot
        self.done += 1
        self.estimate.finished(trial)
        left = self.estimate.remaining()
        ahead = f", {duration(left)} left" if left and self.done < self.total else ""
        self._say(f"[{self.done}/{self.total}{ahead}] {short(trial)}: {verdict(record)}")

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    def end(self) -> None:
        self.out.flush()

    def _say(self, text: str) -> None:
        print(text, file=self.out, flush=True)


class Bars:
    """Progress on a terminal: a bar with the time left, a line for each process, failures as they come."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: dict[int, str] = {}
        self.failed = 0

    def begin(self, run: Run) -> None:
        self.estimate = Estimate(run)
        self.console.print(escape(heading(run)), highlight=False)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", style="cyan"),
            expand=True,
            console=self.console,
        )
        self.task: TaskID = self.bar.add_task("trials", total=len(run.todo), left="")
        self.shares: dict[int, float] = {}
        self.finished_trials = 0
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=5, transient=True)
        self.live.start()

    def started(self, slot: int, trial: Trial) -> None:
        self.estimate.started(trial)
        self.lines[slot] = f"  {short(trial)}"

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        self.estimate.stepped(trial, step)
        self.shares[slot] = step / trial.cell.steps
        losses = " ".join(f"{name[0].upper()} {logs[name]:.3g}" for name in ("d_loss", "g_loss") if name in logs)
        self.lines[slot] = f"  {short(trial)}  {step:,}/{trial.cell.steps:,}  {losses}"
        self._advance()

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        self.estimate.finished(trial)
        self.finished_trials += 1
        self.shares.pop(slot, None)
        self.lines.pop(slot, None)
        if record.status in FAILED:
            self.failed += 1
            self.live.console.print(f"[red]{escape(verdict(record))}[/]  {escape(short(trial))}", highlight=False)
        self._advance()

    def note(self, text: str) -> None:
        self.console.print(f"[yellow]note:[/] {escape(text)}", highlight=False)

    def end(self) -> None:
        if hasattr(self, "live"):
            self.live.stop()

    def _advance(self) -> None:
        left = self.estimate.remaining()
        self.bar.update(
            self.task,
            completed=self.finished_trials,
            left="" if left is None else f"{duration(left)} left",
            description="trials" + (f" ({self.failed} failed)" if self.failed else ""),
        )

    def _render(self) -> RenderableType:
        if hasattr(self, "task"):
            self._advance()
        width = self.console.width
        rows = [Text(self.lines[slot][:width], style="dim", no_wrap=True) for slot in sorted(self.lines)]
        return Group(self.bar, *rows)


def heading(run: Run) -> str:
    """What a run is about to do, in one line."""
    plan = run.plan
    cells = len(plan.combinations) - len(plan.skipped)
    parts = [f"{cells} cells x {len(plan.seeds)} seeds = {len(plan.trials)} trials"]
    if len(run.todo) < len(plan.trials):
        parts.append(f"{len(plan.trials) - len(run.todo)} on disk already")
    if plan.skipped:
        parts.append(f"{len(plan.skipped)} cells skipped")
    where = run.devices[0] if len(run.devices) == 1 else f"{len(run.devices)} devices"
    parts.append(f"{run.workers} process{'es' if run.workers > 1 else ''} on {where}")
    return f"{run.name}: {', '.join(parts)}"


def verdict(record: Record) -> str:
    """``done in 4.2 s`` with the first measure, or the status and its reason."""
    if record.status != "done":
        return f"{record.status}: {record.reason}"
    shown = [f"{name} {value.ema:.3g}" for name, value in record.measures.items() if value.ema is not None][:3]
    return f"done in {duration(record.timing.get('wall_s', 0.0))}, {', '.join(shown)} (ema)"
