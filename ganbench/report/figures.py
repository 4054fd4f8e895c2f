"""Charts of a run: quality against time, and measures during training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ganbench import charts, stats, verdicts
from ganbench.errors import ResultsError
from ganbench.footers import refusals
from ganbench.records import FAILED, ROLES, Record
from ganbench.report.text import by_dataset, esc, inert, plain, short_name
from ganbench.results import Results
from ganbench.runfolder import Planned
from ganbench.standing import several_protocols
from ganbench.stats import Estimate
from ganbench.table import PROTOCOL, STEP, Row, Table
from ganbench.text import plural

PANELS = 120
"""Curves that are drawn at most for one data set and measure."""


def frontiers(results: Results, tables: Sequence[Table]) -> str:
    """For each data set and protocol the first measure against step time, and against seconds of training."""
    steps = [f for table in tables for f in _frontier(results, table)]
    seconds = [f for table in tables for f in _reached(results, table)]
    said = ""
    if steps:
        said += _ABOUT_STEPS + f'<div class="charts">{"".join(steps)}</div>'
    if seconds:
        said += _ABOUT_SECONDS + f'<div class="charts">{"".join(seconds)}</div>'
    return said


_ABOUT_STEPS = (
    "<p>Each dot is a cell: its means over seeds. Filled and numbered: the pareto front of the means, where no "
    "other cell is both faster and better, with 95 % intervals as thin lines (cut at the frame). Cells of "
    "different protocols are not drawn together.</p>"
)
_ABOUT_SECONDS = (
    "<p>Each dot is a cell at an evaluation that none before it matches: medians over seeds, against the seconds that "
    "a seed had trained for by then, evaluations excluded. Filled and numbered: no other dot is as good and as "
    "early.</p>"
)


def _reached(results: Results, table: Table) -> list[str]:
    """What each cell had reached after how many seconds of training, in a chart for each protocol in a table."""
    dataset = table.constants.get("dataset")
    trials = [r for r in results.trials if r.labels.get("dataset") == dataset]
    shown = {c.name: c for c in table.columns if c.kind == "measure"}
    chosen = next((shown[name] for name in verdicts.directed(trials) if name in shown), None)
    if chosen is None or chosen.better is None:
        return []
    try:
        found = results.frontier(chosen.name)
    except (ResultsError, OSError, ValueError):  # no curves, or damaged ones
        return []
    failed = {r.cell for r in trials if r.status in FAILED}
    done = {r.cell: r for r in trials if r.status == "done"}
    roles = [roles[0] for roles in verdicts.together([r.labels for r in done.values()])] or ["regularizer"]
    groups: dict[tuple[str, ...], list[tuple[Record, Any]]] = {}
    for row in found.itertuples(index=False):
        if (record := done.get(str(row.cell))) is not None and row.cell not in failed:
            key = tuple(str(record.facts.get(fact, "")) for fact in PROTOCOL)
            groups.setdefault(key, []).append((record, row))
    machines = _machines(trials)
    figures = []
    sign = 1 if chosen.better == "lower" else -1
    for pairs in groups.values():
        if len({record.cell for record, _ in pairs}) < 2:
            continue
        values = [float(getattr(row, chosen.name)) for _, row in pairs]
        times = [(float(row.train_s), sign * value) for (_, row), value in zip(pairs, values, strict=True)]
        front = charts.pareto(times) if len(machines) == 1 else []
        names = [
            f"{' · '.join(inert(r.labels.get(role, '')) for role in roles)}: {chosen.header} {plain(value)} "
            f"after {plain(row.train_s)} s (step {row.step:,})"
            for (r, row), value in zip(pairs, values, strict=True)
        ]
        points = [
            charts.Point(row.train_s, value, name, None, None, front.index(i) + 1 if i in front else 0)
            for i, ((_, row), value, name) in enumerate(zip(pairs, values, names, strict=True))
        ]
        picture = charts.scatter(
            points,
            x="seconds of training (less is faster)",
            y=f"{chosen.header} ({chosen.better} is better)",
            label=f"{table.title}: {chosen.header} against seconds of training",
            downward=chosen.better == "lower",
        )
        alone = all(r.facts.get("exclusive") for r, _ in pairs)
        note = "" if alone else '<p class="soft">Some cells trained beside other work.</p>'
        if len(machines) > 1:
            told = f"Cells trained in {len(machines)} machines or environments, which do not compare: no front."
            note += f'<p class="soft">{told}</p>'
        listed = "".join(f"<li>{esc(names[i])}</li>" for i in front)
        figures.append(
            f"<figure><figcaption>{esc(table.title)}</figcaption>{picture}"
            f'<ol class="front-list">{listed}</ol>{note}</figure>'
        )
    return figures


def _frontier(results: Results, table: Table) -> list[str]:
    """A chart for each protocol in a table; one dot has nothing to stand against."""
    dataset = table.constants.get("dataset")
    trials = [r for r in results.trials if r.labels.get("dataset") == dataset]
    ordered = verdicts.directed(trials)
    machines = _machines(trials)
    shown = {c.name: c for c in table.columns if c.kind == "measure"}
    chosen = next((shown[name] for name in ordered if name in shown), None)
    if chosen is None or not any(c.kind == "time" for c in table.columns):
        return []
    facts = [c.name for c in table.columns if c.kind == "fact"]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(str(row.entries[fact]) for fact in facts), []).append(row)
    names = [c.name for c in table.columns if c.kind == "role"]
    figures = []
    for key, rows in groups.items():
        varied = [n for n in names if len({str(row.entries[n]) for row in rows}) > 1] or names
        drawn = [
            (row, x, y)
            for row in rows
            if isinstance(x := row.entries[STEP], Estimate) and isinstance(y := row.entries[chosen.name], Estimate)
        ]
        if len(drawn) < 2:
            continue
        # a cell that failed is no choice, and times of several machines do not compare
        whole = [i for i, (row, _, _) in enumerate(drawn) if not row.note and len(machines) == 1]
        sign = 1 if chosen.better == "lower" else -1
        front = [whole[i] for i in charts.pareto([(drawn[i][1].mean, sign * drawn[i][2].mean) for i in whole])]
        points = []
        for i, (row, x, y) in enumerate(drawn):
            name = " · ".join(inert(row.entries[n]) for n in varied)
            about = f"{name}: {chosen.header} {plain(y.mean)}, step {plain(x.mean)} ms"
            about += f" ({row.note})" if row.note else ""
            place = front.index(i) + 1 if i in front else 0
            points.append(charts.Point(x.mean, y.mean, about, _range(x), _range(y), place))
        listed = [f"<li>{esc(points[i].name)}</li>" for i in front]
        where = ", ".join(f"{fact} {value}" for fact, value in zip(facts, key, strict=True))
        title = table.title + (f" ({where})" if where else "")
        picture = charts.scatter(
            points,
            x="step ms (less is faster)",
            y=f"{chosen.header} ({chosen.better} is better)",
            label=f"{title}: {chosen.header} against step time of {len(points)} cells",
            downward=chosen.better == "lower",
        )
        unsure = any(row.shared for row, _, _ in drawn)
        note = '<p class="soft">Some steps were timed beside other work.</p>' if unsure else ""
        if len(machines) > 1:
            told = f"Steps were timed in {len(machines)} machines or environments, which do not compare: no front."
            note += f'<p class="soft">{told}</p>'
        figures.append(
            f"<figure><figcaption>{esc(title)}</figcaption>{picture}"
            f'<ol class="front-list">{"".join(listed)}</ol>{note}</figure>'
        )
    return figures


def _machines(trials: Sequence[Record]) -> set[tuple[str | None, str | None]]:
    """The hardware and environment of those that were done: times compare within one alone."""
    return {(r.fingerprints.get("hardware"), r.fingerprints.get("environment")) for r in trials if r.status == "done"}


def _range(estimate: Estimate) -> tuple[float, float] | None:
    return None if estimate.low is None or estimate.high is None else (estimate.low, estimate.high)


def curves(results: Results, baseline: str) -> str:
    """For each data set, its first measures during training: a panel for each cell."""
    by_cell: dict[str, list[Record]] = {}
    for record in results.trials:
        by_cell.setdefault(record.cell, []).append(record)
    broken = 0
    parts = []
    for dataset, cells in by_dataset(results).items():
        lines: dict[str, list[list[dict[str, Any]]]] = {}
        for cell in cells:
            lines[cell.cell] = []
            for record in by_cell.get(cell.cell, []):
                try:
                    lines[cell.cell].append([line for line in results.lines(record) if isinstance(line, dict)])
                except (OSError, ValueError):
                    broken += 1
        records = [r for cell in cells for r in by_cell.get(cell.cell, [])]
        refused = several_protocols(records)
        measures = [name for name in verdicts.directed(records) if name not in refused]
        parts += [f'<p class="soft">{esc(dataset)}: {esc(text)}</p>' for text in refusals(refused)]
        groups = verdicts.together([cell.labels for cell in cells])
        for i, measure in enumerate(measures):
            panels = _panels(cells, lines, measure, groups, baseline)
            if panels and i == 0:
                parts.append(f"<h3>{esc(dataset)}: {esc(measure)}</h3>{panels}")
            elif panels:
                parts.append(f"<details><summary>{esc(dataset)}: {esc(measure)}</summary>{panels}</details>")
    if not parts:
        return ""
    note = f'<p class="soft">{plural(broken, "file")} of curves could not be read.</p>' if broken else ""
    return (
        "<p>A panel for each cell: the measure of the last iterate over training steps. Line: mean over seeds; band: "
        "their range. Dashed: the cell with the baseline's regularizer and everything else equal. Panels of one "
        f"data set share the vertical axis.</p>{''.join(parts)}{note}"
    )


def _panels(
    cells: Sequence[Planned],
    lines: Mapping[str, list[list[dict[str, Any]]]],
    measure: str,
    groups: Sequence[tuple[str, ...]],
    baseline: str,
) -> str:
    curves = {cell.cell: moments(lines[cell.cell], measure) for cell in cells}
    drawn = [cell for cell in cells if curves[cell.cell]][:PANELS]
    values = [v for cell in drawn for m in curves[cell.cell] for v in (m.low, m.high)]
    if not values:
        return ""
    y = charts.scale(values, 0, 1)
    bases: dict[tuple[str, ...], str] = {
        _others(cell.labels): cell.cell for cell in cells if cell.labels.get("regularizer") == baseline
    }
    figures = []
    for cell in drawn:
        name = short_name(cell, groups)
        base = bases.get(_others(cell.labels), cell.cell)
        main = curves[cell.cell]
        picture = charts.curve(
            main,
            [] if base == cell.cell else curves[base],
            y=y,
            x_end=main[-1].x,
            label=inert(f"{name}: {measure}, at last {plain(main[-1].mean)}"),
        )
        figures.append(f"<figure><figcaption>{esc(name)}</figcaption>{picture}</figure>")
    left = sum(bool(curve) for curve in curves.values()) - len(drawn)
    note = (
        f'<p class="soft">{plural(left, "more cell")} not drawn; curves.jsonl of each trial has them.</p>'
        if left
        else ""
    )
    return f'<div class="small">{"".join(figures)}</div>{note}'


def _others(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(role, "") for role in ROLES if role != "regularizer")


def moments(curves: Sequence[Sequence[Mapping[str, Any]]], name: str) -> list[charts.Moment]:
    """Mean and range over seeds of ``name`` at each step that any seed reached."""
    steps: dict[float, list[float]] = {}
    for curve in curves:
        for line in curve:
            value, step = line.get(name), line.get("step")
            if isinstance(value, int | float) and math.isfinite(value) and isinstance(step, int | float):
                steps.setdefault(float(step), []).append(float(value))
    found = []
    for step, values in sorted(steps.items()):
        centre = stats.mean(values)
        assert centre is not None  # there is a finite value
        found.append(charts.Moment(step, centre.mean, min(values), max(values)))
    return found
