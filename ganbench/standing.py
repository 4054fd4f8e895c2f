"""Where the cells of a run stand: how many trials have finished, how, and the means of their measures so far."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganbench.records import FAILED

if TYPE_CHECKING:
    from ganbench.records import Record


@dataclass(frozen=True)
class CellSoFar:
    """A cell with finished trials: how many of the planned ones, and the means of their measures.

    Args:
        measures: of those that were done: the running average's value where there is one.
        failures: how many trials ended with each status that is a failure.
    """

    cell: str
    labels: Mapping[str, str]
    done: int
    planned: int
    measures: Mapping[str, float]
    failures: Mapping[str, int]


def so_far(records: Iterable[Record], planned: Mapping[str, int]) -> list[CellSoFar]:
    """One row for each cell with finished trials, the one that finished last at the end.

    Args:
        records: of finished trials, in any order.
        planned: how many trials each cell has, by the name of its folder.
    """
    cells: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.finished):
        mine = cells.pop(record.cell, [])
        cells[record.cell] = [*mine, record]
    rows = []
    for cell, mine in cells.items():
        done = [record for record in mine if record.status == "done"]
        values: dict[str, list[float]] = {}
        for record in done:
            for name, value in record.measures.items():
                shown = value.last if value.ema is None else value.ema
                if shown is not None:
                    values.setdefault(name, []).append(shown)
            if "step_ms" in record.timing:
                values.setdefault("step_ms", []).append(record.timing["step_ms"])
        failures: dict[str, int] = {}
        for record in mine:
            if record.status in FAILED:
                failures[record.status] = failures.get(record.status, 0) + 1
        means = {name: statistics.fmean(numbers) for name, numbers in values.items()}
        rows.append(CellSoFar(cell, mine[0].labels, len(done), planned.get(cell, len(mine)), means, failures))
    return rows
