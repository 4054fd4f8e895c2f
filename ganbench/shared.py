"""The values of a measure at all levels of a factor, over the blocks and seeds that all of them have."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ganbench.effects import Scale
from ganbench.stats import Better

if TYPE_CHECKING:
    from ganbench.ranking import Array

Block: TypeAlias = tuple[Any, ...]
Blocks: TypeAlias = Mapping[Block, Mapping[int, float | None]]
"""A value for each block and seed, None where the trial failed."""


@dataclass(frozen=True)
class Shared:
    """What can be ranked.

    Args:
        levels: the values of each.
        base: the level that others are held against.
        better: which way is better.
        blocks: that all levels have.
        seeds: that all levels have in all of these blocks.
        scale: ratios for a measure that is better when lower and always positive, else differences.
    """

    levels: Mapping[str, Blocks]
    base: str
    better: Better
    blocks: Sequence[Block]
    seeds: Sequence[int]
    scale: Scale

    @classmethod
    def of(cls, levels: Mapping[str, Blocks], base: str, better: Better, seeds: Sequence[int]) -> Self | None:
        """What ``levels`` share, in the order of the first; None for less than two, or nothing."""
        every = dict.fromkeys(key for blocks in levels.values() for key in blocks)
        blocks = [key for key in every if all(key in of for of in levels.values())]
        seeds = [s for s in seeds if all(s in of[k] for of in levels.values() for k in blocks)]
        if len(levels) < 2 or base not in levels or not blocks or not seeds:
            return None
        numbers = [v for of in levels.values() for k in blocks for v in of[k].values() if v is not None]
        scale: Scale = "ratio" if better == "lower" and min(numbers, default=0) > 0 else "difference"
        return cls(levels, base, better, blocks, seeds, scale)

    @property
    def sign(self) -> float:
        """What values are multiplied by for less to be better."""
        return 1.0 if self.better == "lower" else -1.0

    def values(self, level: str) -> Blocks:
        """The values of ``level`` that count."""
        return {key: {s: self.levels[level][key][s] for s in self.seeds} for key in self.blocks}

    def scores(self) -> Array:
        """All values [levels, blocks, seeds], less is better, failures NaN."""
        import numpy as np

        values = [[[of[k][s] for s in self.seeds] for k in self.blocks] for of in self.levels.values()]
        return np.asarray(self.sign * np.array(values, dtype=float))

    def normalised(self) -> Array:
        """Scores [levels, blocks, seeds] over or less the baseline's mean in the block, less is better, failures NaN.

        The blocks are those in which the baseline has a mean.
        """
        import numpy as np

        compared = [k for k in self.blocks if any(self.levels[self.base][k][s] is not None for s in self.seeds)]
        if not compared:
            return np.zeros((len(self.levels), 0, len(self.seeds)))
        values = [[[self._number(of[k][s]) for s in self.seeds] for k in compared] for of in self.levels.values()]
        array = np.array(values, dtype=float)
        centre = np.nanmean(array[list(self.levels).index(self.base)], axis=-1, keepdims=True)
        return np.asarray(self.sign * (array - centre), dtype=float)

    def differences(self, level: str) -> list[float]:
        """For each block the difference of means (of logs) from the baseline's, less is better.

        It is infinite if one side failed in every seed; a block in which both did has none.
        """
        found = []
        for key in self.blocks:
            mine, held = (self._mean(self.levels[of][key]) for of in (level, self.base))
            if not mine == held == math.inf:
                found.append(mine - held)
        return found

    def _mean(self, values: Mapping[int, float | None]) -> float:
        numbers = [self._number(v) for s in self.seeds if (v := values[s]) is not None]
        return self.sign * statistics.fmean(numbers) if numbers else math.inf

    def _number(self, value: float | None) -> float:
        return math.nan if value is None else math.log(value) if self.scale == "ratio" else value
