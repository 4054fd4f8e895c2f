"""How values differ from a baseline: paired by seed, with intervals, effect sizes, tests and what pairing has saved.

A failed trial is None among the values. It counts as worse than any number wherever only the order matters, and is left
out, and counted, wherever a number is needed. Nothing here imports ``scipy.stats``, which takes a second or two.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ganbench import stats
from ganbench.stats import LEVEL, Better, Estimate, Percent

if TYPE_CHECKING:
    import numpy as np

Scale: TypeAlias = Literal["difference", "ratio"]
"""What is averaged over seeds and tested: differences, or ratios by their logarithms."""
Values: TypeAlias = Mapping[int, float | None]
"""A value for each seed, None where the trial failed."""
EXACT = 14
"""The most seeds for which all sign flips are counted; beyond, as many are drawn."""


@dataclass(frozen=True)
class Effect:
    """How values differ from those of a baseline, over the seeds that both have.

    Args:
        difference: the mean of value - baseline, with its t interval.
        percent: 100 (geometric mean of value / baseline - 1), its interval from the log scale; None unless all are
            positive.
        median: the median of value - baseline.
        improved: P(improvement), the share of pairs in which the value is better, ties one half, with its Wilson
            interval; None for a measure that says no direction.
        a12: Vargha and Delaney's A12, the share of better values among all pairs of a value and a baseline's value.
        correlation: of the values and the baseline's over seeds, on ``scale``.
        saved: the share of the difference's variance that pairing has saved, 1 - var(x - y) / (var(x) + var(y)), on
            ``scale``; below 0 if pairing has cost some.
        p: of the paired t test, two-sided, on ``scale``; None with fewer than two pairs.
        flip: of the exact sign-flip test of the same differences; None with fewer than six pairs.
        scale: what is tested.
        n: how many seeds both completed.
        pairs: how many seeds both were tried with.
    """

    difference: Estimate | None
    percent: Percent | None
    median: float | None
    improved: Estimate | None
    a12: float | None
    correlation: float | None
    saved: float | None
    p: float | None
    flip: float | None
    scale: Scale
    n: int
    pairs: int

    @property
    def tested(self) -> Estimate | None:
        """The estimate on the scale of the test; its interval leaves out no difference if p < 1 - level."""
        return self.percent if self.scale == "ratio" else self.difference

    def better(self, direction: Better) -> bool | None:
        """Whether the mean is better than the baseline's; None without a direction or a difference."""
        if direction is None or self.tested is None or not self.tested.mean:
            return None
        return (self.tested.mean < 0) == (direction == "lower")


def effect(
    values: Values,
    baseline: Values,
    *,
    better: Better = None,
    scale: Scale = "difference",
    logs: tuple[Values, Values] | None = None,
) -> Effect:
    """The effect of whatever makes ``values`` of ``baseline``, over the seeds that both have.

    Args:
        values: by seed.
        baseline: by seed.
        better: which way is better.
        scale: what to test; ``ratio`` falls back to ``difference`` unless all numbers are positive.
        logs: the logarithms of both, where they are not simply those of the values: of geometric means.
    """
    seeds = [seed for seed in values if seed in baseline]
    xs, ys = [values[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    both = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if x is not None and y is not None]
    positive = bool(both) and all(x > 0 and y > 0 for x, y in both)
    log_pairs: list[tuple[float, float]] = []
    if logs is not None:
        wanted = [(logs[0].get(seed), logs[1].get(seed)) for seed in seeds]
        log_pairs = [(x, y) for x, y in wanted if x is not None and y is not None]
    elif positive:
        log_pairs = [(math.log(x), math.log(y)) for x, y in both]
    scale = scale if log_pairs else "difference"
    pairs = log_pairs if scale == "ratio" else both
    differences = [x - y for x, y in pairs]
    percent = stats.mean(x - y for x, y in log_pairs)
    return Effect(
        difference=stats.mean(x - y for x, y in both),
        percent=None if percent is None else Percent.of(percent),
        median=statistics.median(x - y for x, y in both) if both else None,
        improved=None if better is None else improvement(xs, ys, better),
        a12=None if better is None else a12(list(values.values()), list(baseline.values()), better),
        correlation=correlation(pairs),
        saved=saved(pairs),
        p=paired_t(differences),
        flip=sign_flip(differences),
        scale=scale,
        n=len(both),
        pairs=len(seeds),
    )


# Effect sizes ------------------------------------------------------------------------------------------------------


def wins(x: float | None, y: float | None, better: Better) -> float:
    """1 if x is better than y, 1/2 if they tie, 0 if it is worse; a failure is worse than any number."""
    if x is None or y is None:
        return 0.5 + 0.5 * ((y is None) - (x is None))
    return 0.5 if x == y else float((x < y) == (better == "lower"))


def improvement(xs: Sequence[float | None], ys: Sequence[float | None], better: Better) -> Estimate | None:
    """P(improvement): the share of pairs in which x is better than y, ties one half, with its Wilson interval."""
    if not xs:
        return None
    return wilson(sum(wins(x, y, better) for x, y in zip(xs, ys, strict=True)), len(xs))


def wilson(successes: float, n: int, *, level: float = LEVEL) -> Estimate:
    """``successes / n`` with the interval of Wilson's score test, which keeps within [0, 1]."""
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half), n)


def a12(xs: Sequence[float | None], ys: Sequence[float | None], better: Better) -> float | None:
    """P(X better than Y) + P(X = Y) / 2 over all pairs, whatever their seeds."""
    return statistics.fmean(wins(x, y, better) for x in xs for y in ys) if xs and ys else None


# What pairing has done ---------------------------------------------------------------------------------------------


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's correlation of three pairs or more; None where one side does not vary."""
    if len(pairs) < 3:
        return None
    xs, ys = zip(*pairs, strict=True)
    try:
        return statistics.correlation(xs, ys)
    except statistics.StatisticsError:  # one side is constant
        return None


def saved(pairs: Sequence[tuple[float, float]]) -> float | None:
    """1 - var(x - y) / (var(x) + var(y)): what pairing takes from the variance of a mean difference."""
    if len(pairs) < 3:
        return None
    xs, ys = zip(*pairs, strict=True)
    apart = statistics.variance(xs) + statistics.variance(ys)
    return 1 - statistics.variance(x - y for x, y in pairs) / apart if apart else None


# Tests -------------------------------------------------------------------------------------------------------------


def t_tail(t: float, df: int) -> float:
    """P(T > t) for Student's T with ``df`` degrees of freedom."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def paired_t(differences: Sequence[float]) -> float | None:
    """The two-sided p of Student's t test that the mean is 0; 1 if all are 0, None for fewer than two.

    Differences that are all one number, as counts may be, say nothing of their spread: theirs is the p of sign flips,
    2^(1 - n).
    """
    n = len(differences)
    if n < 2:
        return None
    if max(differences) - min(differences) <= 1e-12 * abs(max(differences)):  # up to rounding
        return 2.0 ** (1 - n) if differences[0] else 1.0
    t = statistics.fmean(differences) / (statistics.stdev(differences) / math.sqrt(n))
    return min(1.0, 2 * t_tail(abs(t), n - 1))


@functools.cache
def _signs(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows of signs [rows, n]: each once up to :data:`EXACT` numbers, else drawn, the first one all ones."""
    import numpy as np

    if n <= EXACT:
        return np.asarray(1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1), dtype=np.float64)
    drawn = 1.0 - 2.0 * np.random.default_rng(n).integers(2, size=(2**EXACT, n))
    drawn[0] = 1.0
    return np.asarray(drawn, dtype=np.float64)


def sign_flip(differences: Sequence[float]) -> float | None:
    """The share of sign patterns whose mean is at least as far from 0: the p of a test that assumes symmetry alone.

    None for fewer than six differences, with which it could not be below 0.05.
    """
    n = len(differences)
    if n < 6:
        return None
    import numpy as np

    sums = np.abs(_signs(n) @ np.asarray(differences, dtype=float))
    # equal sums differ in their last bits, according to the order of addition
    return float(np.mean(sums >= abs(math.fsum(differences)) * (1 - 1e-12)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p values: reject those at most alpha, and the chance of any false rejection is at most alpha."""
    adjusted = [1.0] * len(ps)
    most = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        most = max(most, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = most
    return adjusted


def least_n(tests: int, *, level: float = LEVEL) -> int:
    """The fewest seeds with which a family of ``tests`` can reject anything: Holm's first step by exact sign flips.

    The sign-flip test of n differences has no p below 2^(1 - n), and Holm's first step needs (1 - level) / tests: 6
    seeds for one test, 7 for three, 9 for ten, 11 for 45. With fewer, no p is shown, even where the t test gives one:
    it would rest on the assumption of normality alone.
    """
    return 1 + math.ceil(math.log2(max(1, tests) / (1 - level)) - 1e-9)


@dataclass(frozen=True)
class Tested:
    """What a family of tests says of one of its effects.

    Args:
        tests: how many effects are tested at once; 0 for one that is not tested, such as a time.
        need: how many seeds those tests need.
        p: of the paired t test, corrected by Holm; None with fewer seeds than ``need``.
        flip: of the sign-flip test, corrected likewise.
    """

    tests: int = 0
    need: int = 0
    p: float | None = None
    flip: float | None = None


def family(found: Sequence[Effect | None]) -> list[Tested]:
    """Holm's p over all effects that can be tested; None among ``found`` is reported, not tested.

    The family is that of the effects with as many seeds as all candidates together need, see :func:`least_n`.
    """
    candidates = {i: e for i, e in enumerate(found) if e is not None and e.p is not None}
    need = least_n(len(candidates))
    able = {i: e for i, e in candidates.items() if e.n >= need}
    ps = holm([1.0 if e.p is None else e.p for e in able.values()])
    flips = holm([1.0 if e.flip is None else e.flip for e in able.values()])
    made = [Tested(len(candidates), need) if i in candidates else Tested() for i in range(len(found))]
    for i, p, flip in zip(able, ps, flips, strict=True):
        made[i] = Tested(len(able), need, p, flip)
    return made


# Equivalence -------------------------------------------------------------------------------------------------------


def repeatability(floors: Sequence[float]) -> float | None:
    """2.8 s, the repeatability limit of ISO 5725: 95 % of repeated measurements of one thing differ by less.

    ``floors`` are measures of real samples against other real samples, so this is what the measure's own sampling makes
    of no difference at all. None with fewer than two, or if they do not vary.
    """
    return 2.8 * s if len(floors) > 1 and (s := statistics.stdev(floors)) > 0 else None


def beyond(difference: Estimate | None, margin: float | None) -> bool:
    """Whether the whole interval lies outside ±``margin``: a difference that is more than noise of the measure."""
    if difference is None or margin is None or difference.low is None or difference.high is None:
        return False
    return difference.low > margin or difference.high < -margin


def equivalence(difference: Estimate | None, margin: float | None, *, level: float = LEVEL) -> float | None:
    """The p of two one-sided t tests that the mean difference is not within ±``margin``; small: it is within.

    Args:
        difference: with its interval at ``level``.
        margin: positive.
        level: of the interval.
    """
    if difference is None or margin is None or difference.half is None or difference.n < 2:
        return None
    error = difference.half / stats.t_quantile(difference.n - 1, level)
    nearest = margin - abs(difference.mean)
    if not error:
        return 0.0 if nearest > 0 else 1.0
    return t_tail(nearest / error, difference.n - 1)
