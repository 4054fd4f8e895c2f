"""How the levels of a factor stand over many cells at once: ranks, interquartile means, profiles and wins."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from ganbench import effects, ranking
from ganbench.compare import baseline_of, blocks_of, measures_of, rows_of
from ganbench.effects import Scale
from ganbench.errors import ResultsError, nearest
from ganbench.factors import within_blocks
from ganbench.footers import refusals
from ganbench.grouping import facts_by_cell
from ganbench.records import ROLES
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
Blocks: TypeAlias = Mapping[tuple[Any, ...], Mapping[int, float | None]]


@dataclass(frozen=True)
class Place:
    """One level in one measure, over the blocks and seeds that all levels have.

    Args:
        level: of the factor.
        rank: its mean rank over blocks; 1 is best.
        iqm: the interquartile mean of all values less the baseline's, each over (or less) the baseline's mean in its
            block; in percent for ratios. None if so many failed that it is not a number, and for the baseline.
        improved: P(improvement) over the baseline, see :class:`ganbench.factors.FactorEffect`. None for the baseline.
        a12: likewise.
        better: blocks in which it is better than the baseline.
        worse: blocks in which it is worse.
        signed: p of Wilcoxon's signed-rank test over blocks, not corrected; None if it could not reject alone.
        profile: the share of trials that are at least as good as each threshold.
        done: trials that ended well, in the blocks counted.
        total: all of them.
        failures: how many ended in each other status.
        p: ``signed`` corrected by Holm over all levels and measures; None with fewer blocks than that needs.
    """

    level: str
    rank: Estimate
    iqm: Estimate | None
    improved: Estimate | None
    a12: float | None
    better: int
    worse: int
    signed: float | None
    profile: tuple[Estimate, ...]
    done: int
    total: int
    failures: Mapping[str, int] = field(default_factory=dict)
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
    shown = measures_of(show, measures, [str(n) for n in records.select_dtypes("number").columns])
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
    shown = measures_of(show, measures, [str(n) for n in records.select_dtypes("number").columns])
    return refusals(mixed(rows_of(records), shown))


def _of_measure(
    part: Sequence[Trial],
    role: str,
    base: str,
    measure: tuple[str, Better, str],
    facts: Mapping[str, tuple[str, ...]],
) -> Overall | None:
    import numpy as np

    name, better, unit = measure
    of = blocks_of(part, role, name, facts)
    every = dict.fromkeys(key for blocks in of.values() for key in blocks)
    shared = [key for key in every if all(key in blocks for blocks in of.values())]
    seeds = [s for s in {int(t["seed"]): None for t in part} if all(s in b[k] for b in of.values() for k in shared)]
    if len(of) < 2 or base not in of or not shared or not seeds:
        return None
    numbers = [v for b in of.values() for k in shared for v in b[k].values() if v is not None]
    scale: Scale = "ratio" if better == "lower" and min(numbers, default=0) > 0 else "difference"
    sign = 1.0 if better == "lower" else -1.0
    scores = sign * np.array([[[b[k][s] for s in seeds] for k in shared] for b in of.values()], dtype=float)
    ranks = ranking.mean_ranks(scores)
    normal, compared = _normalised(of, base, shared, seeds, scale, sign)
    thresholds = _thresholds(normal, scale, sign)
    at = np.log(thresholds) if scale == "ratio" else sign * np.array(thresholds)
    shares, low, high = ranking.profile(normal, at) if len(compared) else (np.zeros((len(of), 0)), None, None)
    iqms = _iqms(normal, list(of).index(base), scale, sign) if len(compared) else [None] * len(of)
    others = [r for r in ROLES if r != role]
    made = []
    for i, (level, blocks) in enumerate(of.items()):
        inside = {key: {s: blocks[key][s] for s in seeds} for key in shared}
        held = {key: {s: of[base][key][s] for s in seeds} for key in shared}
        effect = None if level == base else within_blocks(inside, held, better=better, scale=scale)
        trials = [t for t in part if t[role] == level and (*(t[r] for r in others), *facts[t["cell"]]) in shared]
        statuses = [str(t["status"]) for t in trials if int(t["seed"]) in seeds]
        ends = list(zip(low[i], high[i], strict=True)) if low is not None and high is not None else []
        profile = tuple(
            Estimate(float(x), float(ends[j][0]) if ends else None, float(ends[j][1]) if ends else None, normal[0].size)
            for j, x in enumerate(shares[i])
        )
        made.append(
            Place(
                level=level,
                rank=ranks.means[i],
                iqm=iqms[i],
                improved=effect.effect.improved if effect else None,
                a12=effect.effect.a12 if effect else None,
                better=effect.better if effect else 0,
                worse=effect.worse if effect else 0,
                signed=signed_rank([d for d in _block_scores(inside, held, sign, scale) if d is not None])
                if effect
                else None,
                profile=profile,
                done=statuses.count("done"),
                total=len(statuses),
                failures={s: statuses.count(s) for s in dict.fromkeys(statuses) if s != "done"},
            )
        )
    return Overall(
        role=role,
        measure=name,
        better=better,
        unit=unit,
        baseline=base,
        scale=scale,
        levels=tuple(made),
        datasets=tuple(dict.fromkeys(str(t["dataset"]) for t in part)),
        blocks=len(shared),
        left_out=len(every) - len(shared),
        seeds=len(seeds),
        friedman=ranks.p,
        thresholds=tuple(thresholds),
    )


def _normalised(
    of: Mapping[str, Blocks],
    base: str,
    shared: Sequence[tuple[Any, ...]],
    seeds: Sequence[int],
    scale: Scale,
    sign: float,
) -> tuple[Array, list[tuple[Any, ...]]]:
    """Scores [levels, blocks, seeds] over or less the baseline's mean in the block, less is better, failures NaN.

    Also the blocks, which are those in which the baseline has a mean.
    """
    import numpy as np

    def number(value: float | None) -> float:
        return math.nan if value is None else math.log(value) if scale == "ratio" else value

    compared = [k for k in shared if any(of[base][k][s] is not None for s in seeds)]
    values = np.array([[[number(b[k][s]) for s in seeds] for k in compared] for b in of.values()], dtype=float)
    if not compared:
        return np.zeros((len(of), 0, len(seeds))), compared
    centre = np.nanmean(values[list(of).index(base)], axis=-1, keepdims=True)
    return np.asarray(sign * (values - centre), dtype=float), compared


def _thresholds(normal: Array, scale: Scale, sign: float) -> list[float]:
    import numpy as np

    if scale == "ratio":
        return list(RATIOS)
    finite = normal[np.isfinite(normal)]
    if not finite.size:
        return []
    wanted = [sign * float(q) for q in np.quantile(finite, QUANTILES)]
    return list(dict.fromkeys(float(f"{x:.1g}") + 0.0 for x in wanted))  # no negative zero


def _iqms(normal: Array, base: int, scale: Scale, sign: float) -> list[Estimate | None]:
    """The IQM of each level less the baseline's, on the printed scale; None for the baseline, and for infinities."""
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


def _block_scores(values: Blocks, baseline: Blocks, sign: float, scale: Scale) -> list[float | None]:
    """For each block the difference of means (of logs), less is better; ±infinity if one side failed in every seed."""
    found: list[float | None] = []
    for key, of in values.items():
        sides = []
        for side in (of, baseline[key]):
            numbers = [v for v in side.values() if v is not None]
            logs = [math.log(v) if scale == "ratio" else v for v in numbers]
            sides.append(sign * statistics.fmean(logs) if logs else math.inf)
        found.append(None if sides[0] == sides[1] == math.inf else sides[0] - sides[1])
    return found


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
                estimate = value or Estimate(math.nan, None, None, 0)
                row |= {name: estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            row |= {"a12": level.a12, "scale": s.scale, "p": level.p, "p_uncorrected": level.signed, "need": s.need}
            row |= {"blocks": s.blocks, "blocks_better": level.better, "blocks_worse": level.worse, "seeds": s.seeds}
            rows.append(row | {"friedman": s.friedman, "done": level.done, "total": level.total})
    return pd.DataFrame(rows)
