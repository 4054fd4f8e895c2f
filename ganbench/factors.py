"""Effects of a factor within blocks: does r1 help, averaged over losses and networks?

A block is one choice of everything else. Values of one seed are averaged over blocks first, and n is the number of
seeds: the cells of one seed share their draws, and to count them as independent would make intervals far too narrow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ganbench import stats
from ganbench.effects import Effect, Scale, Values, a12, effect, wilson, wins
from ganbench.stats import Better, Estimate, Percent

Blocks: TypeAlias = Mapping[Any, Values]
"""A value for each seed of each block, None where the trial failed."""


@dataclass(frozen=True)
class FactorEffect:
    """The effect of one level of a factor against the baseline's, within blocks.

    Args:
        effect: over seeds, each the mean (or geometric mean) over the blocks that count. P(improvement) and A12 are
            means over all blocks and count failures; the interval of the former is that of as many draws as seeds.
        blocks: the mean difference within each block that both levels have, None where no seed completed both.
        used: the blocks that count: complete for both levels in every seed; all pairs at hand if there is none.
        better: in how many blocks the level is better; a block in which only the baseline completed is worse.
        worse: in how many it is worse.
        failed: trials of the level that failed in these blocks.
        failed_baseline: trials of the baseline that failed in them.
    """

    effect: Effect
    blocks: Mapping[Hashable, float | None]
    used: tuple[Hashable, ...]
    better: int
    worse: int
    failed: int
    failed_baseline: int

    @property
    def cells(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)


def within_blocks(
    values: Blocks, baseline: Blocks, *, better: Better = None, scale: Scale = "difference"
) -> FactorEffect | None:
    """The effect of a level within the blocks that it shares with the baseline; None if they share none."""
    shared = [block for block in values if block in baseline]
    if not shared:
        return None
    seeds = list(dict.fromkeys(s for b in shared for s in values[b] if s in baseline[b]))
    used = tuple(b for b in shared if all(_both(values[b], baseline[b], s) for s in seeds)) if seeds else ()
    counted = used or tuple(shared)
    positive = scale == "ratio" and all(
        x > 0 and y > 0
        for b in counted
        for s in seeds
        if (x := values[b].get(s)) is not None and (y := baseline[b].get(s)) is not None
    )
    pairs = [_seed_means(values, baseline, counted, s, logs=False) for s in seeds]
    log_pairs = [_seed_means(values, baseline, counted, s, logs=True) for s in seeds] if positive else []
    found = effect(
        {s: p[0] for s, p in zip(seeds, pairs, strict=True)},
        {s: p[1] for s, p in zip(seeds, pairs, strict=True)},
        better=better,
        scale=scale if positive else "difference",
        logs=(
            {s: p[0] for s, p in zip(seeds, log_pairs, strict=True)},
            {s: p[1] for s, p in zip(seeds, log_pairs, strict=True)},
        )
        if positive
        else None,
    )
    if better is not None and seeds:
        outcomes = [wins(values[b][s], baseline[b][s], better) for b in shared for s in values[b] if s in baseline[b]]
        sides = [(list(values[b].values()), list(baseline[b].values())) for b in shared]
        found = replace(
            found,
            improved=wilson(statistics.fmean(outcomes) * len(seeds), len(seeds)),
            a12=statistics.fmean(x for side in sides if (x := a12(*side, better)) is not None),
        )
    means = {b: _block_mean(values[b], baseline[b], logs=positive) for b in shared}
    signs = [_sign(means[b], values[b], baseline[b], better) for b in shared]
    return FactorEffect(
        effect=found,
        blocks=means,
        used=used,
        better=sum(sign > 0 for sign in signs),
        worse=sum(sign < 0 for sign in signs),
        failed=sum(x is None for b in shared for x in values[b].values()),
        failed_baseline=sum(y is None for b in shared for y in baseline[b].values()),
    )


def _both(values: Values, baseline: Values, seed: int) -> bool:
    return values.get(seed) is not None and baseline.get(seed) is not None


def _seed_means(
    values: Blocks, baseline: Blocks, blocks: tuple[Hashable, ...], seed: int, *, logs: bool
) -> tuple[float | None, float | None]:
    """The means of one seed over the blocks in which both completed it."""
    xs, ys = [], []
    for block in blocks:
        x, y = values[block].get(seed), baseline[block].get(seed)
        if x is not None and y is not None:
            xs.append(math.log(x) if logs else x)
            ys.append(math.log(y) if logs else y)
    return (statistics.fmean(xs), statistics.fmean(ys)) if xs else (None, None)


def _block_mean(values: Values, baseline: Values, *, logs: bool) -> float | None:
    pairs = [(x, y) for s, x in values.items() if x is not None and (y := baseline.get(s)) is not None]
    if not pairs:
        return None
    return statistics.fmean(math.log(x / y) if logs else x - y for x, y in pairs)


def _sign(mean: float | None, values: Values, baseline: Values, better: Better) -> int:
    """1 if the level is better in a block, -1 if it is worse, 0 if it is neither."""
    if better is None:
        return 0
    if mean is None:
        done = [any(v is not None for v in side.values()) for side in (values, baseline)]
        return done[0] - done[1]
    return (mean < 0) - (mean > 0) if better == "lower" else (mean > 0) - (mean < 0)


def interaction(
    values: Blocks, baseline: Blocks, inside: set[Hashable], *, scale: Scale = "difference"
) -> Estimate | None:
    """The effect inside some blocks less that in all others, over seeds; None unless both sides have one.

    On the ``ratio`` scale it is 100 (ratio of ratios - 1), in percent.
    """
    shared = [b for b in values if b in baseline]
    numbers = [v for b in shared for side in (values[b], baseline[b]) for v in side.values() if v is not None]
    logs = scale == "ratio" and all(v > 0 for v in numbers)
    sides = tuple(b for b in shared if b in inside), tuple(b for b in shared if b not in inside)
    seeds = dict.fromkeys(s for b in shared for s in values[b])
    differences = []
    for seed in seeds:
        means = [_seed_means(values, baseline, side, seed, logs=logs) for side in sides]
        (x, y), (u, v) = means
        if x is not None and y is not None and u is not None and v is not None:
            differences.append((x - y) - (u - v))
    mean = stats.mean(differences)
    return Percent.of(mean) if logs and mean is not None else mean
