"""Rows of the records as mappings, and the trials that one row of a table stands for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ganbench import stats
from ganbench.steptimes import StepTimes
from ganbench.table import PROTOCOL, STEP, Column

Trial: TypeAlias = Mapping[str, Any]
"""One row of the records."""


def levels_of(rows: Iterable[Trial], name: str) -> list[Any]:
    """The values of a column, in order of appearance, without missing ones."""
    return list(dict.fromkeys(row[name] for row in rows if given(row.get(name))))


def given(value: Any) -> bool:
    """Whether a cell of a frame has a value: NaN and NA differ from themselves or cannot say."""
    return isinstance(value, str | int) or (isinstance(value, float) and not math.isnan(value))


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def joined(trials: Iterable[Trial], fact: str) -> str:
    """``cpu``, or ``cpu, cuda`` where the trials differ."""
    levels = sorted(levels_of(trials, fact), key=lambda v: (isinstance(v, str), v))
    # a column of integers with gaps is one of floats
    return ", ".join(v if isinstance(v, str) else f"{v:,}" if v % 1 else f"{int(v):,}" for v in levels)


def is_unsure(trial: Trial) -> bool:
    """Whether a step time was taken in training, beside other work, or before the clock was warm."""
    return trial.get("timed") == "in training" or trial.get("exclusive") is False or trial.get(f"{STEP}_n") == 0


def mixed(trials: Sequence[Trial], measures: Iterable[str]) -> dict[str, list[list[str]]]:
    """The measures taken under several protocols among trials of one data set that agree in :data:`PROTOCOL`.

    Each with one list of protocols for each such set of trials. Their values do not compare: no table, comparison or
    ranking has them. A trial that failed has no values, so it counts for none.
    """
    found: dict[str, list[list[str]]] = {}
    for measure in measures:
        column = f"{measure.removesuffix('_ema')}_protocol"
        sets: dict[tuple[str, ...], dict[str, None]] = {}
        for trial in trials:
            if trial["status"] == "done" and given(trial.get(column)):
                key = tuple(str(trial.get(fact)) for fact in ("dataset", *PROTOCOL))
                sets.setdefault(key, {})[str(trial[column])] = None
        if several := [list(protocols) for protocols in sets.values() if len(protocols) > 1]:
            found[measure] = several
    return found


def block_of(trial: Trial, averaged: Sequence[str]) -> tuple[Any, ...]:
    """The levels of the roles that a row averages over."""
    return tuple(trial[role] for role in averaged)


@dataclass
class Group:
    """The trials of one row, which ``key`` tells from the others: levels, protocol, and the cell if it is one."""

    key: tuple[Any, ...]
    trials: list[Trial] = field(default_factory=list)

    @property
    def done(self) -> list[Trial]:
        return [t for t in self.trials if t["status"] == "done"]


@dataclass(frozen=True)
class Asked:
    """What a table was asked for: roles, measures, the baseline's role and label, more columns, and so on."""

    by: tuple[str, ...]
    measures: tuple[Column, ...]
    baseline: tuple[str, str]
    extra: tuple[str, ...]
    run: str
    diff: bool = False
    pareto: str | None = None
    times: StepTimes | None = None
    targets: Mapping[str, float] = field(default_factory=dict)


def counts(trial: Trial, averaged: Sequence[str], pairs: set[tuple[Any, ...]] | None) -> bool:
    """Whether ``trial`` is among the (block, seed) ``pairs`` that a row is averaged over; None has all of them."""
    return pairs is None or (block_of(trial, averaged), trial["seed"]) in pairs


def by_seed(
    group: Group,
    name: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
    *,
    log: bool = False,
) -> dict[int, float]:
    """For each seed the mean (geometric if ``log``) over the blocks of the row that count."""
    seeds: dict[int, list[float]] = {}
    for trial in group.done:
        value = trial.get(name)
        if is_number(value) and counts(trial, averaged, pairs):
            seeds.setdefault(trial["seed"], []).append(float(value))  # type: ignore[arg-type] # a number: just checked
    if all(len(values) == 1 for values in seeds.values()):  # a row of one cell
        return {seed: values[0] for seed, values in seeds.items()}
    means = {seed: stats.centre(values, log=log) for seed, values in seeds.items()}
    return {seed: m.mean for seed, m in means.items() if m is not None}
