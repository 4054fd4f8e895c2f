"""What a factor did: each level of a role against a baseline, between cells that differ in nothing else, in a sentence.

A block is a choice of all other roles under one protocol; see :mod:`ganbench.factors` for what is averaged and counted.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ganbench import stats
from ganbench.effects import Scale, holm, least_n
from ganbench.factors import FactorEffect, within_blocks
from ganbench.facts import plural
from ganbench.records import ROLES, Record
from ganbench.results import Better, Results
from ganbench.stats import Estimate
from ganbench.table import CLOCK, PROTOCOL, STEP

Pairs: TypeAlias = Sequence[tuple[Sequence[Record], Sequence[Record]]]
"""For each block the trials of a level and those of the baseline."""
ALPHA = 1 - stats.LEVEL
PLURALS = {"loss": "losses"}


@dataclass(frozen=True)
class Effect:
    """One level of a factor against the baseline, in one measure.

    Args:
        found: what was found within the blocks that both have.
        change: of the measure, in percent if ``relative``, else in its units. None if nothing pairs.
        better: which way is better.
        averaged: what the blocks differ in: ``3 losses``.
        cost: step time over that of the baseline, where both were measured on equal terms.
        unsure: some of these times were taken beside other work, or before the clock was warm.
        family: comparisons of the factor over all data sets and measures, for which Holm's correction answers.
        p: of the paired t test over seeds, corrected; None with fewer seeds than the family needs.
        flip: of the sign-flip test, corrected likewise.
    """

    dataset: str
    factor: str
    level: str
    baseline: str
    measure: str
    better: Better
    found: FactorEffect
    averaged: str
    cost: Estimate | None
    unsure: bool
    family: int = 1
    p: float | None = None
    flip: float | None = None

    @property
    def change(self) -> Estimate | None:
        return self.found.effect.tested

    @property
    def relative(self) -> bool:
        return self.found.effect.scale == "ratio"

    @property
    def clear(self) -> bool:
        """Whether the interval excludes no change."""
        change = self.change
        if change is None or change.low is None or change.high is None:
            return False
        return not change.low <= 0 <= change.high

    @property
    def improves(self) -> bool:
        """Whether the mean changed for the better."""
        return self.found.effect.better(self.better) is True


@dataclass(frozen=True)
class Factor:
    """The effects of one factor on one data set, or why there are none: ``silent``."""

    dataset: str
    name: str
    effects: tuple[Effect, ...]
    silent: str = ""


def factors(results: Results, *, baseline: str = "none") -> list[Factor]:
    """For each data set and each factor that differs in it, the effects in every measure that has a better way.

    Roles whose components always change together are one factor. The baseline of a factor is ``baseline`` if that is
    one of its levels, else its first level in the plan.
    """
    cells: dict[str, list[Record]] = {}
    for record in results.trials:
        cells.setdefault(record.cell, []).append(record)
    datasets: dict[str, list[list[Record]]] = {}
    for trials in cells.values():
        datasets.setdefault(trials[0].labels.get("dataset", ""), []).append(trials)
    found = []
    for dataset, group in datasets.items():
        merged = together([trials[0].labels for trials in group])
        for roles in merged:
            others = [other for other in merged if other != roles]
            found.append(_factor(dataset, roles, others, group, baseline))
    return _tested(found)


def sentence(effect: Effect) -> str:
    """``lowers fd by 12 % [3, 20] against none, averaged over 3 losses; better in 2 of 3 blocks; ...``."""
    said = [_changed(effect) + (f", averaged over {effect.averaged}" if effect.averaged else "")]
    found = effect.found
    if found.cells > 1:
        said.append(f"better in {found.better} of {found.cells} blocks")
    if found.failed or found.failed_baseline:
        told = f"{plural(found.failed, 'trial')} of it failed, {found.failed_baseline} of {effect.baseline}"
        if effect.change is not None and not found.used:
            told += ", so the mean is over the trials that both completed"
        elif 0 < len(found.used) < found.cells:
            told += f", so the mean is over {len(found.used)} of {found.cells} blocks"
        said.append(told)
    if effect.cost:
        unsure = " (timed beside other work)" if effect.unsure else ""
        said.append(f"a step takes {_times(effect.cost)} as long{unsure}")
    if effect.change is not None:
        n, least = effect.change.n, least_n(effect.family)
        tests = f" for {effect.family} tests" if effect.family > 1 else ""
        if effect.p is not None:
            about = f"paired t over {n} seeds" + (f", Holm over {effect.family} tests" if effect.family > 1 else "")
            if effect.flip is not None and (effect.flip <= ALPHA) != (effect.p <= ALPHA):
                about += f"; p {_p(effect.flip)} by sign flips"
            said.append(f"p {_p(effect.p)} ({about})")
        elif n < least:
            said.append(f"{'1 seed is' if n == 1 else f'{n} seeds are'} too few to test (need {least}{tests})")
    return "; ".join(said) + "."


def _changed(effect: Effect) -> str:
    against = f"against {effect.baseline}"
    change = effect.change
    if change is None:
        return f"cannot be compared in {effect.measure} {against}: no seed of any block was completed by both"
    if change.mean == 0:
        return f"leaves {effect.measure} as it is {against}"
    up = change.mean > 0
    which = "better" if effect.improves else "worse"
    if change.low is not None and not effect.clear:
        more = "higher" if up else "lower"
        return f"shows no clear change: {effect.measure} is {_size(effect)} {more} ({which}) {against}"
    alone = "; one seed gives no interval" if change.low is None else ""
    return f"{'raises' if up else 'lowers'} {effect.measure} by {_size(effect)} {against} ({which}{alone})"


def _size(effect: Effect) -> str:
    """``12 % [3, 20]``: the size of a change in its direction, with its interval."""
    change = effect.change
    assert change is not None  # asked only of a change
    sign = 1.0 if change.mean > 0 else -1.0
    text = short(sign * change.mean) + ("\N{NO-BREAK SPACE}%" if effect.relative else "")
    if change.low is None or change.high is None:
        return text
    low, high = sorted((sign * change.low, sign * change.high))
    return f"{text} [{short(low)}, {short(high)}]"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _times(ratio: Estimate) -> str:
    text = f"{ratio.mean:.2f} times"
    return text if ratio.low is None else f"{text} [{ratio.low:.2f}, {ratio.high:.2f}]"


def short(x: float) -> str:
    """A number for prose: about two significant digits, a true minus sign, thousands apart."""
    size = abs(x)
    text = (
        f"{size:.1e}"
        if size >= 1e7
        else f"{size:,.0f}"
        if size >= 10
        else f"{size:.1f}"
        if size >= 1
        else f"{size:.2g}"
    )
    return f"\N{MINUS SIGN}{text}" if x < 0 and float(text.replace(",", "")) else text


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


def _factor(
    dataset: str,
    roles: tuple[str, ...],
    others: Sequence[tuple[str, ...]],
    group: Sequence[Sequence[Record]],
    baseline: str,
) -> Factor:
    def level(trials: Sequence[Record]) -> str:
        return " + ".join(trials[0].labels.get(role, "") for role in roles)

    name = " + ".join(roles)
    blocks: dict[tuple[object, ...], dict[str, Sequence[Record]]] = {}
    for trials in group:
        rest = tuple(trials[0].labels.get(role, "") for role in ROLES if role not in roles)
        blocks.setdefault((rest, _protocol(trials)), {})[level(trials)] = trials
    levels = list(dict.fromkeys(level(trials) for trials in group))
    wanted = baseline.partition("=")[2] if baseline.startswith(f"{roles[0]}=") else baseline
    base = wanted if wanted in levels else levels[0]
    rivals = [x for x in levels if x != base and any(base in b and x in b for b in blocks.values())]
    if not rivals:
        return Factor(dataset, name, (), "no two cells differ in it alone under one protocol")
    measures = directed([r for trials in group for r in trials])
    if not measures:
        return Factor(dataset, name, (), "no measure of it has a better way")
    effects: list[Effect] = []
    for measure, better in measures.items():
        numbers = [v for trials in group for v in _values(trials, measure).values() if v is not None]
        # as `compare` has it: shares and counts, which are better when higher, differ in units
        scale: Scale = "ratio" if better == "lower" and min(numbers, default=0) > 0 else "difference"
        for rival in rivals:
            both = {block: (b[rival], b[base]) for block, b in blocks.items() if base in b and rival in b}
            sides: list[dict[Hashable, dict[int, float | None]]] = [
                {block: _values(pair[side], measure) for block, pair in both.items()} for side in (0, 1)
            ]
            found = within_blocks(sides[0], sides[1], better=better, scale=scale)
            assert found is not None  # a rival shares a block with the baseline
            pairs = list(both.values())
            effects.append(
                Effect(
                    dataset=dataset,
                    factor=name,
                    level=rival,
                    baseline=base,
                    measure=measure,
                    better=better,
                    found=found,
                    averaged=_averaged(pairs, others),
                    cost=_cost(pairs),
                    unsure=any(unsure(r) for pair in pairs for side in pair for r in side if r.status == "done"),
                )
            )
    effects.sort(key=lambda e: rivals.index(e.level))  # which keeps the order of measures within a level
    return Factor(dataset, name, tuple(effects))


def _tested(found: Sequence[Factor]) -> list[Factor]:
    """The factors with the p values of their effects, as far as there are seeds enough to reject any."""
    made = list(found)
    for name in dict.fromkeys(factor.name for factor in found):
        places = [(i, j) for i, f in enumerate(found) if f.name == name for j in range(len(f.effects))]
        places = [(i, j) for i, j in places if found[i].effects[j].found.effect.p is not None]
        need = least_n(len(places))
        sure = [(i, j) for i, j in places if found[i].effects[j].found.effect.n >= need]
        ps = holm([p for i, j in sure if (p := found[i].effects[j].found.effect.p) is not None])
        flips = holm([1.0 if (p := found[i].effects[j].found.effect.flip) is None else p for i, j in sure])
        tests = dict(zip(sure, zip(ps, flips, strict=True), strict=True))
        for i, factor in enumerate(found):
            if factor.name == name:
                made[i] = replace(
                    factor,
                    effects=tuple(
                        replace(e, family=max(1, len(places)), p=p, flip=flip)
                        for j, e in enumerate(factor.effects)
                        for p, flip in [tests.get((i, j), (None, None))]
                    ),
                )
    return made


def _values(trials: Sequence[Record], measure: str) -> dict[int, float | None]:
    """By seed the value of the last iterate, None where the trial failed or has none."""
    found: dict[int, float | None] = {}
    for record in trials:
        value = record.measures.get(measure) if record.status == "done" else None
        assert record.seed is not None  # only skipped cells have none
        found[record.seed] = None if value is None else value.last
    return found


def _averaged(pairs: Pairs, others: Sequence[tuple[str, ...]]) -> str:
    """``3 losses and 2 generators``: what differs between the blocks."""
    said = []
    for roles in others:
        levels = {tuple(above[0].labels.get(role, "") for role in roles) for above, _ in pairs}
        if len(levels) > 1:
            noun = roles[0] if len(roles) == 1 else f"choices of {' + '.join(roles)}"
            said.append(f"{len(levels)} {noun if len(roles) > 1 else PLURALS.get(noun, noun + 's')}")
    return " and ".join(said)


def _protocol(trials: Sequence[Record]) -> tuple[str, ...]:
    """The protocol of a cell, from any of its trials that could say it."""
    said: Mapping[str, object] = next((r.facts for r in trials if r.facts.get("steps") is not None), {})
    return tuple(str(said.get(fact)) for fact in PROTOCOL)


def _cost(pairs: Pairs) -> Estimate | None:
    """Step times over the baseline's: per seed the geometric mean over the blocks timed on equal terms."""
    logs: dict[int, list[float]] = {}
    for above, below in pairs:
        base = {r.seed: r for r in below if r.status == "done"}
        for record in above:
            other = base.get(record.seed)
            if record.status != "done" or other is None or record.seed is None or clock(record) != clock(other):
                continue
            times = record.timing.get(STEP), other.timing.get(STEP)
            if times[0] and times[1]:
                logs.setdefault(record.seed, []).append(math.log(times[0] / times[1]))
    blocks = max((len(x) for x in logs.values()), default=0)
    ratios = {seed: math.exp(min(math.fsum(x) / len(x), stats.MOST)) for seed, x in logs.items() if len(x) == blocks}
    return stats.geometric_mean(stats.once(ratios).values())


def unsure(record: Record) -> bool:
    """Whether a step time was taken beside other work, or before the clock was warm."""
    return record.facts.get("exclusive") is False or record.timing.get(f"{STEP}_n") == 0


def clock(record: Record) -> tuple[str, ...]:
    """What two trials must share for their step times to be compared."""
    row = dict(record.facts) | {f"{kind}_fingerprint": value for kind, value in record.fingerprints.items()}
    return tuple(str(row.get(name)) for name in CLOCK)
