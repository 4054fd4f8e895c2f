"""Tables as plain data: which cells a row stands for, what each column says of them, and the protocol beside it."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ganbench import stats
from ganbench.errors import ResultsError, nearest
from ganbench.records import ROLES
from ganbench.stats import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from ganbench.results import Better, Results

STEP = "step_ms"
RATIO = "step_ratio"
OK = "ok"
PROTOCOL = ("steps", "batch", "samples", "ema", "precision")
"""Facts that change what a trial does: rows never average over them, and a best value is the best among equals."""
PLACE = ("engine", "device", "threads")
"""Facts that change only how long a trial takes: a row names all it has."""
CLOCK = (*PROTOCOL, *PLACE, "hardware_fingerprint", "environment_fingerprint")
"""What two trials must share for their step times to be compared."""
AVERAGED = 200
"""The greatest ``keep`` of a running average's column: these are shown together or left out together."""
Kind: TypeAlias = Literal["role", "fact", "measure", "extra", "time", "ratio", "ok"]
Trial: TypeAlias = Mapping[str, Any]
"""One row of the records."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: its key in a row's entries, and its header in csv and json.
        header: for people, without the arrow.
        kind: what its entries are.
        better: which way is better, if it says.
        unit: of its values.
        keep: columns of the least ``keep`` are the first to be left out where space is short.
        floor: the value of real samples against other real samples, if it is a measure that has one.
    """

    name: str
    header: str
    kind: Kind
    better: Better = None
    unit: str = ""
    keep: int = 0
    floor: float | None = None


@dataclass(frozen=True)
class Tally:
    """How many trials of a row were done, out of how many, and what became of the others."""

    ok: int
    total: int
    failures: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.ok}/{self.total}"

    @property
    def failed(self) -> str:
        """``1 diverged, 2 oom``; empty if every trial was done."""
        return ", ".join(f"{n} {status}" for status, n in self.failures.items())


Entry: TypeAlias = str | Estimate | Tally | None


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        entries: a value for each column, by its name.
        best: the columns in which this row has the best mean.
        note: what failed, and why.
        shared: its step times were measured beside other work, or before the clock was warm.
    """

    entries: Mapping[str, Entry]
    best: frozenset[str] = frozenset()
    note: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Skip:
    """Cells that are not trained, for one reason: their names, in the roles that differ, and all their labels."""

    reason: str
    cells: tuple[str, ...]
    labels: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Table:
    """An aggregated view of records, as plain data; :func:`ganbench.render.render` makes it text.

    Args:
        title: the run and the data set.
        constants: the roles that have one component in all rows.
        columns: in order: roles, facts that differ, measures, time, tally.
        rows: in the order of the plan.
        skipped: cells without trials, and why.
        footers: what the numbers are: seeds, protocol, intervals. Nothing is shown without them.
    """

    title: str
    constants: Mapping[str, str]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    skipped: tuple[Skip, ...] = ()
    footers: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)


def tables(
    results: Results,
    *,
    by: Sequence[str] = (),
    measures: Sequence[str] = (),
    baseline: str = "none",
    pivot: str | None = None,
    columns: Mapping[str, pd.Series[Any]] | None = None,
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
        run=results.name,
    )
    if not built:
        built = [Table(results.name, {}, (), ())]
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
    run: str = "",
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
        run: name of the run, for the titles.

    Raises:
        ResultsError: there is no such role, measure or baseline, or an extra column hides one of the records.
    """
    extra = dict(columns or {})
    for name in extra:
        if name in records.columns:
            raise ResultsError(f"an extra column may not be called {name!r}: the records have one")
    rows: list[Trial] = [{str(k): v for k, v in row.items()} for row in records.assign(**extra).to_dict("records")]
    for role in (*by, *([pivot] if pivot else [])):
        if role not in ROLES:
            raise ResultsError(f"no role {role!r}", place="--by", hint=nearest(role, ROLES))
    chosen = _chosen(show, measures, [str(n) for n in records.select_dtypes("number").columns])
    base = _baseline(baseline, rows)
    if pivot:
        varying = [r for r in ROLES if r not in ("dataset", pivot) and len(_levels(rows, r)) > 1]
        by = (*(r for r in (by or varying) if r != pivot), pivot)
    asked = _Asked(tuple(by), chosen, base, tuple(extra), run)
    built = []
    for part in _parts(rows, asked):
        table = _table(part, asked)
        built += _pivoted(table, pivot, show) if pivot else [table]
    return built


@dataclass(frozen=True)
class _Asked:
    by: tuple[str, ...]
    measures: tuple[Column, ...]
    baseline: tuple[str, str]
    extra: tuple[str, ...]
    run: str


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
        known = _levels(rows, role)
        if label not in known:
            raise ResultsError(f"no {role} {label!r}", place="--baseline", hint=nearest(label, known))
        return role, label
    if text != "none" and text not in _levels(rows, "regularizer"):
        homes = [role for role in ROLES if text in _levels(rows, role)]
        if len(homes) == 1:
            return homes[0], text
        hint = nearest(text, _levels(rows, "regularizer"))
        raise ResultsError(f"no regularizer {text!r}", place="--baseline", hint=f"{hint} Another role's is ROLE=LABEL")
    return "regularizer", text


def _levels(rows: Iterable[Trial], name: str) -> list[Any]:
    """The values of a column, in order of appearance, without missing ones."""
    return list(dict.fromkeys(row[name] for row in rows if _given(row.get(name))))


def _given(value: Any) -> bool:
    """Whether a cell of a frame has a value: NaN and NA differ from themselves or cannot say."""
    return isinstance(value, str | int) or (isinstance(value, float) and not math.isnan(value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _parts(rows: Sequence[Trial], asked: _Asked) -> list[list[Trial]]:
    """The rows by data set; by set of measures where the data set is a role to aggregate to."""
    datasets: dict[Any, list[Trial]] = {}
    for row in rows:
        datasets.setdefault(row["dataset"], []).append(row)
    if "dataset" not in asked.by:
        return list(datasets.values())
    parts: dict[Any, list[Trial]] = {}
    for part in datasets.values():
        has = frozenset(c.name for c in asked.measures if any(_number(row.get(c.name)) for row in part))
        parts.setdefault(has, []).extend(part)
    return list(parts.values())


@dataclass
class _Group:
    """The trials of one row, and a block (the levels of the roles that it averages over) for each."""

    key: tuple[Any, ...]
    trials: list[Trial] = field(default_factory=list)

    @property
    def done(self) -> list[Trial]:
        return [t for t in self.trials if t["status"] == "done"]


def _table(part: Sequence[Trial], asked: _Asked) -> Table:
    live = [row for row in part if row["status"] != "skipped"]
    varying = [role for role in ROLES if len(_levels(live, role)) > 1]
    roles = list(asked.by) or varying or ["regularizer"]
    averaged = [role for role in varying if role not in roles]
    constants = {role: levels[0] for role in ROLES if role not in roles and len(levels := _levels(live, role)) == 1}
    if not live:
        constants = {role: levels[0] for role in ROLES if len(levels := _levels(part, role)) == 1}
        roles = []
    facts = _facts_by_cell(live)
    groups = _groups(live, roles, facts, whole=bool(asked.by))
    pairs = _common(groups, averaged) if asked.by and averaged else None

    shown = [c for c in asked.measures if any(_number(t.get(c.name)) for t in live)]
    shown = [replace(c, floor=_floor(live, c.name)) for c in shown]
    more = [Column(name, name, "extra", keep=100) for name in asked.extra]
    differing = [f for f in (*PROTOCOL, *PLACE) if len({_joined(g.trials, f) for g in groups} - {""}) > 1]
    columns: list[Column] = [Column(role, role, "role", keep=1000) for role in roles]
    columns += [Column(fact, fact, "fact", keep=900) for fact in differing]
    if not asked.by and len({tuple(g.key[:-1]) for g in groups}) < len(groups):
        columns.append(Column("id", "cell id", "role", keep=950))
    columns += [*shown, *more]
    role, label = asked.baseline
    timed = any(_number(t.get(STEP)) for t in live if t["status"] == "done")
    ratios = _ratios(groups, live, role, label, averaged, pairs) if timed and role not in averaged else {}
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
                values[column.name] = _joined(group.trials, column.name) or "unknown"
            elif column.kind == "measure":
                values[column.name] = stats.mean(_by_seed(group, column.name, averaged, pairs).values())
            elif column.kind == "extra":
                values[column.name] = _extra(group, column.name, averaged, pairs)
        values[STEP] = stats.mean(stats.once(_by_seed(group, STEP, averaged, pairs, log=True)).values())
        values[RATIO] = ratios.get(i)
        values[OK] = tally = _tally(group)
        present = {c.name: values[c.name] for c in columns}
        rows.append(Row(present, note=_note(group, tally), shared=any(_unsure(t) for t in group.done)))
    marked = _marked(rows, columns, groups)
    footers = _footers(live, groups, marked, columns, asked, averaged, pairs)
    dataset = ", ".join(map(str, _levels(part, "dataset"))) if "dataset" not in roles else ""
    return Table(
        title=": ".join(x for x in (asked.run, dataset) if x),
        constants=constants,
        columns=tuple(columns),
        rows=marked,
        skipped=_skips(part),
        footers=footers,
    )


def _facts_by_cell(live: Sequence[Trial]) -> dict[str, tuple[str, ...]]:
    """The protocol of each cell; a trial that failed before it could say has that of its cell."""
    cells: dict[str, list[Trial]] = {}
    for trial in live:
        cells.setdefault(trial["cell"], []).append(trial)
    whole = tuple(_joined(live, fact) for fact in PROTOCOL)
    return {
        cell: tuple(_joined(trials, fact) or all_ for fact, all_ in zip(PROTOCOL, whole, strict=True))
        for cell, trials in cells.items()
    }


def _groups(
    live: Sequence[Trial], roles: Sequence[str], facts: Mapping[str, tuple[str, ...]], *, whole: bool
) -> list[_Group]:
    """The trials of each row; the key ends with the cell, unless a row averages ``whole`` levels."""
    groups: dict[tuple[Any, ...], _Group] = {}
    for trial in live:
        cell = trial["cell"]
        key = (*(trial[role] for role in roles), facts[cell], "" if whole else cell)
        groups.setdefault(key, _Group(key)).trials.append(trial)
    if not whole:
        return list(groups.values())
    # combinations of levels come in the order of the levels, not of their first cells
    order = [{level: i for i, level in enumerate(_levels(live, role))} for role in roles]
    return sorted(groups.values(), key=lambda g: [o[k] for o, k in zip(order, g.key[: len(roles)], strict=True)])


def _block(trial: Trial, averaged: Sequence[str]) -> tuple[Any, ...]:
    return tuple(trial[role] for role in averaged)


def _common(groups: Sequence[_Group], averaged: Sequence[str]) -> set[tuple[Any, ...]] | None:
    """The (block, seed) pairs that every row completed which completed any; None if there is no such pair."""
    complete = [{(_block(t, averaged), t["seed"]) for t in group.done} for group in groups]
    common = set.intersection(*some) if (some := [pairs for pairs in complete if pairs]) else set()
    return common or None


def _by_seed(
    group: _Group,
    name: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
    *,
    log: bool = False,
) -> dict[int, float]:
    """For each seed the mean (geometric if ``log``) over the blocks of the row that count."""
    seeds: dict[int, list[float]] = {}
    for trial in group.done:
        value = trial.get(name)
        if _number(value) and (pairs is None or (_block(trial, averaged), trial["seed"]) in pairs):
            seeds.setdefault(trial["seed"], []).append(float(value))  # type: ignore[arg-type] # a number: just checked
    centre: Callable[[list[float]], Estimate | None] = stats.geometric_mean if log else stats.mean
    means = {seed: centre(values) for seed, values in seeds.items()}
    return {seed: m.mean for seed, m in means.items() if m is not None}


def _extra(
    group: _Group, name: str, averaged: Sequence[str], pairs: set[tuple[Any, ...]] | None
) -> Estimate | str | None:
    """A plugin's column: numbers are averaged like measures, anything else is listed."""
    values = _levels(group.trials, name)
    if any(isinstance(v, str | bool) for v in values):
        return ", ".join(map(str, values))
    return stats.mean(_by_seed(group, name, averaged, pairs).values())


def _ratios(
    groups: Sequence[_Group],
    live: Sequence[Trial],
    role: str,
    label: str,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
) -> dict[int, Estimate | None]:
    """For each row its step times over those of the baseline: the same other roles, seed, protocol and machine."""
    others = [r for r in ROLES if r != role]

    def like(trial: Trial) -> tuple[Any, ...]:
        return tuple(str(trial.get(name)) for name in (*others, *CLOCK))

    base: dict[tuple[Any, ...], dict[int, float]] = {}
    for trial in live:
        if trial[role] == label and trial["status"] == "done" and _number(trial.get(STEP)):
            base.setdefault(like(trial), {})[trial["seed"]] = trial[STEP]
    ratios: dict[int, Estimate | None] = {}
    for i, group in enumerate(groups):
        above: dict[int, list[float]] = {}
        below: dict[int, list[float]] = {}
        unpaired: dict[int, float] = {}
        for trial in group.done:
            times = base.get(like(trial), {})
            if not _number(trial.get(STEP)) or not times:
                continue
            if pairs is not None and (_block(trial, averaged), trial["seed"]) not in pairs:
                continue
            unpaired |= times
            above.setdefault(trial["seed"], []).append(trial[STEP])
            if trial["seed"] in times:
                below.setdefault(trial["seed"], []).append(times[trial["seed"]])
        # a seed counts if each of its blocks has its baseline
        paired = {seed: values for seed, values in below.items() if len(values) == len(above[seed])}
        ratios[i] = stats.ratio(_centres(above), _centres(paired) or ({} if averaged else unpaired))
    return ratios


def _centres(values: Mapping[int, list[float]]) -> dict[int, float]:
    means = {seed: stats.geometric_mean(xs) for seed, xs in values.items()}
    return {seed: m.mean for seed, m in means.items() if m is not None}


def _tally(group: _Group) -> Tally:
    statuses = Counter(t["status"] for t in group.trials)
    done = statuses.pop("done", 0)
    return Tally(done, len(group.trials), dict(statuses))


def _note(group: _Group, tally: Tally) -> str:
    """``1 diverged: REASON (seed 2); 1 oom: ...``."""
    notes = []
    for status, n in tally.failures.items():
        failed = [t for t in group.trials if t["status"] == status]
        reasons = Counter(str(t["reason"]) for t in failed if _given(t["reason"]) and t["reason"])
        said = "; ".join(reason if k == n else f"{reason} ({k})" for reason, k in reasons.items())
        seeds = sorted({t["seed"] for t in failed})
        some = {t["seed"] for t in group.trials} - set(seeds)
        where = f" (seed {', '.join(map(str, seeds))})" if some else ""
        notes.append(f"{n} {status}{where}" + (f": {said}" if said else ""))
    return "; ".join(notes)


def _joined(trials: Iterable[Trial], fact: str) -> str:
    """``cpu``, or ``cpu, cuda`` where the trials differ."""
    levels = sorted(_levels(trials, fact), key=lambda v: (isinstance(v, str), v))
    # a column of integers with gaps is one of floats
    return ", ".join(v if isinstance(v, str) else f"{v:,}" if v % 1 else f"{int(v):,}" for v in levels)


def _unsure(trial: Trial) -> bool:
    """Whether a step time was taken beside other work, or before the clock was warm."""
    return trial.get("exclusive") is False or trial.get(f"{STEP}_n") == 0


def _floor(live: Sequence[Trial], name: str) -> float | None:
    floors = [t.get(f"{name.removesuffix('_ema')}_floor") for t in live if t["status"] == "done"]
    estimate = stats.mean(f for f in floors if f is not None and _number(f))
    return None if estimate is None else estimate.mean


def _marked(rows: Sequence[Row], columns: Sequence[Column], groups: Sequence[_Group]) -> tuple[Row, ...]:
    """The rows with their best means marked: the best among rows of one protocol in which no trial failed."""
    best: list[set[str]] = [set() for _ in rows]
    protocols = [tuple(_joined(g.trials, fact) for fact in PROTOCOL) for g in groups]
    for column, protocol in itertools.product(columns, dict.fromkeys(protocols)):
        if column.kind != "measure" or column.better is None:
            continue
        means = {
            i: entry.mean
            for i, row in enumerate(rows)
            if protocols[i] == protocol
            and isinstance(entry := row.entries[column.name], Estimate)
            and not (isinstance(tally := row.entries[OK], Tally) and tally.failures)
        }
        if len(set(means.values())) > 1:
            top = (min if column.better == "lower" else max)(means.values())
            for i, value in means.items():
                if value == top:
                    best[i].add(column.name)
    return tuple(replace(row, best=frozenset(names)) for row, names in zip(rows, best, strict=True))


def _skips(part: Sequence[Trial]) -> tuple[Skip, ...]:
    """The skipped cells by reason, each named by the roles in which the cells of the data set differ."""
    varying = [role for role in ROLES if role != "dataset" and len(_levels(part, role)) > 1]
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


def _footers(
    live: Sequence[Trial],
    groups: Sequence[_Group],
    rows: Sequence[Row],
    columns: Sequence[Column],
    asked: _Asked,
    averaged: Sequence[str],
    pairs: set[tuple[Any, ...]] | None,
) -> tuple[str, ...]:
    """What the numbers are, one sentence or two for each thing."""
    if not live:
        return ()
    seeds = sorted({t["seed"] for t in live})
    known = [c for c in columns if c.kind in ("measure", "extra")]
    intervals = any(isinstance(e := r.entries[c.name], Estimate) and e.half is not None for r in rows for c in known)
    many = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    said = []
    if intervals:
        said.append(f"Mean ± half-width of the 95 % Student-t interval over {many}; failed trials are not in it.")
    elif known:
        said.append("Means; no row has two seeds done, so there are no intervals.")
    if averaged and asked.by:
        text = f"A row averages the cells of a seed first, over {', '.join(averaged)}"
        if pairs is None:
            text += "; no cell was completed by all rows, so rows average DIFFERENT cells"
        else:
            every = {(_block(t, averaged), t["seed"]) for g in groups for t in g.trials}
            text += f" ({len(pairs)} of {len(every)} (cell, seed) pairs: those that every row completed)"
        said.append(text + ".")
    if any(row.best for row in rows):
        one = " and of one protocol" if any(c.name in PROTOCOL for c in columns) else ""
        said.append(f"* (or bold): the best mean among rows without a failure{one}.")
    if any(c.floor is not None for c in known):
        said.append("Real vs real: the measure of real samples against other real samples, at the same counts.")
    if any(c.name.endswith("_ema") for c in known):
        said.append("ema: of the generator's running average; without it, of its last iterate.")
    if any(c.kind == "time" for c in columns):
        said.append(_clock(live, columns, asked, rows))
    hidden = {c.name for c in columns}
    protocol = [
        text.format(value)
        for fact, text in (
            ("steps", "{} steps"),
            ("batch", "batch {}"),
            ("engine", "engine {}"),
            ("samples", "{} samples evaluated"),
            ("precision", "{}"),
            ("device", "on {}"),
            ("threads", "threads {}"),
        )
        if fact not in hidden and (value := _joined(live, fact))
    ]
    if protocol:
        said.append(f"Protocol: {', '.join(protocol)}.")
    return tuple(said)


def _clock(live: Sequence[Trial], columns: Sequence[Column], asked: _Asked, rows: Sequence[Row]) -> str:
    text = "Step ms: the median over windows of one whole training step, averaged over seeds"
    role, label = asked.baseline
    ratio = next((c for c in columns if c.kind == "ratio"), None)
    if ratio:
        text += (
            f"; {ratio.header}: over that of the same cell with {role} {label}, paired by seed, with its 95 % interval"
        )
    done = [t for t in live if t["status"] == "done"]
    unsure = sum(_unsure(t) for t in done)
    machines = {tuple(str(t.get(name)) for name in CLOCK[-2:]) for t in done}
    if len(machines) > 1:
        text += f"; {len(machines)} machines or environments: times compare only within one"
    if any(r.shared for r in rows):
        return text + f"; ~ {unsure} of {len(done)} trials were timed beside other work or before the clock was warm."
    return (
        text
        + "; "
        + ("nothing else ran beside it." if all(t.get("exclusive") for t in done) else "timing may be shared.")
    )


def _pivoted(table: Table, pivot: str, show: Sequence[str]) -> list[Table]:
    """Rows against the levels of ``pivot``, one table for each measure to ``show``: by default all but the averages."""
    levels = list(dict.fromkeys(str(row.entries[pivot]) for row in table.rows))
    keys = [c for c in table.columns if c.kind in ("role", "fact") and c.name != pivot]
    built = []
    for column in table.columns:
        if column.kind not in ("measure", "time", "ratio"):
            continue
        if column.name not in show if show else column.name.endswith("_ema"):
            continue
        rows: dict[tuple[Entry, ...], list[Row]] = {}
        for row in table.rows:
            rows.setdefault(tuple(row.entries[k.name] for k in keys), []).append(row)
        heads = [
            replace(column, name=f"{column.name}[{level}]", header=level, better=None, unit="", keep=300 - i)
            for i, level in enumerate(levels)
        ]
        made = []
        for group in rows.values():
            entries: dict[str, Entry] = {k.name: group[0].entries[k.name] for k in keys}
            entries |= {h.name: None for h in heads}
            entries |= {f"{column.name}[{r.entries[pivot]}]": r.entries[column.name] for r in group}
            best = {f"{column.name}[{r.entries[pivot]}]" for r in group if column.name in r.best}
            tallies = [t for r in group if isinstance(t := r.entries[OK], Tally)]
            failures = sum((Counter(t.failures) for t in tallies), Counter[str]())
            entries[OK] = Tally(sum(t.ok for t in tallies), sum(t.total for t in tallies), failures)
            note = "; ".join(f"{r.entries[pivot]}: {r.note}" for r in group if r.note)
            made.append(Row(entries, frozenset(best), note, any(r.shared for r in group)))
        about = ", ".join(x for x in (column.unit, f"{column.better} is better" if column.better else "") if x)
        built.append(
            replace(
                table,
                title=f"{table.title}: {column.header}{about and f' ({about})'}, by {pivot}",
                columns=(*keys, *heads, Column(OK, OK, "ok", keep=800)),
                rows=tuple(made),
            )
        )
    return built
