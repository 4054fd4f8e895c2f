"""What each factor did on each data set: the comparisons of :mod:`ganbench.compare`, for every factor at once.

A factor is a role, or several whose components always change together. Its comparisons over all data sets and measures
are one family of tests, as in ``ganbench compare RUN --by ROLE``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganbench.compare import ALPHA, Comparison, comparisons, left_out, rows_of, tested
from ganbench.factors import FactorEffect
from ganbench.records import ROLES, Record
from ganbench.results import Results
from ganbench.stats import Better, Estimate
from ganbench.table import STEP
from ganbench.trials import Trial, is_unsure, mixed

if TYPE_CHECKING:
    import pandas as pd

PLURALS = {"loss": "losses"}


@dataclass(frozen=True)
class Effect:
    """One level of a factor against the baseline, in one measure.

    Args:
        comparison: what was found.
        factor: its role, or roles joined by `` + ``.
        averaged: what the blocks differ in: ``3 losses``.
        cost: step time over that of the baseline, where both were measured on equal terms.
        unsure: some of these times were taken beside other work, or before the clock was warm.
    """

    comparison: Comparison
    factor: str
    averaged: str
    cost: Estimate | None
    unsure: bool

    @property
    def dataset(self) -> str:
        return self.comparison.dataset

    @property
    def level(self) -> str:
        return self.comparison.level

    @property
    def baseline(self) -> str:
        return self.comparison.baseline

    @property
    def measure(self) -> str:
        return self.comparison.measure

    @property
    def better(self) -> Better:
        return self.comparison.better

    @property
    def found(self) -> FactorEffect:
        return self.comparison.found

    @property
    def change(self) -> Estimate | None:
        """Of the measure: in percent if ``relative``, else in its units. None if nothing pairs."""
        return self.found.effect.tested

    @property
    def relative(self) -> bool:
        return self.found.effect.scale == "ratio"

    @property
    def clear(self) -> bool:
        """Whether the paired t test alone, without a correction, says that there is a change."""
        p = self.found.effect.p
        return p is not None and p <= ALPHA

    @property
    def same(self) -> bool:
        """Whether two one-sided tests put the change within what the measure makes of real samples."""
        p = self.comparison.same
        return p is not None and p <= ALPHA

    @property
    def improves(self) -> bool:
        """Whether the mean changed for the better."""
        return self.found.effect.better(self.better) is True


@dataclass(frozen=True)
class Factor:
    """The effects of one factor on one data set, or why there are none: ``silent``.

    Args:
        dataset: its name.
        name: the factor.
        effects: level by level, in every measure that has a better way.
        interactions: comparisons in the first measure at one level of another factor, whose effect differs from that
            at all other levels by an interval that excludes 0.
        silent: why there are no effects.
    """

    dataset: str
    name: str
    effects: tuple[Effect, ...]
    interactions: tuple[Comparison, ...] = ()
    silent: str = ""


def factors(results: Results, *, baseline: str = "none") -> list[Factor]:
    """For each data set and each factor that differs in it, the effects in every measure that has a better way.

    The baseline of a factor is ``baseline`` if that is one of its levels, else its first level in the plan. Measures
    of several protocols are left out, see :func:`not_shown`.
    """
    records = results.records
    rows: dict[str, list[Trial]] = {}
    for row in rows_of(records):
        rows.setdefault(str(row["dataset"]), []).append(row)
    trials: dict[str, list[Record]] = {}
    for record in results.trials:
        trials.setdefault(record.labels.get("dataset", ""), []).append(record)
    found: list[Factor | _Draft] = []
    for dataset, part in rows.items():
        merged = together([{role: str(row[role]) for role in ROLES} for row in part])
        ways = directed(trials.get(dataset, []))
        refused = mixed(part, ways)
        measures = [name for name in ways if name not in refused]
        for roles in merged:
            others = [other for other in merged if other != roles]
            here = records[records["dataset"] == dataset]
            if refused and not measures:
                silent = "every measure of it has values of several protocols"
                found.append(Factor(dataset, " + ".join(roles), (), silent=silent))
            else:
                found.append(_draft(dataset, roles, others, here, measures, results, baseline))
    return _finished(found)


def not_shown(results: Results) -> dict[str, list[str]]:
    """For each data set, why measures of it are not compared."""
    return left_out(results.records, results.measures)


@dataclass(frozen=True)
class _Draft:
    """The comparisons of one factor on one data set, before those on other data sets are known."""

    dataset: str
    name: str
    others: Sequence[tuple[str, ...]]
    rows: Sequence[Trial]
    found: Sequence[Comparison]
    interactions: tuple[Comparison, ...]


def _draft(
    dataset: str,
    roles: tuple[str, ...],
    others: Sequence[tuple[str, ...]],
    records: pd.DataFrame,
    measures: Sequence[str],
    results: Results,
    baseline: str,
) -> Factor | _Draft:
    name = " + ".join(roles)
    if not measures:
        return Factor(dataset, name, (), silent="no measure of it has a better way")
    joint: pd.Series[Any] = records[list(roles)].agg(" + ".join, axis=1)
    merged = records.assign(**dict.fromkeys(roles[1:], "")).assign(**{roles[0]: joint})
    rows = rows_of(merged)
    levels = list(dict.fromkeys(str(row[roles[0]]) for row in rows))
    wanted = baseline.partition("=")[2] if baseline.startswith(f"{roles[0]}=") else baseline
    base = f"{roles[0]}={wanted if wanted in levels else levels[0]}"
    shown = [*measures, *([STEP] if STEP in merged else [])]
    found = comparisons(merged, results.measures, by=roles[:1], show=shown, baseline=base, times=results.step_times)
    if not any(c.measure != STEP for c in found):
        return Factor(dataset, name, (), silent="no two cells differ in it alone under one protocol")
    split = [
        c
        for other in others
        if len(other) == 1
        for c in comparisons(merged, results.measures, by=(roles[0], other[0]), show=measures[:1], baseline=base)
        if c.others is not None and c.others.low is not None and c.others.high is not None
        if c.others.low > 0 or c.others.high < 0
    ]
    return _Draft(dataset, name, others, rows, found, tuple(split))


def _finished(drafts: Sequence[Factor | _Draft]) -> list[Factor]:
    """The factors, each with tests over its whole family."""
    families: dict[str, list[Comparison]] = {}
    for draft in drafts:
        if isinstance(draft, _Draft):
            families.setdefault(draft.name, []).extend(draft.found)
    corrected = {name: iter(tested(family)) for name, family in families.items()}
    made = []
    for draft in drafts:
        if isinstance(draft, Factor):
            made.append(draft)
            continue
        found = [next(corrected[draft.name]) for _ in draft.found]
        costs = {c.level: c for c in found if c.measure == STEP}
        levels = list(dict.fromkeys(c.level for c in found))
        told = [_effect(c, draft, costs.get(c.level)) for c in found if c.measure != STEP]
        told.sort(key=lambda e: levels.index(e.level))  # which keeps the order of measures within a level
        made.append(Factor(draft.dataset, draft.name, tuple(told), draft.interactions))
    return made


def _effect(comparison: Comparison, draft: _Draft, cost: Comparison | None) -> Effect:
    percent = None if cost is None else cost.found.effect.percent
    low, high = (None, None) if percent is None else (percent.low, percent.high)
    role, sides = comparison.role, (comparison.level, comparison.baseline)
    return Effect(
        comparison=comparison,
        factor=draft.name,
        averaged=_averaged(comparison, draft.others),
        cost=None
        if percent is None
        else Estimate(
            1 + percent.mean / 100,
            None if low is None else 1 + low / 100,
            None if high is None else 1 + high / 100,
            percent.n,
        ),
        unsure=any(is_unsure(row) for row in draft.rows if row["status"] == "done" and row[role] in sides),
    )


def _averaged(comparison: Comparison, others: Sequence[tuple[str, ...]]) -> str:
    """``3 losses and 2 generators``: what differs between the blocks."""
    places = {role: i for i, role in enumerate(r for r in ROLES if r != comparison.role)}
    said = []
    for roles in others:
        levels = {tuple(block[places[role]] for role in roles) for block in comparison.found.blocks}  # type: ignore[index] # blocks of a run are tuples
        if len(levels) > 1:
            noun = roles[0] if len(roles) == 1 else f"choices of {' + '.join(roles)}"
            said.append(f"{len(levels)} {noun if len(roles) > 1 else PLURALS.get(noun, noun + 's')}")
    return " and ".join(said)


def together(cells: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """The roles, without the data set, in which labels differ; those that always change together as one."""
    found: dict[tuple[int, ...], list[str]] = {}
    for role in ROLES:
        values = [labels.get(role, "") for labels in cells]
        order = {value: i for i, value in enumerate(dict.fromkeys(values))}
        if role != "dataset" and len(order) > 1:
            found.setdefault(tuple(order[v] for v in values), []).append(role)
    return [tuple(roles) for roles in found.values()]


def directed(trials: Sequence[Record]) -> dict[str, Better]:
    """The measures of some trials that have a better way, and that way; those of one value in all of them come last."""
    better: dict[str, Better] = {}
    values: dict[str, set[float | None]] = {}
    for record in trials:
        for name, value in record.measures.items():
            if value.better:
                better.setdefault(name, value.better)
                values.setdefault(name, set()).add(value.last)
    return dict(sorted(better.items(), key=lambda item: len(values[item[0]]) < 2))
