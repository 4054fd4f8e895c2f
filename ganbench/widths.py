"""How many trials may share a step, where more have run out of memory: kept with the run, for its other stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench import family
from ganbench.component import digest
from ganbench.errors import ResultsError
from ganbench.records import read_json, write_json
from ganbench.text import plural

if TYPE_CHECKING:
    from ganbench.cell import Cell

FILE = "widths.json"
UNWEIGHED = ("schema", "engine", "steps")
"""What a cell has and memory does not depend on, or hardly."""


@dataclass(frozen=True)
class Width:
    """What is known of one kind of stack.

    Args:
        most: trials that may share a step.
        about: the cells, for people.
        tried: for each number of trials that ran out of memory, what was said.
    """

    most: int
    about: str
    tried: Mapping[str, str]


def kind(cell: Cell) -> str:
    """What stacks have in common that need as much memory: the family of ``cell``, whatever the engine."""
    of = family.masked(cell, family.numbers(cell))
    return digest({name: value for name, value in of.items() if name not in UNWEIGHED}, 12)


def about(cells: Sequence[Cell]) -> str:
    """What messages call a stack of ``cells``, of one family."""
    labels = [cell.labels for cell in cells]
    parts = (dict.fromkeys(label[role] for label in labels) for role in ("dataset", "generator", "loss", "regularizer"))
    return ", ".join(next(iter(p)) if len(p) == 1 else f"{len(p)} of {next(iter(p))}" for p in parts)


def read(folder: Path) -> dict[str, Width]:
    """What the run in ``folder`` knows, by kind; nothing if its file is missing or of no use."""
    try:
        content = read_json(folder / FILE) or {}
        return {key: Width(**width) for key, width in content["kinds"].items()}
    except (ResultsError, KeyError, TypeError, AttributeError):
        return {}


def record(folder: Path, key: str, width: Width) -> None:
    """Keep that stacks of the kind ``key`` are to be no wider; what was tried before is kept beside it."""
    known = read(folder)  # anew: other processes of the run write it, too
    if key in known:
        before = known[key]
        width = Width(min(width.most, before.most), width.about, {**before.tried, **width.tried})
    kinds = {k: asdict(w) for k, w in (known | {key: width}).items()}
    write_json(folder / FILE, {"schema": 1, "kinds": kinds})


def notes(widths: Mapping[str, Width]) -> list[str]:
    """One line for each kind that trains in narrower stacks than it might."""
    return [
        f"{w.about}: at most {plural(w.most, 'trial')} in one step: {', '.join(w.tried)} ran out of memory"
        for w in widths.values()
    ]
