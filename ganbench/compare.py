"""What a factor does within a run: each level against a baseline, within blocks and paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ganbench import effects, stats
from ganbench.differences import apart
from ganbench.effects import Scale
from ganbench.errors import ResultsError, nearest
from ganbench.factors import FactorEffect, interaction, within_blocks
from ganbench.footers import refusals
from ganbench.grouping import facts_by_cell
from ganbench.records import FAILED, ROLES
from ganbench.stats import Better, Estimate, Percent
from ganbench.table import CLOCK, PROTOCOL, STEP
from ganbench.trials import Group, Trial, is_number, levels_of, mixed

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.steptimes import StepTimes

ALPHA = 1 - stats.LEVEL


@dataclass(frozen=True)
class Comparison:
    """One level of a factor against the baseline in one measure, averaged over blocks.

    Args:
        dataset: of the trials; several, joined by commas, if the data set is the factor.
        role: the factor.
        level: of the factor.
        baseline: the level it is held against.
        split: the levels of further roles that this comparison is limited to.
        measure: its name.
        better: which way is better.
        unit: of the measure.
        found: the effect over seeds, and what became of blocks and trials.
        tests: how many comparisons are tested at once; 0 for one that is not tested, such as a time.
        need: how many seeds those tests need.
        p: of the paired t test, corrected by Holm; None with fewer seeds than ``need``.
        flip: of the sign-flip test, corrected likewise.
        margin: differences below it are what the measure makes of real samples against others.
        same: p of the test that the difference is not within ±``margin``.
        others: the effect less that in all other levels of the roles it is split by: the interaction.
        done: trials of the level that ended well.
        total: trials of the level.
        failures: how many of them ended in each other status.
    """

    dataset: str
    role: str
    level: str
    baseline: str
    split: Mapping[str, str]
    measure: str
    better: Better
    unit: str
    found: FactorEffect
    tests: int = 0
    need: int = 0
    p: float | None = None
    flip: float | None = None
    margin: float | None = None
    same: float | None = None
    others: Estimate | None = None
    done: int = 0
    total: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)


def rows_of(records: pd.DataFrame) -> list[Trial]:
    """The trials of a frame that ended, well or not: neither skipped nor interrupted."""
    rows: list[Trial] = [{str(k): v for k, v in row.items()} for row in records.to_dict("records")]
    return [row for row in rows if row["status"] in ("done", *FAILED)]


def comparisons(
    records: pd.DataFrame,
    measures: Mapping[str, tuple[Better, str]],
    *,
    by: Sequence[str] = ("regularizer",),
    show: Sequence[str] = (),
    baseline: str = "none",
    times: StepTimes | None = None,
) -> list[Comparison]:
    """Each level of the first role of ``by`` against the baseline, for each data set and measure.

    Cells that differ in nothing but that role are a block. A measure that is better when lower, and always positive, is
    compared by ratios on the log scale, any other by differences. p values are Holm's over all comparisons returned.
    Measures of several protocols are left out: see :func:`left_out`.

    Args:
        records: one row for each trial, as :attr:`ganbench.results.Results.records`.
        measures: for each measure, which way is better and its unit.
        by: the factor; further roles split it: its effect at each of their levels, and how that differs elsewhere.
        show: measures to compare: by default the last iterate's that have a direction, and step times.
        baseline: a level of the factor, or ``ROLE=LEVEL``; the first one if there is no ``none``.
        times: of the timing pass, whose ratios are paired by its rounds; else step times are paired by seed.

    Raises:
        ResultsError: there is no such role, level or measure.
    """
    rows = rows_of(records)
    for role in by:
        if role not in ROLES:
            raise ResultsError(f"no role {role!r}", place="--by", hint=nearest(role, ROLES))
    factor, *splits = by or ("regularizer",)
    if not rows:
        return []
    base = baseline_of(baseline, factor, [str(level) for level in levels_of(rows, factor)])
    shown = measures_of(show, measures, records)
    facts = facts_by_cell(rows)
    found = []
    for part in _parts(rows, factor):
        refused = mixed(part, shown)
        for name, (better, unit) in shown.items():
            if name not in refused and any(is_number(row.get(name)) for row in part):
                found += _of_measure(part, factor, splits, base, (name, better, unit), facts, times)
    return tested(found)


def left_out(
    records: pd.DataFrame,
    measures: Mapping[str, tuple[Better, str]],
    *,
    factor: str = "regularizer",
    show: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Why measures are not compared, for each data set as :attr:`Comparison.dataset` names it."""
    shown = measures_of(show, measures, records)
    parts = _parts(rows_of(records), factor)
    said = {", ".join(map(str, levels_of(part, "dataset"))): refusals(mixed(part, shown)) for part in parts}
    return {dataset: why for dataset, why in said.items() if why}


def _parts(rows: Sequence[Trial], factor: str) -> list[list[Trial]]:
    """The rows of each data set; all together if that is the factor."""
    parts: dict[str, list[Trial]] = {}
    for row in rows:
        parts.setdefault("" if factor == "dataset" else str(row["dataset"]), []).append(row)
    return list(parts.values())


def baseline_of(text: str, factor: str, levels: Sequence[str]) -> str:
    """The level that ``--baseline`` names; the first one if ``none`` is none of them."""
    role, equals, label = text.partition("=")
    label = label if equals and role == factor else text
    if label in levels:
        return label
    if text == "none":
        return levels[0]
    raise ResultsError(f"no {factor} {label!r}", place="--baseline", hint=nearest(label, levels))


def measures_of(
    show: Sequence[str], measures: Mapping[str, tuple[Better, str]], records: pd.DataFrame
) -> dict[str, tuple[Better, str]]:
    """The measures to ``show``: by default the last iterate's that have a direction, and step times."""
    if not show:
        return {name: about for name, about in measures.items() if about[0]} | {STEP: ("lower", "ms")}
    numeric = [str(n) for n in records.select_dtypes("number").columns if n != "seed"]
    known: dict[str, tuple[Better, str]] = dict.fromkeys(numeric, (None, ""))
    known |= {f"{name}_ema": about for name, about in measures.items()} | dict(measures) | {STEP: ("lower", "ms")}
    for name in show:
        if name not in known:
            raise ResultsError(f"no measure {name!r}", place="--measure", hint=nearest(name, known))
    return {name: known[name] for name in show}


def blocks_of(
    part: Sequence[Trial], factor: str, name: str, facts: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[tuple[Any, ...], dict[int, float | None]]]:
    """For each level of the factor and each block the values by seed, None where a trial failed.

    A block is the labels of all other roles, then the protocol; of step times also the place and the machine.
    """
    blocks: dict[str, dict[tuple[Any, ...], dict[int, float | None]]] = {}
    others = [role for role in ROLES if role != factor]
    for row in part:
        if name == STEP and row["status"] != "done":
            continue  # how long a failed trial took is no cost of a step
        key: tuple[Any, ...] = tuple(row[role] for role in others) + facts[row["cell"]]
        if name == STEP:
            key += tuple(str(row.get(fact)) for fact in CLOCK)
        value = row.get(name)
        good = row["status"] == "done" and is_number(value)
        blocks.setdefault(str(row[factor]), {}).setdefault(key, {})[int(row["seed"])] = (
            float(value) if good and value is not None else None
        )
    return blocks


def _of_measure(
    part: Sequence[Trial],
    factor: str,
    splits: Sequence[str],
    base: str,
    measure: tuple[str, Better, str],
    facts: Mapping[str, tuple[str, ...]],
    times: StepTimes | None,
) -> list[Comparison]:
    name, better, unit = measure
    blocks = blocks_of(part, factor, name, facts)
    others = [role for role in ROLES if role != factor]
    numbers = [v for level in blocks.values() for b in level.values() for v in b.values() if v is not None]
    scale: Scale = "ratio" if better == "lower" and min(numbers, default=0) > 0 else "difference"
    if name == STEP:
        blocks = {level: {key: dict(stats.once(_whole(b))) for key, b in of.items()} for level, of in blocks.items()}
    floors: dict[int, float] = {}
    for row in part:
        floor = row.get(f"{name.removesuffix('_ema')}_floor")
        if is_number(floor) and floor is not None:
            floors.setdefault(int(row["seed"]), float(floor))
    margin = effects.repeatability(list(floors.values()))
    where = [others.index(role) for role in splits]
    made = []
    baseline = blocks.get(base, {})
    for level, of in blocks.items():
        if level == base:
            continue
        for split in dict.fromkeys(tuple(key[i] for i in where) for key in of):
            inside = {key: b for key, b in of.items() if tuple(key[i] for i in where) == split}
            effect = within_blocks(inside, baseline, better=better, scale=scale)
            if effect is None:
                continue
            # step times have the machine in their keys as well
            shared = {key[: len(others) + len(PROTOCOL)] for key in inside if key in baseline}
            trials = [
                row
                for row in part
                if row[factor] == level
                and all(row[r] == s for r, s in zip(splits, split, strict=True))
                and (tuple(row[r] for r in others) + facts[row["cell"]]) in shared
            ]
            statuses = [str(row["status"]) for row in trials]
            if name == STEP and times is not None:
                ratio = apart(Group((), trials), part, factor, base, (), None, times)
                effect = effect if ratio is None else replace(effect, effect=_by_rounds(effect.effect, ratio))
            made.append(
                Comparison(
                    dataset=", ".join(map(str, levels_of(part, "dataset"))),
                    role=factor,
                    level=level,
                    baseline=base,
                    split=dict(zip(splits, split, strict=True)),
                    measure=name,
                    better=better,
                    unit=unit,
                    found=effect,
                    margin=margin,
                    same=effects.equivalence(effect.effect.difference, margin),
                    others=interaction(of, baseline, set(inside), scale=scale) if splits else None,
                    done=statuses.count("done"),
                    total=len(statuses),
                    failures={s: statuses.count(s) for s in dict.fromkeys(statuses) if s != "done"},
                )
            )
    return made


def _by_rounds(effect: effects.Effect, ratio: Estimate) -> effects.Effect:
    """``effect`` with the ratio of the timing pass in place of that over seeds, of which pairing says nothing."""
    low, high = (None if x is None else 100 * (x - 1) for x in (ratio.low, ratio.high))
    percent = Percent(100 * (ratio.mean - 1), low, high, ratio.n)
    return replace(
        effect, percent=percent, difference=None, scale="ratio", improved=None, a12=None, correlation=None, saved=None
    )


def _whole(block: Mapping[int, float | None]) -> dict[int, float]:
    return {seed: value for seed, value in block.items() if value is not None}


def tested(found: Sequence[Comparison]) -> list[Comparison]:
    """``found`` with Holm's p over all that can be tested; times are reported, not tested."""
    told = effects.family([None if c.measure == STEP else c.found.effect for c in found])
    return [replace(c, tests=t.tests, need=t.need, p=t.p, flip=t.flip) for c, t in zip(found, told, strict=True)]


def frame(found: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each comparison, flat: every estimate as NAME, NAME_low and NAME_high."""
    import pandas as pd

    rows = []
    for c in found:
        e = c.found.effect
        row: dict[str, Any] = {
            "dataset": c.dataset,
            "role": c.role,
            "level": c.level,
            "baseline": c.baseline,
            **c.split,
            "measure": c.measure,
            "better": c.better,
        }
        for name, value in (
            ("difference", e.difference),
            ("percent", e.percent),
            ("improved", e.improved),
            ("interaction", c.others),
        ):
            row |= stats.flat(name, value)
        rows.append(
            row
            | {
                "median": e.median,
                "a12": e.a12,
                "n": e.n,
                "p": c.p,
                "p_flip": c.flip,
                "p_uncorrected": e.p,
                "tests": c.tests,
                "need": c.need,
                "scale": e.scale,
                "blocks": c.found.cells,
                "blocks_used": len(c.found.used),
                "blocks_better": c.found.better,
                "blocks_worse": c.found.worse,
                "failed": c.found.failed,
                "failed_baseline": c.found.failed_baseline,
                "correlation": e.correlation,
                "saved": e.saved,
                "margin": c.margin,
                "p_equivalence": c.same,
            }
        )
    return pd.DataFrame(rows)
