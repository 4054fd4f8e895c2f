"""Tables for documents: Markdown and HTML."""

from __future__ import annotations

import html as escaping
import re
from collections.abc import Callable, Iterable, Sequence

from ganbench.numerals import REAL, Number, change_text, column_numbers, entry_text, fixed_labels, header_of, ratio_text
from ganbench.stats import Estimate
from ganbench.table import Column, Row, Table, Tally
from ganbench.text import printable


def documents(
    table: Table, columns: Sequence[Column], escape: Callable[[str], str], number: Callable[[Number, str], str]
) -> Iterable[list[str]]:
    """The rows of a table in a language that ``escape`` and ``number`` (a number and ``best``, ``tied`` or none) know.

    The floor comes last.
    """
    shown = {c.name: column_numbers(table, c) for c in columns}

    def cell(row: Row, i: int, column: Column) -> str:
        entry = row.entries.get(column.name)
        value = shown[column.name][i]
        if isinstance(entry, Tally):
            return escape(f"{entry} ({entry.failed})" if entry.failures else str(entry))
        if column.kind in ("change", "percent", "share"):
            return escape(change_text(entry if isinstance(entry, Estimate) else None, column.kind))
        if column.kind == "ratio" and isinstance(entry, Estimate):
            return escape(ratio_text(entry, short=False).strip())
        if column.kind == "time" and value:
            return escape("~" * row.shared) + number(Number(value.mean, ""), "")
        mark = "best" if column.name in row.best else "tied" * (column.name in row.tied)
        return number(value, mark) if value else escape(printable(entry_text(entry)))

    for i, row in enumerate(table.rows):
        yield [cell(row, i, column) for column in columns]
    if any(c.floor is not None for c in columns):
        floors = [shown[c.name][-1] for c in columns]
        yield [escape(REAL), *(number(f, "") if f else "" for f in floors[1:])]


def about_of(table: Table) -> list[str]:
    """What stands under a table in a document: failures, skipped cells, footers."""
    lines = []
    for row in table.rows:
        if row.note:
            name = " · ".join(entry_text(row.entries[c.name]) for c in table.columns if c.kind == "role")
            lines.append(f"{name}: {row.note}.")
    lines += [f"Skipped, {s.reason}: {'; '.join(s.cells)}." for s in table.skipped]
    return [printable(line) for line in (*lines, *table.footers)]


_MD = re.compile(r"[\\|*`<>\[\]~]|(?<![^\W_])_|_(?![^\W_])")


def _md(text: str) -> str:
    return _MD.sub(lambda m: "\\" + m.group(), printable(text)).replace("&", "&amp;")


def markdown(tables: Sequence[Table]) -> str:
    """``tables`` as Markdown."""
    blocks = []
    for table in tables:
        fixed = " · ".join(fixed_labels(table))
        block = [f"**{_md(table.title or 'results')}**" + (f" — {_md(fixed)}" if fixed else ""), ""]
        if table.rows:
            columns = table.columns
            block.append(f"| {' | '.join(_md(header_of(c)) for c in columns)} |")
            rule = ["---" if c.kind in ("role", "fact") else "---:" for c in columns]
            block.append(f"| {' | '.join(rule)} |")
            rows = documents(table, columns, _md, _md_number)
            block += [f"| {' | '.join(cells)} |" for cells in rows]
            block.append("")
        blocks.append("\n".join([*block, *(f"- {_md(line)}" for line in about_of(table))]))
    return "\n\n".join(blocks) + "\n"


def _md_number(number: Number, mark: str) -> str:
    marks = {"best": f"**{number.mean}**", "tied": f"<ins>{number.mean}</ins>"}  # which GitHub underlines
    return marks.get(mark, number.mean) + (f" {number.half}" if number.half else "")


def _html(text: str) -> str:
    return escaping.escape(printable(text))


def html(tables: Sequence[Table]) -> str:
    """``tables`` as a fragment of HTML that needs no style sheet: to be put into a page, a notebook or a wiki."""
    blocks = []
    for table in tables:
        about = about_of(table)
        lines = ["<figure>"]
        fixed = " · ".join(fixed_labels(table))
        title = f"<strong>{_html(table.title or 'results')}</strong>" + (f"<br>{_html(fixed)}" if fixed else "")
        if table.rows:
            columns = table.columns
            align = [f' style="padding:.2em .6em;text-align:{side}"' for side in map(_side, columns)]
            rows = list(documents(table, columns, _html, _html_number))
            lines += ['<div style="overflow-x:auto"><table style="border-collapse:collapse">']
            lines += [f'<caption style="text-align:left">{title}</caption>']
            heads = [f'<th scope="col"{a}>{_html(header_of(c))}</th>' for c, a in zip(columns, align, strict=True)]
            lines += [f'<thead style="border-bottom:1px solid"><tr>{"".join(heads)}</tr></thead>', "<tbody>"]
            made = [
                "<tr>" + "".join(f"<td{a}>{x}</td>" for x, a in zip(row, align, strict=True)) + "</tr>" for row in rows
            ]
            lines += [*made[: len(table.rows)], "</tbody>"]
            if floor := made[len(table.rows) :]:
                lines += ['<tfoot style="border-top:1px solid">', *floor, "</tfoot>"]
            lines += ["</table></div>"]
        else:
            lines += [f"<p>{title}</p>"]
        if about:
            lines += ["<figcaption><ul>", *(f"<li>{_html(line)}</li>" for line in about), "</ul></figcaption>"]
        blocks.append("\n".join([*lines, "</figure>"]))
    return "\n".join(blocks) + "\n"


def _side(column: Column) -> str:
    return "left" if column.kind in ("role", "fact") else "right"


def _html_number(number: Number, mark: str) -> str:
    tag = {"best": "strong", "tied": "u"}.get(mark)
    mean = f"<{tag}>{number.mean}</{tag}>" if tag else number.mean
    return mean + (f"<small>&nbsp;{number.half}</small>" if number.half else "")
