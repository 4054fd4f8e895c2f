"""One ``[[exclude]]`` of a grid: which cells it leaves out, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganbench.cell import AXES, NONE, Cell
from ganbench.component import USE, Component
from ganbench.errors import ConfigError, nearest
from ganbench.registry import Registry

BECAUSE = "because"


@dataclass(frozen=True)
class Exclude:
    """One ``[[exclude]]``: for each role it names, what a cell must have there to be left out."""

    place: str
    because: str
    wanted: Mapping[str, tuple[tuple[str, Mapping[str, Any]] | tuple[tuple[str, Mapping[str, Any]], ...], ...]]

    @classmethod
    def parse(cls, table: Mapping[str, Any], place: str, registry: Registry) -> Exclude:
        because = table.get(BECAUSE, "excluded by the grid")
        if not isinstance(because, str):
            raise ConfigError(f"{because!r} is not a sentence", place=f"{place}.{BECAUSE}")
        wanted: dict[str, Any] = {}
        for role, value in table.items():
            if role == BECAUSE:
                continue
            if role not in AXES:
                raise ConfigError(f"unknown key {role!r}", place=place, hint=nearest(role, (*AXES, BECAUSE)))
            alternatives = value if isinstance(value, list) else [value]
            if not alternatives:
                raise ConfigError("an empty list matches no cell", place=f"{place} {role}")
            wanted[role] = tuple(
                tuple(_pattern(role, v, f"{place} {role}", registry) for v in alternative)
                if isinstance(alternative, list) and role == "regularizer"
                else _pattern(role, alternative, f"{place} {role}", registry)
                for alternative in alternatives
            )
        if not wanted:
            raise ConfigError("it names no role, so it would leave out everything", place=place)
        return cls(place, because, wanted)

    def matches(self, cell: Cell) -> bool:
        return all(any(self._fits(role, a, cell) for a in alternatives) for role, alternatives in self.wanted.items())

    @staticmethod
    def _fits(role: str, alternative: Any, cell: Cell) -> bool:
        if role != "regularizer":
            return _is(getattr(cell, role), alternative)
        if not alternative or isinstance(alternative[0], tuple):  # a list in the list means this very stack
            stack = cell.regularizers
            return len(stack) == len(alternative) and all(map(_is, stack, alternative))
        if alternative[0] == NONE:
            return not cell.regularizers
        return any(_is(r, alternative) for r in cell.regularizers)


def _pattern(role: str, value: object, place: str, registry: Registry) -> tuple[str, dict[str, Any]]:
    given = dict(value) if isinstance(value, Mapping) else {}
    parsed = registry.parse(role, value, place)  # every name and field is checked
    return parsed.name, {k: v for k, v in parsed.to_table().items() if k in given and k != USE}


def _is(component: Component, pattern: tuple[str, Mapping[str, Any]]) -> bool:
    name, given = pattern
    table = component.to_table()
    return component.name == name and all(table.get(k) == v for k, v in given.items())
