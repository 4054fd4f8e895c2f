"""Many cells at once: mean ranks, Friedman's test, interquartile means and performance profiles.

Scores are arrays [methods, blocks, seeds]; a failed trial is NaN and ranks worst. Where seeds are resampled, a draw
takes the same seeds for all methods and blocks, so that what pairs them is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ganbench.stats import LEVEL, Estimate, t_quantile

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
DRAWS = 2000
CHUNK = 200
"""Draws that are looked at at once."""
POOLED = 20
"""The fewest values, over blocks and seeds, that have an interval: the middle half of less says little."""


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


def iqm(values: Array) -> Array:
    """The mean of the middle half of ``values`` [..., blocks, seeds]; NaN counts as the greatest.

    A quarter, rounded down, is left out at either end.
    """
    flat = values.reshape(*values.shape[:-2], -1)
    ordered = np.sort(np.where(np.isnan(flat), np.inf, flat), axis=-1)
    cut = ordered.shape[-1] // 4
    return np.asarray(ordered[..., cut : ordered.shape[-1] - cut].mean(-1), dtype=float)


def joint(scores: Array, statistic: Callable[[Array], Array], *, draws: int = DRAWS, seed: int = 0) -> Array:
    """``statistic`` of resampled scores, [draws, ...]: whole seeds are drawn, the same for all methods and blocks.

    Cells of one seed share their draws: seeds resampled within each block would count them as independent.
    ``statistic`` takes arrays [draws, methods, blocks, seeds].
    """
    seeds = scores.shape[-1]
    picks = np.random.default_rng(seed).integers(seeds, size=(draws, seeds))
    parts = (picks[k : k + CHUNK] for k in range(0, draws, CHUNK))  # all draws at once may not fit
    return np.concatenate([statistic(np.moveaxis(scores[..., part], 2, 0)) for part in parts])


def half_widths(draws: Array, seeds: int) -> Array:
    """Half the widths of 95 % intervals: t_(n-1) s sqrt(n / (n - 1)), with s the standard deviation of ``draws``.

    Resampling n seeds sees (n - 1) / n of their variance, and their percentiles cover far less than they claim. Of a
    mean this is Student's t interval.
    """
    with np.errstate(invalid="ignore"):  # where too many failed
        return np.asarray(t_quantile(seeds - 1) * draws.std(0) * np.sqrt(seeds / (seeds - 1)), dtype=float)


def iqms(scores: Array, *, base: int | None = None, draws: int = DRAWS, seed: int = 0) -> tuple[Estimate, ...]:
    """The IQM of each method over blocks and seeds of ``scores`` (of equal unit, such as logs over a baseline).

    Intervals are those of jointly resampled seeds, for twenty values and two seeds or more.

    Args:
        scores: [methods, blocks, seeds].
        base: a method whose IQM is taken from all others, within each draw.
        draws: how often to resample.
        seed: of the resampling.
    """

    def each(x: Array) -> Array:
        found = iqm(x)
        with np.errstate(invalid="ignore"):  # infinity less infinity, where both failed
            return found if base is None else found - found[..., base, None]

    centres, size, seeds = each(scores), scores[0].size, scores.shape[-1]
    if size < POOLED or seeds < 2:
        return tuple(Estimate(float(c), None, None, size) for c in centres)
    halves = half_widths(joint(scores, each, draws=draws, seed=seed), seeds)
    return tuple(
        Estimate(float(c), float(c - h), float(c + h), size) if np.isfinite(h) else Estimate(float(c), None, None, size)
        for c, h in zip(centres, halves, strict=True)
    )


def profile(
    scores: Array, thresholds: Array, *, draws: int = DRAWS, seed: int = 0
) -> tuple[Array, Array | None, Array | None]:
    """The share of trials at most each threshold [methods, thresholds], and the bounds of its interval.

    A failure is above every threshold. The bounds, as those of :func:`iqms` but within [0, 1], are None for fewer than
    twenty values, or one seed.
    """

    def each(x: Array) -> Array:
        # NaN is not at most anything
        return np.stack([np.asarray((x <= t).mean((-2, -1)), dtype=float) for t in thresholds], axis=-1)

    shares, seeds = each(scores), scores.shape[-1]
    if scores[0].size < POOLED or seeds < 2:
        return shares, None, None
    half = half_widths(joint(scores, each, draws=draws, seed=seed), seeds)
    return shares, np.clip(shares - half, 0, 1), np.clip(shares + half, 0, 1)


_TAILS = (50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL))


def _with_percentiles(centre: float, draws: Array | None, n: int) -> Estimate:
    if draws is None:
        return Estimate(centre, None, None, n)
    low, high = np.percentile(draws, _TAILS)
    return Estimate(centre, float(low), float(high), n)
