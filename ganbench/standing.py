"""Where the cells of a run stand: how many trials have finished, how, and the means of their measures so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganbench import stats
from ganbench.records import FAILED
from ganbench.table import PROTOCOL, STEP
from ganbench.trials import mixed

if TYPE_CHECKING:
    from ganbench.records import Record


@dataclass(frozen=True)
class CellSoFar:
    """A cell with finished trials: how many of the planned ones, and the means of their measures.

    Args:
        measures: of those that were done, the running average's value where there is one; means are geometric where
            the tables' are: of step times, and of measures that are better when lower and always positive.
        failures: how many trials ended with each status that is a failure.
    """

    cell: str
    labels: Mapping[str, str]
    done: int
    planned: int
    measures: Mapping[str, float]
    failures: Mapping[str, int]


def several_protocols(records: Sequence[Record]) -> dict[str, list[list[str]]]:
    """The measures whose values do not compare, and the protocols they have: see :func:`ganbench.trials.mixed`."""
    rows = [
        {name: record.facts.get(name) for name in PROTOCOL}
        | {f"{name}_protocol": value.told for name, value in record.measures.items() if value.told}
        | {"status": record.status, "dataset": record.labels.get("dataset", "")}
        for record in records
    ]
    return mixed(rows, dict.fromkeys(name for record in records for name in record.measures))


def so_far(records: Sequence[Record], planned: Mapping[str, int]) -> list[CellSoFar]:
    """One row for each cell with finished trials, the one that finished last at the end.

    Measures of :func:`several_protocols` are in none of them, as in no table.

    Args:
        records: of finished trials, in any order.
        planned: how many trials each cell has, by the name of its folder.
    """
    cells: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.finished):
        mine = cells.pop(record.cell, [])
        cells[record.cell] = [*mine, record]
    refused = several_protocols(records)
    values = {
        cell: {name: numbers for name, numbers in _values(mine).items() if name not in refused}
        for cell, mine in cells.items()
    }
    ratios = {STEP} | {name for mine in cells.values() for record in mine for name in _lower(record)}
    ratios -= {name for found in values.values() for name, numbers in found.items() if min(numbers) <= 0}
    rows = []
    for cell, mine in cells.items():
        failures = Counter[str](record.status for record in mine if record.status in FAILED)
        centres = {name: stats.centre(numbers, log=name in ratios) for name, numbers in values[cell].items()}
        means = {name: centre.mean for name, centre in centres.items() if centre is not None}
        done = sum(record.status == "done" for record in mine)
        rows.append(CellSoFar(cell, mine[0].labels, done, planned.get(cell, len(mine)), means, dict(failures)))
    return rows


def _values(records: Sequence[Record]) -> dict[str, list[float]]:
    """The numbers of the trials that were done, by name: of the running average where there is one."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.status == "done":
            shown = {name: v.last if v.ema is None else v.ema for name, v in record.measures.items()}
            for name, value in (shown | {STEP: record.timing.get(STEP)}).items():
                if value is not None:
                    found.setdefault(name, []).append(value)
    return found


def _lower(record: Record) -> list[str]:
    return [name for name, value in record.measures.items() if value.better == "lower"]
