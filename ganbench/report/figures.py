"""Charts of a run: quality against time, and measures during training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ganbench import charts, stats, verdicts
from ganbench.facts import plural
from ganbench.records import ROLES, Record, read_lines
from ganbench.report.text import by_dataset, esc, inert, plain
from ganbench.results import Planned, Results
from ganbench.stats import Estimate
from ganbench.table import STEP, Row, Table

PANELS = 120
"""Curves that are drawn at most for one data set and measure."""


def frontiers(results: Results, tables: Sequence[Table]) -> str:
    """For each data set and protocol the first measure against step time."""
    figures = [f for table in tables for f in _frontier(results, table)]
    if not figures:
        return ""
    return (
        "<p>Each dot is a cell: its means over seeds. Filled and numbered: the pareto front of the means, where no "
        "other cell is both faster and better, with 95 % intervals as thin lines (cut at the frame). Cells of "
        f'different protocols are not drawn together.</p><div class="charts">{"".join(figures)}</div>'
    )


def _frontier(results: Results, table: Table) -> list[str]:
    """A chart for each protocol in a table; one dot has nothing to stand against."""
    dataset = table.constants.get("dataset")
    trials = [r for r in results.trials if r.labels.get("dataset") == dataset]
    ordered = verdicts.directed(trials)
    machines = {
        (r.fingerprints.get("hardware"), r.fingerprints.get("environment")) for r in trials if r.status == "done"
    }
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
                path = results.path / "trials" / record.cell / f"seed-{record.seed}" / "curves.jsonl"
                try:
                    lines[cell.cell].append([line for line in read_lines(path) if isinstance(line, dict)])
                except (OSError, ValueError):
                    broken += 1
        records = [r for cell in cells for r in by_cell.get(cell.cell, [])]
        measures = list(verdicts.directed(records))
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
        name = " · ".join(cell.labels.get(roles[0], "") for roles in groups) or cell.labels.get("regularizer", "")
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
