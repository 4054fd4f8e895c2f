"""Which values of a table are marked: the best, those that are within noise of it, and the rows on the front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ganbench.effects import Scale, paired_t
from ganbench.stats import LEVEL, Estimate
from ganbench.table import CLOCK, OK, PROTOCOL, STEP, Column, Row, Tally
from ganbench.trials import Group, by_seed, joined

FRONT = "front"


def with_marks(
    rows: Sequence[Row],
    columns: Sequence[Column],
    groups: Sequence[Group],
    averaged: Sequence[str] = (),
    pairs: set[tuple[Any, ...]] | None = None,
) -> tuple[Row, ...]:
    """The rows with their best means marked, and those whose paired difference from a best one is within noise.

    Only rows of one data set and protocol in which no trial failed are looked at. A row is within noise if Student's
    paired t test does not tell it from the best, with p > 0.05 and no correction, which would call still more tied.
    """
    best: list[set[str]] = [set() for _ in rows]
    tied: list[set[str]] = [set() for _ in rows]
    protocols = [tuple(joined(g.trials, fact) for fact in ("dataset", *PROTOCOL)) for g in groups]
    for column, protocol in itertools.product(columns, dict.fromkeys(protocols)):
        if column.kind != "measure" or column.better is None:
            continue
        means = _means(rows, column, [p == protocol for p in protocols])
        if len(set(means.values())) < 2:
            continue
        top = (min if column.better == "lower" else max)(means.values())
        values = {i: by_seed(groups[i], column.name, averaged, pairs, log=column.log) for i in means}
        scale: Scale = "ratio" if column.log else "difference"
        champion = next(i for i, value in means.items() if value == top)
        for i, value in means.items():
            if value == top:
                best[i].add(column.name)
            else:
                p = paired_t(_differences(values[i], values[champion], scale))
                if p is not None and p > 1 - LEVEL:
                    tied[i].add(column.name)
    return tuple(replace(row, best=frozenset(b), tied=frozenset(t)) for row, b, t in zip(rows, best, tied, strict=True))


def _differences(values: Mapping[int, float], others: Mapping[int, float], scale: Scale) -> list[float]:
    both = [(x, others[seed]) for seed, x in values.items() if seed in others]
    return [math.log(x / y) if scale == "ratio" else x - y for x, y in both]


def _means(rows: Sequence[Row], column: Column, looked_at: Sequence[bool]) -> dict[int, float]:
    """The means of a column in the rows in which no trial failed."""
    return {
        i: entry.mean
        for i, row in enumerate(rows)
        if looked_at[i]
        and isinstance(entry := row.entries[column.name], Estimate)
        and not (isinstance(tally := row.entries[OK], Tally) and tally.failures)
    }


def with_front(rows: Sequence[Row], column: Column, groups: Sequence[Group]) -> tuple[Row, ...]:
    """The rows, with ``yes`` in the column :data:`FRONT` where no other is as good and as fast, or better.

    Rows are held against those of the same protocol and machine.
    """
    places = [tuple(joined(g.trials, fact) for fact in dict.fromkeys((*PROTOCOL, *CLOCK))) for g in groups]
    signed: dict[int, tuple[float, float]] = {}
    for i, mean in _means(rows, column, [True] * len(rows)).items():
        step = rows[i].entries.get(STEP)
        if isinstance(step, Estimate):
            signed[i] = (mean if column.better == "lower" else -mean, step.mean)

    def beaten(i: int) -> bool:
        mine = signed[i]
        return any(
            places[j] == places[i] and x <= mine[0] and y <= mine[1] and (x, y) != mine for j, (x, y) in signed.items()
        )

    marks = ["yes" if i in signed and not beaten(i) else "" for i in range(len(rows))]
    return tuple(replace(row, entries={**row.entries, FRONT: mark}) for row, mark in zip(rows, marks, strict=True))
