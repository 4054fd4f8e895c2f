"""Families: cells that differ in nothing but numbers train in one step, of which these numbers are inputs."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ganbench.component import Component, digest, field_types

if TYPE_CHECKING:
    from ganbench.cell import Cell

T = TypeVar("T")
APART = 4
"""Trials that a stack of its own costs as much as: its step's overhead, measured with small networks."""
GAIN = 1.25
"""How many times sooner a run must end for a stack to be cut."""


@dataclass(frozen=True)
class Family:
    """Cells that differ in nothing but ``numbers``, such as ``regularizer.0.gamma`` or ``optimizer.lr_d``."""

    cells: tuple[Cell, ...]
    numbers: tuple[str, ...]


def parts(cell: Cell) -> Iterator[tuple[str, Component]]:
    """The components whose numbers a step may take as inputs, and what their names begin with."""
    yield "loss", cell.loss
    yield "optimizer", cell.optimizer
    for i, regularizer in enumerate(cell.regularizers):
        yield f"regularizer.{i}", regularizer


def numbers(cell: Cell) -> dict[str, float]:
    """Every floating-point number of ``cell`` that a step may take as an input, by name."""
    found: dict[str, float] = {}
    for place, component in parts(cell):
        for name, hint in field_types(type(component)).items():
            if hint is float:
                found[f"{place}.{name}"] = getattr(component, name)
    return found


def masked(cell: Cell, names: Collection[str]) -> dict[str, Any]:
    """The specification of ``cell`` without the values of the numbers ``names``."""
    tables = {place: component.to_table() for place, component in parts(cell)}
    for place, table in tables.items():
        table |= {name: None for name in table if f"{place}.{name}" in names}
    stack = [table for place, table in tables.items() if place.startswith("regularizer.")]
    return cell.spec | {"loss": tables["loss"], "optimizer": tables["optimizer"], "regularizer": stack}


def differing(cells: Sequence[Cell]) -> tuple[str, ...]:
    """The names of the numbers in which ``cells``, of one family, differ."""
    found = [numbers(cell) for cell in cells]
    return tuple(name for name in found[0] if len({values[name] for values in found}) > 1)


def families(cells: Sequence[Cell]) -> list[Family]:
    """``cells`` by family, in order; one whose trials do not train together is a family of its own."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        key = digest(masked(cell, numbers(cell))) if cell.stacked else cell.id
        groups.setdefault(key, []).append(cell)
    return [Family(tuple(group), differing(group)) for group in groups.values()]


def cut(sizes: Sequence[int], workers: int, most: int) -> list[int]:
    """Into how many stacks families of so many trials are cut: none has more than ``most``, and no worker idles.

    A stack is cut further only where the run ends sooner for it, judged by trials.
    """
    if not sizes:
        return []
    pieces = [-(-size // most) for size in sizes]
    best, least = list(pieces), _makespan(sizes, pieces, workers)
    for _ in range(workers * len(sizes)):
        widest = max(range(len(sizes)), key=lambda i: sizes[i] / pieces[i])
        if pieces[widest] >= sizes[widest]:
            break
        pieces[widest] += 1
        if (found := _makespan(sizes, pieces, workers)) * GAIN < least:
            best, least = list(pieces), found
    return best


def deal(groups: Sequence[Sequence[T]], workers: int, most: int) -> list[list[tuple[T, ...]]]:
    """The members of each of ``groups``, families, in the stacks that they are :func:`cut` into."""
    found = []
    for group, pieces in zip(groups, cut([len(g) for g in groups], workers, most), strict=True):
        left = iter(group)
        found.append([tuple(itertools.islice(left, n)) for n in dealt(len(group), pieces)])
    return found


def dealt(size: int, pieces: int) -> list[int]:
    """``size`` trials on ``pieces`` stacks, as evenly as it goes."""
    return [size // pieces + (i < size % pieces) for i in range(pieces)]


def share(trials: int, of: int) -> float:
    """What the step of a stack of ``trials`` takes, where that of one of ``of`` takes 1, as small networks have it."""
    return (APART + trials) / (APART + of)


def _makespan(sizes: Sequence[int], pieces: Sequence[int], workers: int) -> int:
    """When the last worker is through, if each takes the largest stack that is left."""
    slots = [0] * workers
    for n in sorted((n for size, k in zip(sizes, pieces, strict=True) for n in dealt(size, k)), reverse=True):
        heapq.heappush(slots, heapq.heappop(slots) + APART + n)
    return max(slots)
