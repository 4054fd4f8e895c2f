"""What a grid asks for against what is on disk: done, stale, failed, missing, skipped."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ganbench import choices, codeprint, family, widths
from ganbench.cell import Cell
from ganbench.dataset import Dataset
from ganbench.errors import ResultsError
from ganbench.grid import Combination, Grid, Trial
from ganbench.metric import Extractor
from ganbench.records import FAILED, Record, read_json
from ganbench.registry import Registry
from ganbench.text import plural

Stage: TypeAlias = Literal["done", "failed", "stale", "interrupted", "missing"]
TO_RUN: tuple[Stage, ...] = ("stale", "interrupted", "missing")


@dataclass(frozen=True)
class Planned:
    """A trial, what is on disk of it, and why it has to be run again, if it has."""

    trial: Trial
    stage: Stage
    record: Record | None = None
    why: str = ""


@dataclass(frozen=True)
class Stack:
    """Trials of one process: of one step, where their engine trains trials together, or else one after the other.

    Args:
        trials: of one family.
        numbers: the names of the numbers that are inputs of the step; they differ within the family.
        then: stacks that there is memory for when this one is done.
    """

    trials: tuple[Planned, ...]
    numbers: tuple[str, ...] = ()
    then: tuple[Stack, ...] = ()

    @property
    def cell(self) -> Cell:
        """The first of its cells."""
        return self.trials[0].trial.cell

    def within(self, most: int) -> Stack:
        """The first ``most`` trials at most, and the others, in stacks as even as it goes, when they are done."""
        first, *others = family.deal([self.trials], 1, most)[0]
        return Stack(first, self.numbers, (*(Stack(trials, self.numbers) for trials in others), *self.then))


@dataclass(frozen=True)
class Plan:
    """Every combination of a grid and every trial of those that are not skipped."""

    name: str
    combinations: Sequence[Combination]
    trials: Sequence[Planned]
    seeds: tuple[int, ...]
    notes: Sequence[str] = ()

    @property
    def skipped(self) -> list[Combination]:
        """The combinations that are not trained, with their reasons."""
        return [c for c in self.combinations if c.skip is not None]

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of trials in each stage."""
        return Counter(p.stage for p in self.trials)

    def of(self, combination: Combination) -> list[Planned]:
        """The trials of one combination, by seed."""
        return [p for p in self.trials if p.trial.cell is combination.cell]

    def to_run(self, retry: Collection[str] = ()) -> list[Planned]:
        """The trials a run trains: missing, interrupted and stale ones, and failed ones of a status in ``retry``."""
        return [
            p
            for p in self.trials
            if p.stage in TO_RUN
            or (p.stage == "failed" and p.record is not None and ("failed" in retry or p.record.status in retry))
        ]

    def stacks(self, todo: Sequence[Planned], workers: int, most: int) -> list[Stack]:
        """The trials ``todo`` of this plan as ``workers`` processes train them, at most ``most`` in one step.

        What is on disk already moves no number from the graph to its inputs or back: families are those of all cells.
        """
        families = family.families([c.cell for c in self.combinations if c.skip is None])
        of = {cell.id: i for i, found in enumerate(families) for cell in found.cells}
        groups: dict[int, list[Planned]] = {}
        for planned in todo:
            groups.setdefault(of[planned.trial.cell.id], []).append(planned)
        together = [i for i in groups if families[i].cells[0].stacked]
        dealt = dict(zip(together, family.deal([groups[i] for i in together], workers, most), strict=True))
        return [
            Stack(members, families[i].numbers)
            for i, group in groups.items()
            for members in dealt.get(i, [tuple(group)])
        ]


def make(
    grid: Grid,
    registry: Registry,
    folder: Path,
    *,
    seeds: tuple[int, ...] | None = None,
    steps: int | None = None,
) -> Plan:
    """The plan of ``grid`` over the run folder ``folder``, which need not exist yet; nothing is written.

    Raises:
        ConfigError: the grid is wrong; names the place in the file.
    """
    chosen_engines = choices.recorded(folder)
    combinations = grid.combinations(registry, steps=steps, choices=chosen_engines)
    chosen = seeds if seeds is not None else grid.settings.seed_list
    planned = []
    for combination in combinations:
        if combination.skip is not None:
            continue
        code = codeprint.fingerprint(combination.cell.components)
        planned += [inspect(Trial(combination.cell, seed), folder, code) for seed in chosen]
    trained = [c.cell for c in combinations if c.skip is None]
    engines = choices.notes(trained, chosen_engines)
    told = (*grid.notes, *engines, *widths.notes(widths.read(folder)), *_advice(combinations))
    notes = (*told, *absent(p for p in planned if p.stage in TO_RUN))
    return Plan(grid.name, combinations, planned, chosen, notes)


def _advice(combinations: Sequence[Combination]) -> Iterator[str]:
    """For each reason for doubt, the number of cells that it is about."""
    for reason, n in Counter(itertools.chain.from_iterable(c.advice for c in combinations)).items():
        yield f"{plural(n, 'cell')}: {reason}"


def absent(trials: Iterable[Planned]) -> list[str]:
    """For each dataset and extractor of ``trials`` that is not on this machine, what has to be put where."""
    cells = list(dict.fromkeys(p.trial.cell for p in trials))
    wanted: dict[Dataset | Extractor, None] = {}
    for cell in cells:
        wanted |= dict.fromkeys((cell.dataset, *cell.extractors))
    return list(dict.fromkeys(what for w in wanted if (what := w.missing()) is not None))


def inspect(trial: Trial, folder: Path, code: dict[str, str]) -> Planned:
    """What is on disk of ``trial``, whose components run ``code``."""
    place = folder / trial.folder
    try:
        record = Record.read(place)
    except ResultsError as error:
        return Planned(trial, "missing", why=str(error))
    if record is None:
        return Planned(trial, "missing")
    if record.status == "interrupted":
        return Planned(trial, "interrupted", record)
    if record.fingerprints.get("code") != codeprint.combined(code):
        return Planned(trial, "stale", record, _changed(place, code))
    return Planned(trial, "failed" if record.status in FAILED else "done", record)


def _changed(place: Path, code: dict[str, str]) -> str:
    """Which components' code is not what the result was made with."""
    try:
        before = (read_json(place / "spec.json") or {}).get("code", {})
    except ResultsError:
        before = {}
    names = [part for part, value in code.items() if before.get(part) != value]
    return f"code of {', '.join(names)} changed" if names else "code changed"
