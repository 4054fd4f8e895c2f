"""Tables of records: what is asked for, and one table for each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ganbench.columns import filled, shown
from ganbench.errors import ResultsError, nearest
from ganbench.footers import footers_of, machine, refusals
from ganbench.grouping import grouped
from ganbench.marks import FRONT, with_front, with_marks
from ganbench.pivot import pivoted
from ganbench.records import ROLES
from ganbench.steptimes import StepTimes
from ganbench.table import (
    AVERAGED,
    STEP,
    Column,
    Row,
    Skip,
    Table,
)
from ganbench.text import kinds_of
from ganbench.trials import (
    Asked,
    Group,
    Trial,
    given,
    is_number,
    is_unsure,
    levels_of,
    mixed,
)

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.results import Results
    from ganbench.stats import Better


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


def _table(part: Sequence[Trial], asked: Asked) -> Table:
    of = grouped(part, asked.by)
    measures = shown(of.live, asked)
    refused = mixed(of.live, [c.name for c in measures])
    measures = [c for c in measures if c.name not in refused]
    made = filled(of, measures, asked)
    columns = [column for column, _ in made]
    rows = []
    for i, group in enumerate(of.groups):
        entries = {column.name: each[i] for column, each in made}
        rows.append(Row(entries, note=_note(group), shared=any(is_unsure(t) for t in group.done)))
    marked = with_marks(rows, columns, of.groups, of.averaged, of.pairs)
    front = next((c for c in measures if c.name == asked.pareto), None)
    if front and any(c.name == STEP for c in columns):
        columns.insert(-1, Column(FRONT, "front", "extra", keep=450))
        marked = with_front(marked, front, of.groups)
    dataset = ", ".join(map(str, levels_of(part, "dataset"))) if "dataset" not in of.roles else ""
    return Table(
        title=": ".join(x for x in (asked.run, dataset) if x),
        constants=of.constants,
        columns=tuple(columns),
        rows=marked,
        skipped=_skips(part),
        footers=(
            *refusals(refused),
            *footers_of(of.live, of.groups, marked, columns, asked, of.averaged, of.pairs),
        ),
    )


def _note(group: Group) -> str:
    """``1 diverged: REASON (seed 2); 1 oom: ...``."""
    notes = []
    for status in dict.fromkeys(t["status"] for t in group.trials if t["status"] != "done"):
        failed = [t for t in group.trials if t["status"] == status]
        n = len(failed)
        reasons = kinds_of(str(t["reason"]) for t in failed if given(t["reason"]) and t["reason"])
        said = "; ".join(kind if len(of) == n else f"{kind} ({len(of)})" for kind, of in reasons.items())
        seeds = sorted({t["seed"] for t in failed})
        some = {t["seed"] for t in group.trials} - set(seeds)
        where = f" (seed {', '.join(map(str, seeds))})" if some else ""
        notes.append(f"{n} {status}{where}" + (f": {said}" if said else ""))
    return "; ".join(notes)


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
