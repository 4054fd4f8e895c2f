"""Tables of records: which cells a row stands for, and what each column says of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ganbench import stats
from ganbench.arrivals import areas
from ganbench.differences import differences_of, ratios_of, scale_of
from ganbench.errors import ResultsError, nearest
from ganbench.footers import footers_of, machine, refusals
from ganbench.marks import FRONT, with_front, with_marks
from ganbench.pivot import pivoted
from ganbench.records import ROLES
from ganbench.stats import Estimate
from ganbench.steptimes import StepTimes
from ganbench.table import (
    AVERAGED,
    OK,
    PLACE,
    PROTOCOL,
    RATIO,
    STEP,
    Column,
    Entry,
    Row,
    Skip,
    Table,
    Tally,
)
from ganbench.targets import column as target_column
from ganbench.targets import text as target_text
from ganbench.text import kinds_of
from ganbench.trials import (
    Asked,
    Group,
    Trial,
    block_of,
    by_seed,
    given,
    is_number,
    is_unsure,
    joined,
    levels_of,
    mixed,
)

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.results import Better, Results


def tables(
    results: Results,
    *,
    by: Sequence[str] = (),
    measures: Sequence[str] = (),
    baseline: str = "none",
    pivot: str | None = None,
    columns: Mapping[str, pd.Series[Any]] | None = None,
    diff: bool = False,
    pareto: str | None = None,
) -> list[Table]:
    """One table for each data set of a run; see :func:`build`."""
    built = build(
        results.records,
        results.measures,
        by=by,
        show=measures,
        baseline=baseline,
        pivot=pivot,
        columns=columns,
        diff=diff,
        pareto=pareto,
        run=results.name,
        times=results.step_times,
        targets=results.targets,
    )
    if not built:
        built = [Table(results.name, {}, (), ())]
    if told := machine(results):
        built = [replace(t, footers=(*t.footers, told)) if t.rows else t for t in built]
    if todo := results.missing:
        of = todo + len(results.trials)
        built = [replace(t, footers=(*t.footers, f"Not run yet: {todo:,} of {of:,} trials.")) for t in built]
    return built


def build(
    records: pd.DataFrame,
    measures: Mapping[str, tuple[Better, str]],
    *,
    by: Sequence[str] = (),
    show: Sequence[str] = (),
    baseline: str = "none",
    pivot: str | None = None,
    columns: Mapping[str, pd.Series[Any]] | None = None,
    diff: bool = False,
    pareto: str | None = None,
    run: str = "",
    times: StepTimes | None = None,
    targets: Mapping[str, float] | None = None,
) -> list[Table]:
    """Tables of ``records``, one for each data set.

    Without ``by`` a row is a cell. With it, a row is a combination of levels of those roles: the cells of one seed are
    averaged first, over the (cell, seed) pairs that every row completed, and the interval is over seeds. So ``n`` is
    the number of seeds, never the number of cells times seeds, and no row is averaged over easier cells than another.

    Args:
        records: one row for each trial and skipped cell, as :attr:`ganbench.results.Results.records`.
        measures: for each measure, which way is better and its unit.
        by: roles to aggregate to.
        show: measures to show, ``NAME_ema`` for the running average alone; any numeric column of the records will do.
        baseline: what step times are divided by: a regularizer's label, or ``ROLE=LABEL``.
        pivot: a role whose levels become the columns: one table for each data set and measure.
        columns: more columns, each with the index of ``records``.
        diff: whether each measure has its difference from the baseline beside it, in units and in percent.
        pareto: a measure; rows that no other beats in both it and step time are marked.
        run: name of the run, for the titles.
        times: what the timing pass measured.
        targets: values of measures; the time to reach each has a column.

    Raises:
        ResultsError: there is no such role, measure or baseline, or an extra column hides one of the records.
    """
    extra = dict(columns or {})
    for name in extra:
        if name in records.columns:
            raise ResultsError(f"an extra column may not be called {name!r}: the records have one")
    rows: list[Trial] = [{str(k): v for k, v in row.items()} for row in records.assign(**extra).to_dict("records")]
    for place, role in (*(("--by", role) for role in by), *((("--pivot", pivot),) if pivot else ())):
        if role not in ROLES:
            raise ResultsError(f"no role {role!r}", place=place, hint=nearest(role, ROLES))
    chosen = _chosen(show, measures, [str(n) for n in records.select_dtypes("number").columns])
    base = _baseline(baseline, rows)
    if pivot:
        varying = [r for r in ROLES if r not in ("dataset", pivot) and len(levels_of(rows, r)) > 1]
        by = (*(r for r in (by or varying) if r != pivot), pivot)
    if pareto and not any(c.name == pareto and c.better for c in chosen):
        known = [c.name for c in chosen if c.better]
        raise ResultsError(f"no measure {pareto!r} with a better way", place="--pareto", hint=nearest(pareto, known))
    chosen = tuple(replace(c, keep=350) if c.name == pareto else c for c in chosen)  # a front without it says little
    asked = Asked(
        tuple(by), chosen, base, tuple(extra), run, diff=diff, pareto=pareto, times=times, targets=targets or {}
    )
    built = []
    for part in _parts(rows, asked):
        table = _table(part, asked)
        built += pivoted(table, pivot, show) if pivot else [table]
    return built


def _chosen(
    show: Sequence[str], measures: Mapping[str, tuple[Better, str]], numeric: Sequence[str]
) -> tuple[Column, ...]:
    """The columns for ``show``, or for every measure: first the last iterate's, then the running average's."""
    known: dict[str, Column] = {}
    for i, (name, (better, unit)) in enumerate(measures.items()):
        known[name] = Column(name, name, "measure", better, unit, 300 - i)
        known[f"{name}_ema"] = Column(f"{name}_ema", f"{name} ema", "measure", better, unit, AVERAGED - i)
    if not show:
        return tuple(known.values())
    units = {"ms": "ms", "s": "s", "mib": "MiB"}
    for name in numeric:
        if name not in (*known, "seed", STEP) and not name.endswith("_floor"):
            known[name] = Column(name, name, "measure", None, units.get(name.rpartition("_")[2], ""), 250)
    names: dict[str, Column] = {}
    for i, name in enumerate(n for n in show if n != STEP):  # which is always shown
        if name not in known:
            raise ResultsError(f"no measure {name!r}", place="--measure", hint=nearest(name, known))
        names[name] = replace(known[name], keep=300 - i)
        if name in measures and f"{name}_ema" not in show:
            names[f"{name}_ema"] = known[f"{name}_ema"]
    return tuple(names.values())


def _baseline(text: str, rows: Sequence[Trial]) -> tuple[str, str]:
    """The role and the label that ``--baseline`` names; ``none`` need not be there."""
    role, equals, label = text.partition("=")
    if equals and role in ROLES:
        known = levels_of(rows, role)
        if label not in known:
            raise ResultsError(f"no {role} {label!r}", place="--baseline", hint=nearest(label, known))
        return role, label
    if text != "none" and text not in levels_of(rows, "regularizer"):
        homes = [role for role in ROLES if text in levels_of(rows, role)]
        if len(homes) == 1:
            return homes[0], text
        hint = nearest(text, levels_of(rows, "regularizer"))
        raise ResultsError(
            f"no regularizer {text!r}", place="--baseline", hint=f"{hint} (another role's is ROLE=LABEL)"
        )
    return "regularizer", text


def _parts(rows: Sequence[Trial], asked: Asked) -> list[list[Trial]]:
    """The rows by data set; by set of measures where the data set is a role to aggregate to."""
    datasets: dict[Any, list[Trial]] = {}
    for row in rows:
        datasets.setdefault(row["dataset"], []).append(row)
    if "dataset" not in asked.by:
        return list(datasets.values())
    parts: dict[Any, list[Trial]] = {}
    for part in datasets.values():
        has = frozenset(c.name for c in asked.measures if any(is_number(row.get(c.name)) for row in part))
        parts.setdefault(has, []).extend(part)
    return list(parts.values())


def _table(part: Sequence[Trial], asked: Asked) -> Table:  # noqa: PLR0915 # one table, from top to bottom
    live = [row for row in part if row["status"] != "skipped"]
    varying = [role for role in ROLES if len(levels_of(live, role)) > 1]
    roles = list(asked.by) or varying or ["regularizer"]
    averaged = [role for role in varying if role not in roles]
    constants = {role: levels[0] for role in ROLES if role not in roles and len(levels := levels_of(live, role)) == 1}
    if not live:
        constants = {role: levels[0] for role in ROLES if len(levels := levels_of(part, role)) == 1}
        roles = []
    facts = facts_by_cell(live)
    groups = _groups(live, roles, facts, whole=bool(asked.by))
    pairs = common(groups, averaged) if asked.by and averaged else None

    shown = [c for c in asked.measures if any(is_number(t.get(c.name)) for t in live)]
    shown = [replace(c, floor=_floor(live, c.name), log=scale_of(_numbers(live, c.name), c) == "ratio") for c in shown]
    refused = mixed(live, [c.name for c in shown])
    shown = [c for c in shown if c.name not in refused]
    more = [Column(name, name, "extra", keep=100) for name in asked.extra]
    differing = [f for f in (*PROTOCOL, *PLACE) if len({joined(g.trials, f) for g in groups} - {""}) > 1]
    columns: list[Column] = [Column(role, role, "role", keep=1000) for role in roles]
    columns += [Column(fact, fact, "fact", keep=900) for fact in differing]
    if not asked.by and len({tuple(g.key[:-1]) for g in groups}) < len(groups):
        columns.append(Column("id", "cell id", "role", keep=950))
    role, label = asked.baseline
    changes = {
        c.name: differences_of(groups, live, role, label, averaged, pairs, c)
        for c in shown
        if asked.diff and role not in averaged and c.keep > AVERAGED
    }
    for c in shown:
        columns.append(c)
        if any(changes.get(c.name, ())):
            columns.append(Column(f"{c.name}_diff", f"Δ {c.header}", "change", unit=c.unit, keep=c.keep - 20))
            if any(e and e.percent for e in changes[c.name]):
                columns.append(Column(f"{c.name}_percent", f"Δ {c.header} %", "percent", keep=c.keep - 40))
    columns += more
    goals = {goal: f"s to {m} {t:g}" for m, t in asked.targets.items() if (goal := target_column(m, t)) in part[0]}
    soon = {goal: areas(groups, averaged, goal) for goal in goals}
    for goal, header in goals.items():
        columns.append(Column(goal, header, "extra", keep=290))
        if soon[goal]:
            columns.append(Column(f"{goal}_area", "area", "share", keep=280))
    timed = any(is_number(t.get(STEP)) for t in live if t["status"] == "done")
    compared = timed and role not in averaged
    ratios = ratios_of(groups, live, role, label, averaged, pairs, asked.times) if compared else {}
    if timed:
        columns.append(Column(STEP, "step ms", "time", "lower", "ms", 500))
    if any(ratios.values()):
        columns.append(Column(RATIO, f"× {label}", "ratio", "lower", "", 400))  # noqa: RUF001 # times
    columns.append(Column(OK, OK, "ok", keep=800))

    rows = []
    for i, group in enumerate(groups):
        values: dict[str, Entry] = {}
        for column in columns:
            if column.kind == "role":
                values[column.name] = str(group.trials[0][column.name])
            elif column.kind == "fact":
                values[column.name] = joined(group.trials, column.name) or "unknown"
            elif column.kind == "measure":
                seeds = by_seed(group, column.name, averaged, pairs, log=column.log)
                values[column.name] = stats.centre(seeds.values(), log=column.log)
            elif column.name in goals:
                seconds = [t[column.name] for t in group.trials if not math.isnan(t[column.name])]
                values[column.name] = target_text(seconds) if seconds else None
                values[f"{column.name}_area"] = soon[column.name].get(i)
            elif column.kind == "extra":
                values[column.name] = _extra(group, column.name, averaged, pairs)
        for name, found in changes.items():
            change = found[i]
            if change is not None:
                values |= {f"{name}_diff": change.difference, f"{name}_percent": change.percent}
        values[STEP] = stats.geometric_mean(stats.once(by_seed(group, STEP, averaged, pairs, log=True)).values())
        values[RATIO] = ratios.get(i)
        values[OK] = tally = _tally(group)
        present = {c.name: values.get(c.name) for c in columns}
        rows.append(Row(present, note=_note(group, tally), shared=any(is_unsure(t) for t in group.done)))
    marked = with_marks(rows, columns, groups, averaged, pairs)
    if asked.pareto and timed and asked.pareto in {c.name for c in shown}:
        columns.insert(-1, Column(FRONT, "front", "extra", keep=450))
        marked = with_front(marked, next(c for c in shown if c.name == asked.pareto), groups)
    footers = (*refusals(refused), *footers_of(live, groups, marked, columns, asked, averaged, pairs))
    dataset = ", ".join(map(str, levels_of(part, "dataset"))) if "dataset" not in roles else ""
    return Table(
        title=": ".join(x for x in (asked.run, dataset) if x),
        constants=constants,
        columns=tuple(columns),
        rows=marked,
        skipped=_skips(part),
        footers=footers,
    )


def facts_by_cell(live: Sequence[Trial]) -> dict[str, tuple[str, ...]]:
    """The protocol of each cell; a trial that failed before it could say has that of its cell."""
    cells: dict[str, list[Trial]] = {}
    for trial in live:
        cells.setdefault(trial["cell"], []).append(trial)
    whole = tuple(joined(live, fact) for fact in PROTOCOL)
    return {
        cell: tuple(joined(trials, fact) or all_ for fact, all_ in zip(PROTOCOL, whole, strict=True))
        for cell, trials in cells.items()
    }


def _groups(
    live: Sequence[Trial], roles: Sequence[str], facts: Mapping[str, tuple[str, ...]], *, whole: bool
) -> list[Group]:
    """The trials of each row; the key ends with the cell, unless a row averages ``whole`` levels."""
    groups: dict[tuple[Any, ...], Group] = {}
    for trial in live:
        cell = trial["cell"]
        key = (*(trial[role] for role in roles), facts[cell], "" if whole else cell)
        groups.setdefault(key, Group(key)).trials.append(trial)
    if not whole:
        return list(groups.values())
    # combinations of levels come in the order of the levels, not of their first cells
    order = [{level: i for i, level in enumerate(levels_of(live, role))} for role in roles]
    return sorted(groups.values(), key=lambda g: [o[k] for o, k in zip(order, g.key[: len(roles)], strict=True)])


def common(groups: Sequence[Group], averaged: Sequence[str]) -> set[tuple[Any, ...]] | None:
    """The (block, seed) pairs that every row completed which completed any; None if there is no such pair."""
    complete = [{(block_of(t, averaged), t["seed"]) for t in group.done} for group in groups]
    common = set.intersection(*some) if (some := [pairs for pairs in complete if pairs]) else set()
    return common or None


def _extra(
    group: Group, name: str, averaged: Sequence[str], pairs: set[tuple[Any, ...]] | None
) -> Estimate | str | None:
    """A plugin's column: numbers are averaged like measures, anything else is listed."""
    values = levels_of(group.trials, name)
    if any(isinstance(v, str | bool) for v in values):
        return ", ".join(map(str, values))
    return stats.mean(by_seed(group, name, averaged, pairs).values())


def _tally(group: Group) -> Tally:
    statuses = Counter(t["status"] for t in group.trials)
    done = statuses.pop("done", 0)
    return Tally(done, len(group.trials), dict(statuses))


def _note(group: Group, tally: Tally) -> str:
    """``1 diverged: REASON (seed 2); 1 oom: ...``."""
    notes = []
    for status, n in tally.failures.items():
        failed = [t for t in group.trials if t["status"] == status]
        reasons = kinds_of(str(t["reason"]) for t in failed if given(t["reason"]) and t["reason"])
        said = "; ".join(kind if len(of) == n else f"{kind} ({len(of)})" for kind, of in reasons.items())
        seeds = sorted({t["seed"] for t in failed})
        some = {t["seed"] for t in group.trials} - set(seeds)
        where = f" (seed {', '.join(map(str, seeds))})" if some else ""
        notes.append(f"{n} {status}{where}" + (f": {said}" if said else ""))
    return "; ".join(notes)


def _numbers(live: Sequence[Trial], name: str) -> list[float]:
    """The values of a column that count for means."""
    return [float(v) for t in live if t["status"] == "done" and is_number(v := t.get(name)) and v is not None]


def _floor(live: Sequence[Trial], name: str) -> float | None:
    """The mean floor of a data set; several have no floor in common."""
    if len(levels_of(live, "dataset")) > 1:
        return None
    floors = [t.get(f"{name.removesuffix('_ema')}_floor") for t in live if t["status"] == "done"]
    estimate = stats.mean(f for f in floors if f is not None and is_number(f))
    return None if estimate is None else estimate.mean


def _skips(part: Sequence[Trial]) -> tuple[Skip, ...]:
    """The skipped cells by reason, each named by the roles in which the cells of the data set differ."""
    varying = [role for role in ROLES if role != "dataset" and len(levels_of(part, role)) > 1]
    reasons: dict[str, list[Trial]] = {}
    for row in part:
        if row["status"] == "skipped":
            reasons.setdefault(str(row["reason"]), []).append(row)
    return tuple(
        Skip(
            reason,
            tuple(" · ".join(str(row[role]) for role in varying or ["regularizer"]) for row in rows),
            tuple({role: str(row[role]) for role in ROLES} for row in rows),
        )
        for reason, rows in reasons.items()
    )
