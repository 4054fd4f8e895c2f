"""Which trials each row of a table stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganbench.records import ROLES
from ganbench.table import PROTOCOL
from ganbench.trials import Group, Trial, block_of, by_seed, joined, levels_of


@dataclass(frozen=True)
class Grouping:
    """The trials of one table by its rows.

    Args:
        live: all trials; skipped cells have none.
        roles: whose levels a row names.
        averaged: the other roles that vary: a row averages over them, if it is not a cell.
        constants: the level of each role that has only one.
        groups: the trials of each row.
        pairs: the (block, seed) pairs that means are over; None for all that a row has.
    """

    live: Sequence[Trial]
    roles: Sequence[str]
    averaged: Sequence[str]
    constants: Mapping[str, str]
    groups: Sequence[Group]
    pairs: set[tuple[Any, ...]] | None

    def by_seed(self, group: Group, name: str, *, log: bool = False) -> dict[int, float]:
        """For each seed the mean (geometric if ``log``) of a column over the blocks of a row that count."""
        return by_seed(group, name, self.averaged, self.pairs, log=log)


def grouped(part: Sequence[Trial], by: Sequence[str]) -> Grouping:
    """The rows of ``part``: its cells, or the combinations of levels of the roles ``by``."""
    live = [row for row in part if row["status"] != "skipped"]
    varying = [role for role in ROLES if len(levels_of(live, role)) > 1]
    roles = list(by) or varying or ["regularizer"]
    averaged = [role for role in varying if role not in roles]
    constants = {role: levels[0] for role in ROLES if role not in roles and len(levels := levels_of(live, role)) == 1}
    if not live:
        constants = {role: levels[0] for role in ROLES if len(levels := levels_of(part, role)) == 1}
        roles = []
    groups = _groups(live, roles, facts_by_cell(live), whole=bool(by))
    pairs = _common(groups, averaged) if by and averaged else None
    return Grouping(live, roles, averaged, constants, groups, pairs)


def facts_by_cell(live: Sequence[Trial]) -> dict[str, tuple[str, ...]]:
    """The protocol of each cell; a trial that failed before it could say has that of its cell."""
    cells: dict[str, list[Trial]] = {}
    for trial in live:
        cells.setdefault(trial["cell"], []).append(trial)
    whole = tuple(joined(live, fact) for fact in PROTOCOL)
    return {
        cell: tuple(joined(trials, fact) or all_ for fact, all_ in zip(PROTOCOL, whole, strict=True))
        for cell, trials in cells.items()
    }


def _groups(
    live: Sequence[Trial], roles: Sequence[str], facts: Mapping[str, tuple[str, ...]], *, whole: bool
) -> list[Group]:
    """The trials of each row; the key ends with the cell, unless a row averages ``whole`` levels."""
    groups: dict[tuple[Any, ...], Group] = {}
    for trial in live:
        cell = trial["cell"]
        key = (*(trial[role] for role in roles), facts[cell], "" if whole else cell)
        groups.setdefault(key, Group(key)).trials.append(trial)
    if not whole:
        return list(groups.values())
    # combinations of levels come in the order of the levels, not of their first cells
    order = [{level: i for i, level in enumerate(levels_of(live, role))} for role in roles]
    return sorted(groups.values(), key=lambda g: [o[k] for o, k in zip(order, g.key[: len(roles)], strict=True)])


def _common(groups: Sequence[Group], averaged: Sequence[str]) -> set[tuple[Any, ...]] | None:
    """The (block, seed) pairs that every row completed which completed any; None if there is no such pair."""
    complete = [{(block_of(t, averaged), t["seed"]) for t in group.done} for group in groups]
    common = set.intersection(*some) if (some := [pairs for pairs in complete if pairs]) else set()
    return common or None
