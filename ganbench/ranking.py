"""Many cells at once: mean ranks, Friedman's test, interquartile means and performance profiles.

Scores are arrays [methods, blocks, seeds]; a failed trial is NaN and ranks worst. Where seeds are resampled, a draw
takes the same seeds for all methods, so that what pairs them is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ganbench.stats import LEVEL, Estimate

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
DRAWS = 2000
POOLED = 20
"""The fewest values for which percentiles of resamples are given: with less they cover far less than they claim."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods over blocks (1 is best), each with an interval, and Friedman's test that all are equal.

    Args:
        means: one for each method; intervals are percentiles over resampled blocks, with six blocks or more.
        statistic: Friedman's chi-square with k - 1 degrees of freedom, corrected for ties.
        p: by the chi-square distribution; None with fewer than two methods or five blocks, where that is no use.
        blocks: how many there are.
    """

    means: tuple[Estimate, ...]
    statistic: float | None
    p: float | None
    blocks: int


def ranked(scores: Array) -> Array:
    """Ranks along the first axis, from 1 for the least; ties share the mean of their ranks, NaN ranks worst."""
    x = np.where(np.isnan(scores), np.inf, scores)
    below = (x[None] < x[:, None]).sum(1)
    equal = (x[None] == x[:, None]).sum(1)
    return np.asarray(below + (equal + 1) / 2, dtype=float)


def block_scores(scores: Array) -> Array:
    """[methods, blocks]: the mean over seeds of each method's rank within its block and seed."""
    return np.asarray(ranked(scores).mean(-1), dtype=float)


def mean_ranks(scores: Array, *, better: Literal["lower", "higher"] = "lower", seed: int = 0) -> Ranks:
    """Mean ranks over blocks of ``scores`` [methods, blocks, seeds]: ranked within a seed, averaged, ranked again."""
    signed = np.asarray(scores, dtype=float) * (1 if better == "lower" else -1)
    ranks = ranked(block_scores(signed))
    k, blocks = ranks.shape
    rng = np.random.default_rng(seed)
    draws = ranks[:, rng.integers(blocks, size=(DRAWS, blocks))].mean(-1) if blocks >= 6 else None
    means = tuple(
        _with_percentiles(float(ranks[i].mean()), None if draws is None else draws[i], blocks) for i in range(k)
    )
    statistic, p = friedman(ranks)
    return Ranks(means, statistic, p if blocks >= 5 else None, blocks)


def friedman(ranks: Array) -> tuple[float | None, float | None]:
    """Friedman's chi-square of ``ranks`` [methods, blocks] and its p; None for fewer than two methods, or all tied."""
    from scipy.special import chdtrc

    k, blocks = ranks.shape
    spread = float((ranks**2).sum() - blocks * k * (k + 1) ** 2 / 4)
    if k < 2 or spread <= 0:
        return None, None
    between = float(((ranks.sum(1) - blocks * (k + 1) / 2) ** 2).sum())
    statistic = (k - 1) * between / spread
    return statistic, float(chdtrc(k - 1, statistic))


def iqm(values: Array) -> float:
    """The mean of the middle half: a quarter, rounded down, is left out at either end. NaN counts as the greatest."""
    ordered = np.sort(np.where(np.isnan(values), np.inf, values), axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def joint(scores: Array, statistic: Callable[[Array], Array], *, draws: int = DRAWS, seed: int = 0) -> Array:
    """``statistic`` of resampled scores, [draws, ...]: seeds are drawn anew in each block, the same for all methods."""
    _, blocks, seeds = scores.shape
    rng = np.random.default_rng(seed)
    picks = rng.integers(seeds, size=(draws, blocks, seeds))
    rows = np.arange(blocks)[:, None]
    return np.stack([statistic(scores[:, rows, pick]) for pick in picks])


def iqms(scores: Array, *, draws: int = DRAWS, seed: int = 0) -> tuple[Estimate, ...]:
    """The IQM of each method over blocks and seeds of ``scores`` (of equal unit, such as logs over a baseline).

    Intervals are percentiles of jointly resampled seeds, for twenty values or more.
    """

    def each(x: Array) -> Array:
        return np.array([iqm(m) for m in x])

    size = scores[0].size
    resampled = joint(scores, each, draws=draws, seed=seed) if size >= POOLED else None
    return tuple(
        _with_percentiles(float(centre), None if resampled is None else resampled[:, i], size)
        for i, centre in enumerate(each(scores))
    )


def profile(
    scores: Array, thresholds: Array, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Array, Array | None, Array | None]:
    """The share of trials at most each threshold [methods, thresholds], and the bounds of its interval.

    A failure is above every threshold. The bounds are None for fewer than twenty values.
    """

    def each(x: Array) -> Array:
        return np.asarray((x[..., None] <= thresholds).mean((1, 2)), dtype=float)  # NaN is not at most anything

    shares = each(scores)
    if scores[0].size < POOLED:
        return shares, None, None
    low, high = np.percentile(joint(scores, each, draws=draws, seed=seed), _TAILS, axis=0)
    return shares, low, high


_TAILS = (50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL))


def percentiles(draws: Array | None) -> tuple[float, float] | None:
    """The ends of the interval that holds all but the tails of ``draws``; None if some are not numbers."""
    if draws is None or not np.isfinite(draws).all():
        return None
    low, high = np.percentile(draws, _TAILS)
    return float(low), float(high)


def _with_percentiles(centre: float, draws: Array | None, n: int) -> Estimate:
    low, high = percentiles(draws) or (None, None)
    return Estimate(centre, low, high, n)
