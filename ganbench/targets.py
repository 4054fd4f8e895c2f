"""Time to quality: seconds of training until a measure reaches a target, and the best that each moment has to offer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.stats import Better


def column(measure: str, target: float) -> str:
    """``fd_to_30_s``: the column of the records with the seconds until ``measure`` reached ``target``."""
    return f"{measure}_to_{target:g}_s"


def reached(lines: Iterable[Mapping[str, Any]], measure: str, target: float, better: Better) -> float | None:
    """Seconds of training, evaluations excluded, at the first evaluation at which ``measure`` is as good as ``target``.

    Infinite if no evaluation is; nothing is interpolated between them. None if the measure was never evaluated or has
    no better way.
    """
    known = [line for line in lines if measure in line]
    if not known or better is None:
        return None
    for line in known:
        value = line[measure]
        if value is not None and (value <= target if better == "lower" else value >= target):
            return float(line["train_s"])
    return math.inf


def median(seconds: Sequence[float]) -> float:
    """The median with misses as infinite: infinite itself if half of the trials or more miss."""
    ordered = sorted(seconds)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if low == high else statistics.fmean((low, high))


def text(seconds: Sequence[float]) -> str:
    """``12.3 s (4/5)``: the median and how many trials got there; ``never (1/5)`` where it is infinite."""
    middle, there = median(seconds), sum(math.isfinite(s) for s in seconds)
    said = "never" if math.isinf(middle) else f"{middle:.3g} s" if middle < 1000 else f"{middle:,.0f} s"
    return f"{said} ({there}/{len(seconds)})"


def frontier(points: Iterable[tuple[float, float]], better: Literal["lower", "higher"]) -> list[tuple[float, float]]:
    """The (seconds, value) pairs that no other beats in both: in order of time, each better than all before it."""
    best: list[tuple[float, float]] = []
    sign = 1 if better == "lower" else -1
    for seconds, value in sorted(points, key=lambda p: (p[0], sign * p[1])):
        if not best or sign * value < sign * best[-1][1]:
            best.append((seconds, value))
    return best


def frontiers(curves: pd.DataFrame, measure: str, better: Literal["lower", "higher"]) -> pd.DataFrame:
    """The :func:`frontier` of each cell, medians over its seeds: ``cell``, ``step``, ``train_s`` and the measure."""
    import pandas as pd

    rows = []
    for cell, lines in curves.dropna(subset=[measure]).groupby("cell", sort=False):
        middle = lines.groupby("step")[["train_s", measure]].median()
        points = list(zip(middle["train_s"], middle[measure], strict=True))
        kept = frontier(points, better)
        found = middle[[point in kept for point in points]]
        rows += [{"cell": cell, "step": step, **line} for step, line in found.to_dict("index").items()]
    return pd.DataFrame(rows, columns=["cell", "step", "train_s", measure])
