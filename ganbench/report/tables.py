"""Tables that sort and filter: a row for each cell, and one for each trial, whatever became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ganbench import arrivals_table, overall_table, verdicts
from ganbench.errors import ResultsError
from ganbench.numerals import change_text
from ganbench.overall import left_out, overall
from ganbench.records import FAILED, ROLES, Record
from ganbench.report.text import DASH, by_dataset, esc, plain, ratio, signed
from ganbench.results import Results
from ganbench.stats import Estimate
from ganbench.table import STEP, PValue, Row, Table, Tally

MINUS = "\N{MINUS SIGN}"


def tables_and_trials(results: Results, tables: Sequence[Table], baseline: str) -> str:
    """The tables of cells, then how a factor stands over all of them, then every trial of each data set."""
    whole = _overall(results, baseline)
    parts = [_cells(table, i) for i, table in enumerate((*tables, *whole)) if table.rows]
    if results.plan:
        parts.append(_trials(results))
    return "".join(parts)


def _overall(results: Results, baseline: str) -> list[Table]:
    """How the regularizers, or the levels of the first role that varies, stand; none with fewer than two blocks."""
    labels = [cell.labels for cell in results.plan if cell.skip is None]
    varying = [role for role in ROLES if len({x.get(role, "") for x in labels}) > 1]
    if not varying:
        return []
    role = "regularizer" if "regularizer" in varying else varying[0]
    known = {x.get(role, "") for x in labels}
    wanted = baseline if baseline.removeprefix(f"{role}=") in known else "none"
    try:
        found = overall(results.records, results.measures, role=role, baseline=wanted)
    except ResultsError:  # there is nothing to rank
        return []
    found = [one for one in found if one.blocks > 1]
    why = left_out(results.records, results.measures)
    made = overall_table.tables_of(found, run=results.name, left_out=why) if found else []
    soon = [one for one in arrivals_table.arrivals(results.records, results.targets, role=role) if one.blocks > 1]
    made += arrivals_table.tables_of(soon, run=results.name)
    # the tally of a page names failures
    return [replace(t, rows=tuple(replace(row, note="") for row in t.rows)) for t in made]


def _cells(table: Table, index: int) -> str:
    """The cells of one data set: a row each, failures too."""
    notes = any(row.note for row in table.rows)
    following = _following(table)
    columns = [column for column in table.columns if column.name not in following]
    heads: list[tuple[str, Sequence[str], bool]] = []
    for column in columns:
        about = [column.unit] if column.unit else []
        about += [f"{column.better} is better"] if column.better and column.kind == "measure" else []
        about += [f"real vs real {plain(column.floor)}"] if column.floor is not None else []
        number = column.kind not in ("role", "fact")
        heads.append((column.header, about, number))
    if notes:
        heads.append(("what failed", [], False))
    rows = []
    for row in table.rows:
        cells = [_entry(row, column.name, column.kind) for column in columns]
        if notes:
            cells.append(f'<td class="message" data-v="{esc(row.note)}">{esc(row.note)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    constants = ", ".join(f"{role} {label}" for role, label in table.constants.items() if role != "dataset")
    title = table.title
    body = _data(heads, rows, f"t{index}", title)
    footers = "".join(
        f"<li>{esc(text.replace('* (or bold)', 'Bold').replace('~ (or underlined)', 'underlined'))}</li>"
        for text in table.footers
    )
    same = f'<p class="soft">The same in all rows: {esc(constants)}.</p>' if constants else ""
    same += "".join(f'<p class="soft">{esc(text)}.</p>' for text in _told(table, following))
    return f'<h3>{esc(title)}</h3>{same}{body}<ul class="notes">{footers}</ul>'


def _following(table: Table) -> dict[str, str]:
    """The roles that always change with another one, and that one: a column for both would say one thing twice."""
    roles = [column.name for column in table.columns if column.kind == "role" and column.name in ROLES]
    labels = [{role: str(row.entries[role]) for role in roles} for row in table.rows]
    return {role: group[0] for group in verdicts.together(labels) for role in group[1:]}


def _told(table: Table, following: Mapping[str, str]) -> list[str]:
    """``With generator dcgan: discriminator dcgan``, for each level of a role that others follow."""
    found: dict[str, None] = {}
    for leader in dict.fromkeys(following.values()):
        for row in table.rows:
            others = ", ".join(f"{role} {row.entries[role]}" for role, first in following.items() if first == leader)
            found[f"With {leader} {row.entries[leader]}: {others}"] = None
    return list(found)


def _data(heads: Sequence[tuple[str, Sequence[str], bool]], rows: Sequence[str], name: str, label: str) -> str:
    """A table with sort buttons and a filter; without scripts it is a plain table."""
    row = "".join(
        f'<th scope="col" aria-sort="none"{" class=number" if number else ""}>'
        f'<button type="button">{esc(text)}</button>'
        + "".join(f'<span class="about">{esc(part)}</span>' for part in about)
        + "</th>"
        for text, about, number in heads
    )
    return (
        f'<div class="filtered"><div class="tools"><label for="{name}">Filter rows</label>'
        f'<input id="{name}" type="search" autocomplete="off" spellcheck="false" '
        f'placeholder="words that a row must have">'
        f'<output for="{name}">{len(rows):,} rows</output></div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(label)}">'
        f'<table class="data"><thead><tr>{row}</tr></thead><tbody>{"".join(rows)}</tbody></table></div></div>'
    )


def _entry(row: Row, name: str, kind: str) -> str:
    entry = row.entries[name]
    if kind in ("role", "fact"):
        return f'<td class="label" data-v="{esc(entry)}">{esc(entry)}</td>'
    if isinstance(entry, Tally):
        failed = f' <span class="failed">{esc(entry.failed)}</span>' if entry.failures else ""
        share = entry.ok / entry.total if entry.total else 0
        return f'<td class="number" data-v="{share:.4f}">{esc(entry)}{failed}</td>'
    if isinstance(entry, Estimate):
        best = " best" if name in row.best else " tied" * (name in row.tied)
        unsure = "~" if row.shared and kind in ("time", "ratio") else ""
        text = (
            ratio(entry)
            if kind == "ratio"
            else esc(change_text(entry, kind))
            if kind in ("change", "percent", "share")
            else _estimate(entry)
        )
        return f'<td class="number{best}" data-v="{entry.mean!r}">{unsure}{text}</td>'
    if entry is None:
        return '<td class="number" data-v="">' + DASH + "</td>"
    order = ("" if entry.p is None else repr(entry.p)) if isinstance(entry, PValue) else esc(entry)
    return f'<td class="number" data-v="{order}">{esc(entry)}</td>'


def _estimate(estimate: Estimate) -> str:
    """``97 <±12>`` or ``97 <+13 −11>``: the spread to two significant digits, and the mean to the same place."""
    half = estimate.half
    if half is None or estimate.low is None or estimate.high is None or not math.isfinite(half):
        return f'<span class="mean">{plain(estimate.mean)}</span>'
    if half == 0:
        return f'<span class="mean">{plain(estimate.mean)}</span> <span class="spread">± 0</span>'
    places = min(max(1 - math.floor(math.log10(half)), 0), 6)
    up, down = (f"{x:,.{places}f}" for x in (estimate.high - estimate.mean, estimate.mean - estimate.low))
    spread = f"± {up}" if up == down else f"+{up} {MINUS}{down}"
    return f'<span class="mean">{signed(estimate.mean, places)}</span> <span class="spread">{spread}</span>'


def _trials(results: Results) -> str:
    """Every trial of the plan as a row, by data set, with those that have no result yet."""
    finished = {(r.cell, r.seed): r for r in results.trials}
    parts = []
    for i, (dataset, cells) in enumerate(by_dataset(results).items()):
        roles = [roles[0] for roles in verdicts.together([cell.labels for cell in cells])] or ["regularizer"]
        found = [finished.get((cell.cell, seed)) for cell in cells for seed in cell.seeds]
        measures = list(dict.fromkeys(name for r in found if r for name in r.measures))
        heads: list[tuple[str, Sequence[str], bool]] = [
            *((role, (), False) for role in roles),
            ("seed", (), True),
            ("status", (), False),
        ]
        heads += [(name, (), True) for measure in measures for name in (measure, f"{measure} ema")]
        heads += [("step ms", (), True), ("message", (), False)]
        rows = []
        for cell in cells:
            names = "".join(
                f'<td class="label" data-v="{esc(cell.labels.get(role, ""))}">{esc(cell.labels.get(role, ""))}</td>'
                for role in roles
            )
            rows += [
                f"<tr>{names}{_trial(finished.get((cell.cell, seed)), seed, measures)}</tr>" for seed in cell.seeds
            ]
        parts.append(
            f"<details><summary>{esc(dataset)}: every trial ({len(rows):,})</summary>"
            f"{_data(heads, rows, f'r{i}', f'{dataset}: every trial')}</details>"
        )
    return "".join(parts)


def _trial(record: Record | None, seed: int, measures: Sequence[str]) -> str:
    status = record.status if record else "missing"
    kind = "failed" if status in FAILED else ""
    cells = [f'<td class="number" data-v="{seed}">{seed}</td><td data-v="{status}" class="{kind}">{esc(status)}</td>']
    numbers: list[float | None] = []
    for name in measures:
        value = record.measures.get(name) if record else None
        numbers += [value.last, value.ema] if value else [None, None]
    numbers.append(record.timing.get(STEP) if record else None)
    cells += [
        f'<td class="number" data-v="">{DASH}</td>'
        if number is None
        else f'<td class="number" data-v="{number!r}">{plain(number)}</td>'
        for number in numbers
    ]
    reason = esc(record.reason if record else "not run yet")
    return "".join(cells) + f'<td class="message" data-v="{reason}">{reason}</td>'
