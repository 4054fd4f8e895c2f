"""A table as plain data: its columns, rows and footers, whatever text it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ganbench.stats import Better, Estimate

STEP = "step_ms"
RATIO = "step_ratio"
OK = "ok"
PROTOCOL = ("steps", "batch", "samples", "ema", "arithmetic")
"""Facts that change what a trial does: rows never average over them, and a best value is the best among equals."""
PLACE = ("engine", "device", "threads", "deterministic")
"""Facts that change only how long a trial takes: a row names all it has."""
CLOCK = (*PROTOCOL, *PLACE, "timed", "hardware_fingerprint", "environment_fingerprint")
"""What two trials must share for their step times to be compared."""
AVERAGED = 200
"""The greatest ``keep`` of a running average's column: these are shown together or left out together."""
Kind: TypeAlias = Literal[
    "role", "fact", "measure", "extra", "time", "ratio", "ok", "change", "percent", "share", "test"
]


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its key in a row's entries, and its header in csv and json.
        header: for people, without the arrow.
        kind: what its entries are.
        better: which way is better, if it says.
        unit: of its values.
        keep: columns of the least ``keep`` are the first to be left out where space is short.
        floor: the value of real samples against other real samples, if it is a measure that has one.
        log: its means are geometric, with intervals from the log scale.
    """

    name: str
    header: str
    kind: Kind
    better: Better = None
    unit: str = ""
    keep: int = 0
    floor: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Tally:
    """How many trials of a row were done, out of how many, and what became of the others."""

    ok: int
    total: int
    failures: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.ok}/{self.total}"

    @property
    def failed(self) -> str:
        """``1 diverged, 2 oom``; empty if every trial was done."""
        return ", ".join(f"{n} {status}" for status, n in self.failures.items())


@dataclass(frozen=True)
class PValue:
    """The p of a test, or how many seeds it would need.

    Args:
        p: corrected; None if it was not tested.
        flip: of the sign-flip check.
        need: seeds that the family of tests needs.
    """

    p: float | None
    flip: float | None = None
    need: int = 0

    def __str__(self) -> str:
        if self.p is None:
            return f"need {self.need}" if self.need else "not tested"
        doubt = self.flip is not None and (self.p <= 0.05) != (self.flip <= 0.05)
        return _p(self.p) + (f" (flip {_p(self.flip)})" if doubt and self.flip is not None else "")


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


Entry: TypeAlias = str | Estimate | Tally | PValue | None


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        entries: a value for each column, by its name.
        best: the columns in which this row has the best mean.
        note: what failed, and why.
        shared: its step times were measured beside other work, or before the clock was warm.
        tied: the columns in which its difference from the best row is within noise.
    """

    entries: Mapping[str, Entry]
    best: frozenset[str] = frozenset()
    note: str = ""
    shared: bool = False
    tied: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Skip:
    """Cells that are not trained, for one reason: their names, in the roles that differ, and all their labels."""

    reason: str
    cells: tuple[str, ...]
    labels: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Table:
    """An aggregated view of records, as plain data; :func:`ganbench.render.render` makes it text.

    Args:
        title: the run and the data set.
        constants: the roles that have one component in all rows.
        columns: in order: roles, facts that differ, measures, time, tally.
        rows: in the order of the plan.
        skipped: cells without trials, and why.
        footers: what the numbers are: seeds, protocol, intervals. Nothing is shown without them.
    """

    title: str
    constants: Mapping[str, str]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    skipped: tuple[Skip, ...] = ()
    footers: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)
