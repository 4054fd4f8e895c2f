"""What a row is against the baseline: step-time ratios, and differences of measures, both paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ganbench import stats
from ganbench.effects import Effect, Scale, effect
from ganbench.records import ROLES
from ganbench.stats import Estimate
from ganbench.steptimes import BASELINE, StepTimes
from ganbench.table import CLOCK, PROTOCOL, STEP, Column
from ganbench.trials import Group, Trial, counts, is_number


def ratios_of(
    groups: Sequence[Group],
    live: Sequence[Trial],
    role: str,
    label: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
    times: StepTimes | None = None,
) -> dict[int, Estimate | None]:
    """For each row its step times over those of the baseline: the same other roles, seed, protocol and machine.

    Where the timing pass has all cells of a row and of its baseline, the ratio is paired by its rounds, else by seed.
    """
    others = [r for r in ROLES if r != role]

    def like(trial: Trial) -> tuple[Any, ...]:
        return tuple(str(trial.get(name)) for name in (*others, *CLOCK))

    base: dict[tuple[Any, ...], dict[int, float]] = {}
    for trial in live:
        if trial[role] == label and trial["status"] == "done" and is_number(trial.get(STEP)):
            base.setdefault(like(trial), {})[trial["seed"]] = trial[STEP]
    ratios: dict[int, Estimate | None] = {}
    for i, group in enumerate(groups):
        if times is not None and (found := apart(group, live, role, label, averaged, pairs, times)) is not None:
            ratios[i] = found
            continue
        above: dict[int, list[float]] = {}
        below: dict[int, list[float]] = {}
        unpaired: dict[int, float] = {}
        for trial in group.done:
            known = base.get(like(trial), {})
            if not is_number(trial.get(STEP)) or not known:
                continue
            if not counts(trial, averaged, pairs):
                continue
            unpaired |= known
            above.setdefault(trial["seed"], []).append(trial[STEP])
            if trial["seed"] in known:
                below.setdefault(trial["seed"], []).append(known[trial["seed"]])
        # a seed counts if each of its blocks has its baseline
        paired = {seed: values for seed, values in below.items() if len(values) == len(above[seed])}
        ratios[i] = stats.ratio(_centres(above), _centres(paired) or ({} if averaged else unpaired))
    return ratios


def apart(
    group: Group,
    live: Sequence[Trial],
    role: str,
    label: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
    times: StepTimes,
) -> Estimate | None:
    """The ratio of the timing pass for the cells of a row that count, None if it has not all of them."""
    others = [*(r for r in ROLES if r != role), *PROTOCOL]
    counted = [t for t in group.done if counts(t, averaged, pairs)]
    found: dict[str, str] = {}
    for trial in counted:
        like = [str(trial.get(name)) for name in others]
        base = BASELINE if (role, label) == ("regularizer", "none") else ""
        for other in live:
            if not base and other[role] == label and [str(other.get(name)) for name in others] == like:
                base = other["cell"]
        found[trial["cell"]] = base
    return times.ratio(found.items()) if found else None


def _centres(values: Mapping[int, list[float]]) -> dict[int, float]:
    means = {seed: stats.geometric_mean(xs) for seed, xs in values.items()}
    return {seed: m.mean for seed, m in means.items() if m is not None}


def scale_of(values: Sequence[float], column: Column) -> Scale:
    """Ratios for a measure that is better when lower and always positive, else differences."""
    return "ratio" if column.better == "lower" and min(values, default=0) > 0 else "difference"


def differences_of(
    groups: Sequence[Group],
    live: Sequence[Trial],
    role: str,
    label: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
    column: Column,
) -> list[Effect | None]:
    """For each row its difference from the baseline: the same other roles, seed and protocol. None for the baseline."""
    others = [r for r in ROLES if r != role]

    def like(trial: Trial) -> tuple[Any, ...]:
        return tuple(str(trial.get(name)) for name in (*others, *PROTOCOL, "seed"))

    done = [t for t in live if t["status"] == "done" and is_number(t.get(column.name))]
    base = {like(t): float(t[column.name]) for t in done if t[role] == label}
    scale: Scale = "ratio" if column.log else "difference"
    made: list[Effect | None] = []
    for group in groups:
        counted = [t for t in group.done if is_number(t.get(column.name)) and counts(t, averaged, pairs)]
        paired: dict[int, list[tuple[float, float]]] = {}
        for t in counted:
            if like(t) in base:
                paired.setdefault(t["seed"], []).append((float(t[column.name]), base[like(t)]))
        # a seed counts if each of its blocks has its baseline
        whole = {s: p for s, p in paired.items() if len(p) == sum(t["seed"] == s for t in counted)}
        xs, ys = ({s: statistics.fmean(pair[side] for pair in p) for s, p in whole.items()} for side in (0, 1))
        logs = None
        if column.log:  # a mean of logarithms over blocks is not the logarithm of a mean
            u, v = ({s: statistics.fmean(math.log(x[k]) for x in p) for s, p in whole.items()} for k in (0, 1))
            logs = (u, v)
        itself = all(t[role] == label for t in group.trials)
        made.append(None if itself or not xs else effect(xs, ys, better=column.better, scale=scale, logs=logs))
    return made
