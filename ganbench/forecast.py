"""How long a plan will take, from what trials like its own took: in this run, in its smoke run, or in nearby cells."""

from __future__ import annotations

import contextlib
import heapq
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.choices import OPEN
from ganbench.errors import ResultsError
from ganbench.records import Record, read_json, read_lines
from ganbench.steptimes import block_id
from ganbench.text import plural

if TYPE_CHECKING:
    from ganbench.cell import Cell, Trial
    from ganbench.plan import Plan
    from ganbench.settings import Settings

SMOKE = "the smoke run"
EACH = ("build", "prepare", "sample", "record")
"""Phases that every trial has once, also among those that train together."""
ONCE = ("timing", "other")
"""Phases of a process whose time does not grow with the steps."""
CACHED = 0.3
"""A first step with its graphs from this machine's cache, over one that compiled them: 0.2 to 0.9 were measured."""
LONGEST_LAUNCH = 60.0


@dataclass(frozen=True)
class Cost:
    """Seconds of one process for the trials that train together, by what they grow with.

    Args:
        each: of each trial, once.
        first: of the first step, compiling included.
        once: of the process, once.
        step: of a step.
        evaluation: of all trials.
        checkpoint: of all trials.
        together: trials that shared them.
    """

    each: float
    first: float
    once: float
    step: float
    evaluation: float
    checkpoint: float
    together: float = 1

    def total(self, steps: int, evaluations: int, checkpoints: int, trials: int = 1) -> float:
        """Seconds of a training of so many steps, evaluations and checkpoints, of so many trials together.

        With more trials than were seen a step is expected to take longer in proportion, with fewer as long.
        """
        more = trials / self.together
        growing = self.each * self.together + self.evaluation * evaluations + self.checkpoint * checkpoints
        return self.first + self.once + growing * more + self.step * steps * max(1.0, more)

    @classmethod
    def of(cls, record: Record, folder: Path) -> Cost | None:
        """What a finished trial in ``folder`` says, None if it does not say it: it was resumed, or is of old code.

        Of trials that trained together, the last one has the phases of all.
        """
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
            warm_up, windows = ([(int(n), float(s)) for n, s in state.get(k, ())] for k in ("warm_up", "windows"))
            first, done = (warm_up or windows or [(0, 0.0)])[0][0], int(state.get("step", 0))
        except (ResultsError, ValueError, TypeError):
            return None
        if done <= first or not evaluations:
            return None
        together = int(record.facts.get("together") or 1)
        steady = sum(n for n, _ in windows)
        # a smoke run is half warm-up, whose steps are slower: they are not the pace of a long training
        spent = phases.get("warm_up", 0.0) + phases.get("train", 0.0)
        pace = sum(s for _, s in windows) / steady if steady else spent / (done - first)
        kept = 1 + _checkpoints(done, int(record.facts.get("checkpoint_every") or 0))
        return cls(
            each=sum(phases.get(name, 0.0) for name in EACH) / together,
            first=phases.get("first_step", 0.0),
            once=sum(phases.get(name, 0.0) for name in ONCE) + max(0.0, spent - pace * (done - first)),
            step=pace + phases.get("look", 0.0) / (done - first),
            evaluation=phases.get("evaluate", 0.0) / evaluations,
            checkpoint=phases.get("checkpoint", 0.0) / kept,
            together=together,
        )


@dataclass(frozen=True)
class Expected:
    """What one process is expected to take for the trials it is handed.

    Args:
        cells: that they are of.
        seconds: None where nothing is known.
        source: what it is known from.
    """

    cells: tuple[str, ...]
    seconds: float | None
    source: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a plan will take.

    Args:
        jobs: in the order in which processes take them.
        workers: processes at a time.
        timing: seconds of the timing pass.
        launch: seconds until the first process trains.
    """

    jobs: Sequence[Expected]
    workers: int
    timing: float = 0.0
    launch: float = 0.0

    @property
    def unknown(self) -> list[str]:
        """The cells of which nothing is known."""
        return list(dict.fromkeys(cell for job in self.jobs if job.seconds is None for cell in job.cells))

    @property
    def sources(self) -> list[str]:
        """What the rest is known from."""
        return sorted({job.source for job in self.jobs if job.seconds is not None})

    @property
    def busy(self) -> float | None:
        """Seconds of all processes together; None unless every cell is known."""
        return None if self.unknown else sum(job.seconds or 0.0 for job in self.jobs) + self.timing

    @property
    def makespan(self) -> float | None:
        """Seconds until the run ends, if every process takes the next job of the plan as soon as it is free."""
        if self.unknown:
            return None
        slots = [0.0] * max(1, min(self.workers, len(self.jobs)))
        for job in self.jobs:
            heapq.heappush(slots, heapq.heappop(slots) + (job.seconds or 0.0))
        return self.launch + max(slots) + self.timing

    def text(self, grid: str) -> str:
        """What a person is told; ``grid`` is the file to make a smoke run of."""
        if self.makespan is None or self.busy is None:
            unknown, cells = len(self.unknown), len({cell for job in self.jobs for cell in job.cells})
            of = f"{unknown} of {cells} cells" if unknown < cells else "these cells"
            return f"How long {of} take is not known: `ganbench run --grid {grid} --smoke` finds out."
        told = f"About {about(self.makespan)} with {plural(self.workers, 'process', 'processes')}"
        if self.timing:
            told += f", {about(self.timing)} of it the timing pass"
        return f"{told} ({about(self.busy)} of process time), from {'; '.join(self.sources)}."

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "workers": self.workers,
            "makespan_s": self.makespan,
            "process_hours": None if self.busy is None else self.busy / 3600,
            "timing_s": self.timing,
            "launch_s": self.launch,
            "unknown_cells": self.unknown,
            "sources": self.sources,
        }


def forecast(plan: Plan, settings: Settings, folder: Path, workers: int) -> Forecast:
    """What is left to do of ``plan``, whose run is in ``folder`` and whose smoke run is beside it."""
    stacks = plan.stacks(plan.to_run(), workers, settings.stack)
    smoke = folder.with_name(f"{folder.name}-smoke")
    seen = [*_seen(folder, "trials of this run"), *_seen(smoke, SMOKE)]
    jobs = [_expected([planned.trial for planned in stack.trials], settings, seen) for stack in stacks]
    launch = next((s for s in map(_launch, (smoke, folder)) if s is not None), 0.0) if jobs else 0.0
    return Forecast(jobs, workers, _timing(plan, settings, jobs, workers), launch)


def _expected(
    trials: Sequence[Trial], settings: Settings, seen: Sequence[tuple[Mapping[str, Any], Cost, str]]
) -> Expected:
    """What a process will take for ``trials``, of cells that are alike."""
    cells = tuple(dict.fromkeys(trial.cell.name for trial in trials))
    cell = trials[0].cell
    cost, source, engine = _nearest(cell, seen)
    if cost is None:
        return Expected(cells, None)
    if SMOKE in source and "compiled" in engine:
        cost = replace(cost, first=CACHED * cost.first)
    checkpoints = 1 + _checkpoints(cell.steps, settings.checkpoint_every)
    if engine.startswith("fused"):
        return Expected(cells, cost.total(cell.steps, settings.evaluations, checkpoints, len(trials)), source)
    return Expected(cells, len(trials) * cost.total(cell.steps, settings.evaluations, checkpoints), source)


def _launch(folder: Path) -> float | None:
    """Seconds from the plan of the run in ``folder`` until its first trial began, to the second; None if unknown."""
    began = []
    for path in folder.glob("trials/*/seed-*/result.json"):
        with contextlib.suppress(ResultsError, ValueError):
            record = Record.read(path.parent)
            if record is not None and record.started:
                began.append(datetime.fromisoformat(record.started).timestamp())
    try:
        seconds = min(began) - (folder / "environment.json").stat().st_mtime
    except (OSError, ValueError):
        return None
    return seconds if 0 <= seconds <= LONGEST_LAUNCH else None  # resumed, or copied: the file is of another time


def _timing(plan: Plan, settings: Settings, jobs: Sequence[Expected], workers: int) -> float:
    """Seconds of the timing pass over the cells that are left: none if it is off, or would take longer than they."""
    left = {cell for job in jobs for cell in job.cells}
    if not settings.timing or not left:
        return 0.0
    blocks: dict[str, int] = {}
    for combination in plan.combinations:
        if combination.cell.name in left:
            block = block_id(combination.cell.spec)
            blocks[block] = blocks.get(block, 2) + 1  # the cell without regularizers, twice
    expected = settings.timing_seconds * sum(blocks.values())
    training = sum(job.seconds or 0.0 for job in jobs) / max(1, workers)
    return expected if settings.timing is True or training >= expected else 0.0


def _seen(folder: Path, source: str) -> Iterator[tuple[Mapping[str, Any], Cost, str]]:
    """The specification and the cost of each finished training of a run.

    Trials that trained together are one, whose last record has the phases of all; it stands for each of their cells.
    """
    found: dict[tuple[Any, ...], tuple[float, Cost, dict[str, Mapping[str, Any]]]] = {}
    for path in sorted(folder.glob("trials/*/seed-*/result.json")):
        try:
            record, identity = Record.read(path.parent), read_json(path.parent / "spec.json")
        except ResultsError:
            continue
        cost = None if record is None else Cost.of(record, path.parent)
        if record is None or cost is None or identity is None:
            continue
        alone = cost.together == 1
        key = (record.id, record.seed) if alone else (record.started, cost.together, record.facts.get("engine"))
        wall, known, specs = found.get(key, (-1.0, cost, {}))
        latest = max((record.timing.get("wall_s", 0.0), cost), (wall, known), key=lambda pair: pair[0])
        found[key] = (*latest, specs | {record.id: identity["spec"]})
    for _, cost, specs in found.values():
        for spec in specs.values():
            yield spec, cost, source


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


def about(seconds: float) -> str:
    """``48 s``, ``12 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _checkpoints(steps: int, every: int) -> int:
    """Checkpoints before the last one, which every training ends with."""
    return (steps - 1) // every if every else 0
