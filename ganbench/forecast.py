"""How long a plan will take, from what trials like its own took: in this run, in its smoke run, or in nearby cells."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.choices import OPEN
from ganbench.errors import ResultsError
from ganbench.records import Record, read_json, read_lines
from ganbench.steptimes import block_id

if TYPE_CHECKING:
    from ganbench.cell import Cell
    from ganbench.plan import Plan
    from ganbench.settings import Settings

ONCE = ("build", "prepare", "first_step", "sample", "timing", "record", "other")
"""Phases of a trial whose time does not grow with its steps."""
STEPS = ("warm_up", "train", "look")


@dataclass(frozen=True)
class Cost:
    """Seconds of one process for the seeds that train together, by what they grow with."""

    once: float
    step: float
    evaluation: float
    checkpoint: float

    def total(self, steps: int, evaluations: int, checkpoints: int) -> float:
        """Seconds of a training of so many steps, evaluations and checkpoints."""
        return self.once + self.step * steps + self.evaluation * evaluations + self.checkpoint * checkpoints

    @classmethod
    def of(cls, record: Record, folder: Path) -> Cost | None:
        """What a finished trial in ``folder`` says, None if it does not say it: it was resumed, or is of old code."""
        phases = {
            name.removeprefix("phase_").removesuffix("_s"): seconds
            for name, seconds in record.timing.items()
            if name.startswith("phase_")
        }
        if record.status != "done" or not phases or record.facts.get("resumed"):
            return None
        try:
            state = read_json(folder / "state.json") or {}
            evaluations = len(read_lines(folder / "curves.jsonl"))
            windows = [*state.get("warm_up", ()), *state.get("windows", ())]
            first, done = (int(windows[0][0]) if windows else 0), int(state.get("step", 0))
        except (ResultsError, ValueError, TypeError, IndexError):
            return None
        if done <= first or not evaluations:
            return None
        kept = 1 + _checkpoints(done, int(record.facts.get("checkpoint_every") or 0))
        return cls(
            once=sum(phases.get(name, 0.0) for name in ONCE),
            step=sum(phases.get(name, 0.0) for name in STEPS) / (done - first),
            evaluation=phases.get("evaluate", 0.0) / evaluations,
            checkpoint=phases.get("checkpoint", 0.0) / kept,
        )


@dataclass(frozen=True)
class Forecast:
    """What a plan will take.

    Args:
        seconds: of each cell with something to do, for all its trials, by the cell's name; None where nothing is known.
        sources: for each of these, what it is known from.
        workers: processes at a time.
        timing: seconds of the timing pass.
    """

    seconds: Mapping[str, float | None]
    sources: Mapping[str, str]
    workers: int
    timing: float = 0.0

    @property
    def busy(self) -> float | None:
        """Seconds of all processes together; None unless every cell is known."""
        known = [s for s in self.seconds.values() if s is not None]
        return sum(known) + self.timing if len(known) == len(self.seconds) else None

    @property
    def makespan(self) -> float | None:
        """Seconds until the run ends, if every process takes the next cell of the plan as soon as it is free."""
        if self.busy is None:
            return None
        slots = [0.0] * max(1, min(self.workers, len(self.seconds)))
        for seconds in self.seconds.values():
            heapq.heappush(slots, heapq.heappop(slots) + (seconds or 0.0))
        return max(slots) + self.timing

    def text(self, grid: str) -> str:
        """What a person is told; ``grid`` is the file to make a smoke run of."""
        unknown = sum(seconds is None for seconds in self.seconds.values())
        if self.makespan is None or self.busy is None:
            of = f"{unknown} of {len(self.seconds)} cells" if unknown < len(self.seconds) else "these cells"
            return f"How long {of} take is not known: `ganbench run --grid {grid} --smoke` finds out."
        told = f"About {duration(self.makespan)} with {plural(self.workers, 'process', 'processes')}"
        if self.timing:
            told += f", {duration(self.timing)} of it the timing pass"
        return f"{told} ({duration(self.busy)} of process time), from {'; '.join(sorted(set(self.sources.values())))}."

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        unknown = [cell for cell, seconds in self.seconds.items() if seconds is None]
        return {
            "workers": self.workers,
            "makespan_s": self.makespan,
            "process_hours": None if self.busy is None else self.busy / 3600,
            "timing_s": self.timing,
            "unknown_cells": unknown,
            "sources": sorted(set(self.sources.values())),
        }


def forecast(plan: Plan, settings: Settings, folder: Path, workers: int) -> Forecast:
    """What is left to do of ``plan``, whose run is in ``folder`` and whose smoke run is beside it."""
    cells: dict[str, tuple[Cell, int]] = {}
    for planned in plan.to_run():
        cell, n = cells.get(planned.trial.cell.name, (planned.trial.cell, 0))
        cells[cell.name] = (cell, n + 1)
    seen = [*_seen(folder, "trials of this run"), *_seen(folder.with_name(f"{folder.name}-smoke"), "the smoke run")]
    seconds: dict[str, float | None] = {}
    sources: dict[str, str] = {}
    for name, (cell, trials) in cells.items():
        cost, source, engine = _nearest(cell, seen)
        if cost is None:
            seconds[name] = None
            continue
        sources[name] = source
        once = cost.total(cell.steps, settings.evaluations, 1 + _checkpoints(cell.steps, settings.checkpoint_every))
        seconds[name] = once if engine.startswith("fused") else once * trials
    return Forecast(seconds, sources, workers, _timing(plan, settings, seconds, workers))


def _timing(plan: Plan, settings: Settings, seconds: Mapping[str, float | None], workers: int) -> float:
    """Seconds of the timing pass over the cells that are left: none if it is off, or would take longer than they."""
    if not settings.timing or not seconds:
        return 0.0
    blocks: dict[str, int] = {}
    for combination in plan.combinations:
        if combination.cell.name in seconds:
            block = block_id(combination.cell.spec)
            blocks[block] = blocks.get(block, 2) + 1  # the cell without regularizers, twice
    expected = settings.timing_seconds * sum(blocks.values())
    training = sum(s or 0.0 for s in seconds.values()) / max(1, workers)
    return expected if settings.timing is True or training >= expected else 0.0


def _seen(folder: Path, source: str) -> Iterator[tuple[Mapping[str, Any], Cost, str]]:
    """The specification and the cost of each finished trial of a run."""
    for path in sorted(folder.glob("trials/*/seed-*/result.json")):
        try:
            record, identity = Record.read(path.parent), read_json(path.parent / "spec.json")
        except ResultsError:
            continue
        cost = None if record is None else Cost.of(record, path.parent)
        if cost is not None and identity is not None:
            yield identity["spec"], cost, source


def _nearest(cell: Cell, seen: Sequence[tuple[Mapping[str, Any], Cost, str]]) -> tuple[Cost | None, str, str]:
    """The cost of what is most like ``cell``: but for its steps, its regularizers and loss, or its update rule.

    With where it is known from, and the engine that it is of: where that of the cell is still open, any will do.
    """
    either = ("engine",) if cell.engine == OPEN else ()
    free: tuple[tuple[tuple[str, ...], str], ...] = (
        (("steps",), ""),
        (("steps", "samples", "metrics", "regularizer", "loss"), "cells with the same networks, "),
        (("steps", "samples", "metrics", "regularizer", "loss", "optimizer", "update", "engine"), "similar cells, "),
    )
    for some, words in free:
        keys = (*some, *either)
        wanted = {k: v for k, v in cell.spec.items() if k not in keys}
        like = [
            (c, s, spec["engine"]) for spec, c, s in seen if {k: v for k, v in spec.items() if k not in keys} == wanted
        ]
        if like:
            costs = [c for c, _, _ in like]
            middle = Cost(*(statistics.median(getattr(c, f) for c in costs) for f in Cost.__dataclass_fields__))
            _, source, engine = like[0]
            return middle, words + source, str(engine)
    return None, "", ""


def duration(seconds: float) -> str:
    """``48 s``, ``12 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def plural(n: int, one: str, more: str) -> str:
    """``1 process`` or ``2 processes``."""
    return f"{n} {one if n == 1 else more}"


def _checkpoints(steps: int, every: int) -> int:
    """Checkpoints before the last one, which every training ends with."""
    return (steps - 1) // every if every else 0
