"""Which values of a table are marked: the best ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from ganbench.stats import Estimate
from ganbench.table import OK, PROTOCOL, Column, Row, Tally
from ganbench.trials import Group, joined


def with_marks(rows: Sequence[Row], columns: Sequence[Column], groups: Sequence[Group]) -> tuple[Row, ...]:
    """The rows with their best means marked: the best among rows of one protocol in which no trial failed."""
    best: list[set[str]] = [set() for _ in rows]
    protocols = [tuple(joined(g.trials, fact) for fact in PROTOCOL) for g in groups]
    for column, protocol in itertools.product(columns, dict.fromkeys(protocols)):
        if column.kind != "measure" or column.better is None:
            continue
        means = {
            i: entry.mean
            for i, row in enumerate(rows)
            if protocols[i] == protocol
            and isinstance(entry := row.entries[column.name], Estimate)
            and not (isinstance(tally := row.entries[OK], Tally) and tally.failures)
        }
        if len(set(means.values())) > 1:
            top = (min if column.better == "lower" else max)(means.values())
            for i, value in means.items():
                if value == top:
                    best[i].add(column.name)
    return tuple(replace(row, best=frozenset(names)) for row, names in zip(rows, best, strict=True))
