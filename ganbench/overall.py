"""How the levels of a factor stand over many cells at once: ranks, interquartile means, profiles and wins."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganbench import effects, ranking, stats
from ganbench.compare import baseline_of, blocks_of, measures_of, rows_of
from ganbench.effects import Scale
from ganbench.errors import ResultsError, nearest
from ganbench.factors import within_blocks
from ganbench.footers import refusals
from ganbench.grouping import facts_by_cell
from ganbench.records import ROLES
from ganbench.shared import Shared
from ganbench.stats import Better, Estimate, Percent
from ganbench.table import STEP
from ganbench.trials import Trial, is_number, levels_of, mixed

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.ranking import Array

RATIOS = (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0)
"""Values over the baseline's at which a profile is read."""
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where it is read for measures that are compared by differences: these quantiles of all values, rounded."""


@dataclass(frozen=True)
class Place:
    """One level in one measure, over the blocks and seeds that all levels have.

    Args:
        level: of the factor.
        rank: its mean rank over blocks; 1 is best.
        iqm: the interquartile mean of all values less the baseline's, each over (or less) the baseline's mean in its
            block; in percent for ratios. None if so many failed that it is not a number, and for the baseline.
        profile: the share of trials that are at least as good as each threshold.
        done: trials that ended well, in the blocks counted.
        total: all of them.
        failures: how many ended in each other status.
        improved: P(improvement) over the baseline, see :class:`ganbench.factors.FactorEffect`. None for the baseline.
        a12: likewise.
        better: blocks in which it is better than the baseline.
        worse: blocks in which it is worse.
        signed: p of Wilcoxon's signed-rank test over blocks, not corrected; None if it could not reject alone.
        p: ``signed`` corrected by Holm over all levels and measures; None with fewer blocks than that needs.
    """

    level: str
    rank: Estimate
    iqm: Estimate | None
    profile: tuple[Estimate, ...]
    done: int
    total: int
    failures: Mapping[str, int] = field(default_factory=dict)
    improved: Estimate | None = None
    a12: float | None = None
    better: int = 0
    worse: int = 0
    signed: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class Overall:
    """All levels of a factor in one measure.

    Args:
        role: the factor.
        measure: its name.
        better: which way is better.
        unit: of the measure.
        baseline: the level that others are held against.
        scale: of IQM and profile.
        levels: in the order of the plan.
        datasets: over which it goes.
        blocks: how many all levels have.
        left_out: how many some level lacks.
        seeds: how many all have.
        friedman: p that all levels rank alike; None below five blocks.
        thresholds: of the profiles, as ratios or differences to the baseline's mean in the block.
        tests: signed-rank tests made at once.
        need: how many blocks they need.
    """

    role: str
    measure: str
    better: Better
    unit: str
    baseline: str
    scale: Scale
    levels: tuple[Place, ...]
    datasets: tuple[str, ...]
    blocks: int
    left_out: int
    seeds: int
    friedman: float | None
    thresholds: tuple[float, ...]
    tests: int = 0
    need: int = 0


def overall(
    records: pd.DataFrame,
    measures: Mapping[str, tuple[Better, str]],
    *,
    role: str = "regularizer",
    show: Sequence[str] = (),
    baseline: str = "none",
) -> list[Overall]:
    """How the levels of ``role`` stand in each measure, over all data sets that have it; failures stand last.

    A block is a choice of all other roles, the data set among them, under one protocol. Measures whose values have
    several protocols on one data set are left out: see :func:`left_out`.

    Args:
        records: one row for each trial, as :attr:`ganbench.results.Results.records`.
        measures: for each measure, which way is better and its unit.
        role: the factor.
        show: measures; by default the last iterate's that have a direction.
        baseline: a level, or ``ROLE=LEVEL``; the first one if there is no ``none``.

    Raises:
        ResultsError: there is no such role, level or measure, a measure has no direction, or nothing can be ranked.
    """
    if role not in ROLES:
        raise ResultsError(f"no role {role!r}", place="--by", hint=nearest(role, ROLES))
    rows = rows_of(records)
    levels = [str(level) for level in levels_of(rows, role)]
    if len(levels) < 2:
        raise ResultsError(f"nothing to rank: fewer than two levels of {role} have a result", hint="name another --by")
    base = baseline_of(baseline, role, levels)
    shown = measures_of(show, measures, records)
    facts = facts_by_cell(rows)
    refused = mixed(rows, shown)
    found = []
    for name, (better, unit) in shown.items():
        if name in refused or (name == STEP and not show):
            continue
        if better is None or name == STEP:
            said = "times of several machines do not compare" if name == STEP else "it says no better way"
            raise ResultsError(f"{name} cannot be ranked: {said}", place="--measure")
        having = {str(row["dataset"]) for row in rows if is_number(row.get(name))}
        part = [row for row in rows if str(row["dataset"]) in having]
        made = _of_measure(part, role, base, (name, better, unit), facts) if part else None
        if made is not None:
            found.append(made)
    if not found and refused:
        raise ResultsError(f"nothing to rank: {' '.join(refusals(refused))}")
    if not found:
        raise ResultsError(
            f"nothing to rank: no two levels of {role} share a cell that is otherwise equal",
            hint="ganbench compare looks at those cells that each level shares with the baseline",
        )
    return _tested(found)


def left_out(
    records: pd.DataFrame, measures: Mapping[str, tuple[Better, str]], *, show: Sequence[str] = ()
) -> list[str]:
    """Why measures are not ranked."""
    shown = measures_of(show, measures, records)
    return refusals(mixed(rows_of(records), shown))


def _of_measure(
    part: Sequence[Trial],
    role: str,
    base: str,
    measure: tuple[str, Better, str],
    facts: Mapping[str, tuple[str, ...]],
) -> Overall | None:
    name, better, unit = measure
    of = blocks_of(part, role, name, facts)
    shared = Shared.of(of, base, better, list(dict.fromkeys(int(t["seed"]) for t in part)))
    if shared is None:
        return None
    ranks = ranking.mean_ranks(shared.scores())
    normal = shared.normalised()
    thresholds = _thresholds(normal, shared.scale, shared.sign)
    profiles = _profiles(normal, thresholds, shared.scale, shared.sign)
    iqms = _iqms(normal, list(of).index(base), shared.scale, shared.sign)
    ends = _ends(part, role, facts, shared)
    places = [
        Place(
            level=level,
            rank=ranks.means[i],
            iqm=iqms[i],
            profile=profiles[i],
            done=ends[level]["done"],
            total=ends[level].total(),
            failures={status: n for status, n in ends[level].items() if status != "done"},
        )
        for i, level in enumerate(of)
    ]
    return Overall(
        role=role,
        measure=name,
        better=better,
        unit=unit,
        baseline=base,
        scale=shared.scale,
        levels=tuple(place if place.level == base else _against(place, shared) for place in places),
        datasets=tuple(dict.fromkeys(str(t["dataset"]) for t in part)),
        blocks=len(shared.blocks),
        left_out=len({key for blocks in of.values() for key in blocks}) - len(shared.blocks),
        seeds=len(shared.seeds),
        friedman=ranks.p,
        thresholds=tuple(thresholds),
    )


def _against(place: Place, shared: Shared) -> Place:
    """``place`` with what its level is against the baseline."""
    found = within_blocks(
        shared.values(place.level), shared.values(shared.base), better=shared.better, scale=shared.scale
    )
    assert found is not None  # they share blocks
    return replace(
        place,
        improved=found.effect.improved,
        a12=found.effect.a12,
        better=found.better,
        worse=found.worse,
        signed=signed_rank(shared.differences(place.level)),
    )


def _ends(
    part: Sequence[Trial], role: str, facts: Mapping[str, tuple[str, ...]], shared: Shared
) -> dict[str, Counter[str]]:
    """How the trials of each level ended that lie in the shared blocks and seeds."""
    others = [r for r in ROLES if r != role]
    blocks, seeds = set(shared.blocks), set(shared.seeds)
    found = {level: Counter[str]() for level in shared.levels}
    for trial in part:
        if (*(trial[r] for r in others), *facts[trial["cell"]]) in blocks and int(trial["seed"]) in seeds:
            found[str(trial[role])][str(trial["status"])] += 1
    return found


def _thresholds(normal: Array, scale: Scale, sign: float) -> list[float]:
    import numpy as np

    if scale == "ratio":
        return list(RATIOS)
    finite = normal[np.isfinite(normal)]
    if not finite.size:
        return []
    wanted = [sign * float(q) for q in np.quantile(finite, QUANTILES)]
    return list(dict.fromkeys(float(f"{x:.1g}") + 0.0 for x in wanted))  # no negative zero


def _profiles(normal: Array, thresholds: Sequence[float], scale: Scale, sign: float) -> list[tuple[Estimate, ...]]:
    """For each level the share of its trials that are at least as good as each threshold; none without a baseline."""
    import numpy as np

    if not normal.size:
        return [() for _ in normal]
    at = np.log(thresholds) if scale == "ratio" else sign * np.array(thresholds)
    shares, low, high = ranking.profile(normal, at)
    n = normal[0].size

    def estimate(i: int, j: int) -> Estimate:
        if low is None or high is None:
            return Estimate(float(shares[i, j]), None, None, n)
        return Estimate(float(shares[i, j]), float(low[i, j]), float(high[i, j]), n)

    return [tuple(estimate(i, j) for j in range(len(thresholds))) for i in range(len(shares))]


def _iqms(normal: Array, base: int, scale: Scale, sign: float) -> list[Estimate | None]:
    """The IQM of each level less the baseline's, on the printed scale; None for the baseline, and for infinities."""
    if not normal.size:
        return [None for _ in normal]
    made: list[Estimate | None] = []
    for i, found in enumerate(ranking.iqms(normal, base=base)):
        if i == base or not math.isfinite(found.mean):
            made.append(None)
            continue
        low, high = (
            (None, None) if found.low is None or found.high is None else sorted((sign * found.low, sign * found.high))
        )
        estimate = Estimate(sign * found.mean, low, high, found.n)
        made.append(Percent.of(estimate) if scale == "ratio" else estimate)
    return made


def signed_rank(differences: Sequence[float]) -> float | None:
    """The two-sided p of Wilcoxon's signed-rank test, by all sign flips of the ranks of the sizes; zeros are left out.

    None for fewer than six differences, with which it could not be below 0.05.
    """
    import numpy as np

    kept = [d for d in differences if d]
    ranks = ranking.ranked(np.array([abs(d) for d in kept]))
    return effects.sign_flip([math.copysign(float(r), d) for r, d in zip(ranks, kept, strict=True)])


def _tested(found: Sequence[Overall]) -> list[Overall]:
    """``found`` with Holm's correction over all levels and measures, where there are blocks enough to reject any."""
    places = [(i, j) for i, s in enumerate(found) for j, level in enumerate(s.levels) if level.level != s.baseline]
    need = effects.least_n(len(places))
    able = [(i, j) for i, j in places if found[i].blocks >= need]
    ps = effects.holm([1.0 if (p := found[i].levels[j].signed) is None else p for i, j in able])
    tests: dict[Hashable, float] = dict(zip(able, ps, strict=True))
    return [
        replace(
            s,
            tests=len(places),
            need=need,
            levels=tuple(replace(level, p=tests.get((i, j))) for j, level in enumerate(s.levels)),
        )
        for i, s in enumerate(found)
    ]


def frame(found: Sequence[Overall]) -> pd.DataFrame:
    """One row for each level and measure, flat: every estimate as NAME, NAME_low and NAME_high."""
    import pandas as pd

    rows = []
    for s in found:
        for level in s.levels:
            row: dict[str, Any] = {"measure": s.measure, "better": s.better, "role": s.role, "level": level.level}
            row["baseline"] = s.baseline
            for name, value in (("rank", level.rank), ("iqm", level.iqm), ("improved", level.improved)):
                row |= stats.flat(name, value)
            row |= {"a12": level.a12, "scale": s.scale, "p": level.p, "p_uncorrected": level.signed, "need": s.need}
            row |= {"blocks": s.blocks, "blocks_better": level.better, "blocks_worse": level.worse, "seeds": s.seeds}
            rows.append(row | {"friedman": s.friedman, "done": level.done, "total": level.total})
    return pd.DataFrame(rows)
