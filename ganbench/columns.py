"""The columns of a table of trials, each with its entry for every row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from ganbench import stats
from ganbench.arrivals import areas
from ganbench.differences import differences_of, ratios_of, scale_of
from ganbench.grouping import Grouping
from ganbench.stats import Estimate
from ganbench.table import AVERAGED, OK, PLACE, PROTOCOL, RATIO, STEP, Column, Entry, Tally
from ganbench.targets import column as target_column
from ganbench.targets import text as target_text
from ganbench.trials import Asked, Group, Trial, is_number, joined, levels_of

Filled: TypeAlias = tuple[Column, Sequence[Entry]]
"""A column and its entries, one for each row."""


def shown(live: Sequence[Trial], asked: Asked) -> list[Column]:
    """The columns of the measures that some trial has, with their floors and scales."""
    having = [c for c in asked.measures if any(is_number(t.get(c.name)) for t in live)]
    return [replace(c, floor=_floor(live, c.name), log=scale_of(_numbers(live, c.name), c) == "ratio") for c in having]


def filled(of: Grouping, measures: Sequence[Column], asked: Asked) -> list[Filled]:
    """All columns, from the roles of a row to how many of its trials were done."""
    return [
        *_names(of, asked),
        *(each for column in measures for each in _measure(of, column, asked)),
        *((Column(name, name, "extra", keep=100), [_extra(of, g, name) for g in of.groups]) for name in asked.extra),
        *_targets(of, asked),
        *_times(of, asked),
        (Column(OK, OK, "ok", keep=800), [_tally(g) for g in of.groups]),
    ]


def _names(of: Grouping, asked: Asked) -> Iterator[Filled]:
    """What tells rows apart: roles, facts, and the cell where these are not enough."""
    for role in of.roles:
        yield Column(role, role, "role", keep=1000), [str(g.trials[0][role]) for g in of.groups]
    for fact in (*PROTOCOL, *PLACE):
        told = [joined(g.trials, fact) for g in of.groups]
        if len(set(told) - {""}) > 1:
            yield Column(fact, fact, "fact", keep=900), [text or "unknown" for text in told]
    if not asked.by and len({g.key[:-1] for g in of.groups}) < len(of.groups):
        yield Column("id", "cell id", "role", keep=950), [str(g.trials[0]["id"]) for g in of.groups]


def _measure(of: Grouping, column: Column, asked: Asked) -> Iterator[Filled]:
    """A measure, and its difference from the baseline if one was asked for."""
    name, header = column.name, column.header
    yield column, [stats.centre(of.by_seed(g, name, log=column.log).values(), log=column.log) for g in of.groups]
    role, label = asked.baseline
    if not asked.diff or role in of.averaged or column.keep <= AVERAGED:
        return
    changes = differences_of(of.groups, of.live, role, label, of.averaged, of.pairs, column)
    if any(changes):
        change = Column(f"{name}_diff", f"Δ {header}", "change", unit=column.unit, keep=column.keep - 20)
        yield change, [c.difference if c else None for c in changes]
    if any(c and c.percent for c in changes):
        percent = Column(f"{name}_percent", f"Δ {header} %", "percent", keep=column.keep - 40)
        yield percent, [c.percent if c else None for c in changes]


def _targets(of: Grouping, asked: Asked) -> Iterator[Filled]:
    """The time to each target, and the area under the profile of a row."""
    for measure, value in asked.targets.items():
        goal = target_column(measure, value)
        if not of.live or goal not in of.live[0]:
            continue
        seconds = [[t[goal] for t in g.trials if not math.isnan(t[goal])] for g in of.groups]
        header = f"s to {measure} {value:g}"
        yield Column(goal, header, "extra", keep=290), [target_text(s) if s else None for s in seconds]
        if soon := areas(of.groups, of.averaged, goal):
            area = Column(f"{goal}_area", "area", "share", keep=280)
            yield area, [soon.get(i) for i in range(len(of.groups))]


def _times(of: Grouping, asked: Asked) -> Iterator[Filled]:
    """Step times, and what they are over the baseline's."""
    if not any(is_number(t.get(STEP)) for t in of.live if t["status"] == "done"):
        return
    steps = [stats.once(of.by_seed(g, STEP, log=True)) for g in of.groups]
    yield Column(STEP, "step ms", "time", "lower", "ms", 500), [stats.geometric_mean(s.values()) for s in steps]
    role, label = asked.baseline
    if role in of.averaged:
        return
    ratios = ratios_of(of.groups, of.live, role, label, of.averaged, of.pairs, asked.times)
    if any(ratios.values()):
        ratio = Column(RATIO, f"× {label}", "ratio", "lower", "", 400)  # noqa: RUF001 # times
        yield ratio, [ratios.get(i) for i in range(len(of.groups))]


def _extra(of: Grouping, group: Group, name: str) -> Estimate | str | None:
    """A plugin's column: numbers are averaged like measures, anything else is listed."""
    values = levels_of(group.trials, name)
    if any(isinstance(v, str | bool) for v in values):
        return ", ".join(map(str, values))
    return stats.mean(of.by_seed(group, name).values())


def _tally(group: Group) -> Tally:
    statuses = Counter(t["status"] for t in group.trials)
    done = statuses.pop("done", 0)
    return Tally(done, len(group.trials), dict(statuses))


def _numbers(live: Sequence[Trial], name: str) -> list[float]:
    """The values of a column that count for means."""
    return [float(v) for t in live if t["status"] == "done" and is_number(v := t.get(name)) and v is not None]


def _floor(live: Sequence[Trial], name: str) -> float | None:
    """The mean floor of a data set; several have no floor in common."""
    if len(levels_of(live, "dataset")) > 1:
        return None
    floors = [t.get(f"{name.removesuffix('_ema')}_floor") for t in live if t["status"] == "done"]
    estimate = stats.mean(f for f in floors if f is not None and is_number(f))
    return None if estimate is None else estimate.mean
