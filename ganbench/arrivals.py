"""How soon each of several rows reaches a target, against the fastest of them: integrated performance profiles.

The profile of a row is the share rho(r) of its (block, seed) pairs in which it takes at most r times as long as the row
that is fastest in that pair. Its area up to ``most`` is

    1 / (most - 1) integral of rho(r) from 1 to most  =  mean over pairs of max(0, most - t) / (most - 1),

with t a row's time over the fastest; infinite for a miss. 1: always first; 0: never within ``most`` times the fastest.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ganbench import stats
from ganbench.stats import Estimate
from ganbench.table import PLACE
from ganbench.trials import Group, Trial, block_of, given

MOST = 4.0
"""The budget, over the time of the fastest row: AlgoPerf's (https://arxiv.org/abs/2306.07179)."""
RATIOS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""Where a profile is read."""
Times: TypeAlias = Mapping[tuple[Hashable, int], float]
"""Seconds by block and seed, infinite for a miss."""


@dataclass(frozen=True)
class Arrival:
    """How soon one row is there.

    Args:
        area: under its profile, with the interval of Student's t over the means of whole seeds, which is what
            resampling whole seeds tends to; within [0, 1].
        profile: at each of :data:`RATIOS`, with an interval of that kind.
        first: pairs in which it arrives and no other row is sooner.
        reached: pairs in which it arrives.
        pairs: all of them.
    """

    area: Estimate
    profile: tuple[Estimate, ...]
    first: int
    reached: int
    pairs: int


def standings(rows: Sequence[Times], *, most: float = MOST) -> list[Arrival] | None:
    """The rows over those (block, seed) pairs that all of them have; None if there is no such pair."""
    pairs = [pair for pair in rows[0] if all(pair in row for row in rows)] if rows else []
    if not pairs:
        return None
    best = {pair: min(row[pair] for row in rows) for pair in pairs}
    made = []
    for row in rows:
        ratios = {pair: _ratio(row[pair], best[pair]) for pair in pairs}
        made.append(
            Arrival(
                area=_over_seeds({p: max(0.0, most - t) / (most - 1) for p, t in ratios.items()}),
                profile=tuple(_over_seeds({p: float(t <= r) for p, t in ratios.items()}) for r in RATIOS),
                first=sum(t == 1 for t in ratios.values()),
                reached=sum(math.isfinite(row[pair]) for pair in pairs),
                pairs=len(pairs),
            )
        )
    return made


def _ratio(seconds: float, best: float) -> float:
    if math.isinf(seconds):
        return math.inf  # also where nothing arrives
    return 1.0 if seconds == best else seconds / best if best else math.inf


def _over_seeds(values: Mapping[tuple[Hashable, int], float]) -> Estimate:
    """The mean over seeds of the mean over a seed's blocks; cells of one seed share their draws."""
    seeds: dict[int, list[float]] = {}
    for (_, seed), value in values.items():
        seeds.setdefault(seed, []).append(value)
    found = stats.mean(math.fsum(of) / len(of) for of in seeds.values())
    assert found is not None  # there is a pair
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (found.low, found.high))
    return Estimate(found.mean, low, high, found.n)


def clock_of(trial: Trial) -> tuple[str, ...]:
    """What two trials must share for their seconds of training to be compared."""
    prints = ("hardware_fingerprint", "environment_fingerprint")
    trained = (trial.get(f"train_{name}") if given(trial.get(f"train_{name}")) else trial.get(name) for name in prints)
    return tuple(map(str, (*(trial.get(fact) for fact in (*PLACE, "together")), *trained)))


def times_of(trials: Iterable[Trial], goal: str, averaged: Sequence[str]) -> dict[tuple[Hashable, int], float]:
    """The seconds of each trial that has some in the column ``goal``."""
    return {
        (block_of(t, averaged), int(t["seed"])): float(t[goal])
        for t in trials
        if t.get(goal) is not None and not math.isnan(t[goal])
    }


def areas(groups: Sequence[Group], averaged: Sequence[str], goal: str) -> dict[int, Estimate]:
    """For each row of a table the area under its profile, among the rows of its protocol.

    None for a row that is alone, or where the rows' times are of several machines, engines or numbers of threads.
    """
    alike: dict[Any, list[int]] = {}
    for i, group in enumerate(groups):
        alike.setdefault(group.key[-2], []).append(i)
    found: dict[int, Estimate] = {}
    for members in alike.values():
        clocks = {clock_of(t) for i in members for t in groups[i].done}
        timed = {i: times for i in members if (times := times_of(groups[i].trials, goal, averaged))}
        made = standings(list(timed.values())) if len(timed) > 1 and len(clocks) == 1 else None
        found |= {i: one.area for i, one in zip(timed, made or (), strict=False)}
    return found
