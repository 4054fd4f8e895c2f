"""Tables for documents: Markdown, and LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ganbench.numerals import REAL, Number, change_text, column_numbers, entry_text, fixed_labels, header_of, ratio_text
from ganbench.stats import Estimate
from ganbench.table import Column, Row, Table, Tally
from ganbench.text import printable


def _documents(
    table: Table, columns: Sequence[Column], escape: Callable[[str], str], number: Callable[[Number, str], str]
) -> Iterable[list[str]]:
    """The rows of a Markdown or LaTeX table, the floor last."""
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


def _about(table: Table) -> list[str]:
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
            rows = _documents(table, columns, _md, _md_number)
            block += [f"| {' | '.join(cells)} |" for cells in rows]
            block.append("")
        blocks.append("\n".join([*block, *(f"- {_md(line)}" for line in _about(table))]))
    return "\n\n".join(blocks) + "\n"


def _md_number(number: Number, mark: str) -> str:
    marks = {"best": f"**{number.mean}**", "tied": f"<ins>{number.mean}</ins>"}  # which GitHub underlines
    return marks.get(mark, number.mean) + (f" {number.half}" if number.half else "")


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after \\ a bracket would be an optional argument
    "]": "{]}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "Δ": r"$\Delta$",
    "×": r"$\times$",  # noqa: RUF001 # the sign itself
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": "--",  # noqa: RUF001 # the dash itself
    "—": "---",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in printable(text))


_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Opens a box that is no wider than the text: a wide table is scaled down rather than run off the page."""


def latex(tables: Sequence[Table]) -> str:
    """``tables`` as LaTeX, which needs booktabs and graphicx."""
    blocks = [r"% needs \usepackage{booktabs} and \usepackage{graphicx}"]
    for table in tables:
        fixed = " · ".join(fixed_labels(table))
        columns = table.columns
        caption = _tex(". ".join(x for x in (table.title, fixed) if x))
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
        if table.rows:
            shape = "".join("l" if c.kind in ("role", "fact") else "r" for c in columns)
            lines += [rf"{_FITTED}\begin{{tabular}}{{{shape}}}", r"\toprule"]
            lines += [" & ".join(_tex(header_of(c)) for c in columns) + r" \\", r"\midrule"]
            rows = [" & ".join(cells) + r" \\" for cells in _documents(table, columns, _tex, _tex_number)]
            lines += rows[: len(table.rows)]
            if floor := rows[len(table.rows) :]:
                lines += [r"\midrule", *floor]
            lines += [r"\bottomrule", r"\end{tabular}}"]
        about = _about(table)
        if about:
            lines += ["", r"\smallskip", *(rf"{{\footnotesize {_tex(line)}\par}}" for line in about)]
        blocks.append("\n".join([*lines, r"\end{table}"]))
    return "\n\n".join(blocks) + "\n"


def _tex_number(number: Number, mark: str) -> str:
    commands = {"best": r"\mathbf", "tied": r"\underline"}
    mean = f"{commands[mark]}{{{number.mean}}}" if mark else number.mean
    half = number.half.replace("±", r" \pm ")
    return f"${mean}{half}$"
