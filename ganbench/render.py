"""Tables as text: for a terminal (never wider than it, nothing cut without a word), Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ganbench.errors import ConfigError, nearest
from ganbench.records import ROLES
from ganbench.stats import Estimate
from ganbench.table import AVERAGED, OK, Column, Entry, Row, Table, Tally

GAP = 2
LEAST = 16
"""Columns of values are left out before one of labels gets narrower than this."""
STYLES = ("rich", "md", "latex", "csv", "json")
NOTHING = "–"  # noqa: RUF001 # an en dash is meant: a minus would look like a number
REAL = "real vs real"


def render(
    tables: Table | Sequence[Table], style: str = "rich", *, width: int | None = None, color: bool | None = None
) -> str:
    """``tables`` as text.

    Args:
        tables: one or several; footers that all share are said once.
        style: ``rich`` for people, ``md``, ``latex``, ``csv`` (raw numbers, one header), ``json``.
        width: of the ``rich`` style, in terminal cells; that of the terminal by default, 80 without one.
        color: whether the ``rich`` style has escape codes; by default if standard output is a terminal.

    Raises:
        ConfigError: there is no such style.
    """
    several = [tables] if isinstance(tables, Table) else list(tables)
    if style == "rich":
        return _Terminal(width or terminal_width(), color=wants_color() if color is None else color).text(several)
    styles: Mapping[str, Callable[[Sequence[Table]], str]] = {
        "md": _markdown,
        "latex": _latex,
        "csv": _csv,
        "json": _json,
    }
    if style not in styles:
        raise ConfigError(f"no table style {style!r}", place="--format", hint=nearest(style, STYLES))
    return styles[style](several)


def terminal_width() -> int:
    """``COLUMNS``, or the width of the terminal on any standard stream, or 80."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return max(1, int(os.environ["COLUMNS"]))
    for stream in (1, 2, 0):  # the output's first
        try:
            return os.get_terminal_size(stream).columns or 80
        except OSError:
            continue
    return 80


def wants_color() -> bool:
    """Whether standard output is a terminal that may be coloured (https://no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """``text`` on one line, with whatever could move a cursor or break an encoding shown as an escape."""
    flat = " ".join(text.split(None)) if any(c in text for c in "\n\r\t") else text
    return "".join(
        c if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") else c.encode("unicode_escape").decode()
        for c in flat
    )


# Numbers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """An estimate as text, ``12.3`` and ``±0.4``; ``extra``: how many characters more than its column's."""

    mean: str
    half: str = ""
    extra: int = 0


def numbers(estimates: Sequence[Estimate | None]) -> list[Number | None]:
    """One column of estimates with one number of decimals, so that points stand below each other.

    The typical half-width decides: two significant digits if they begin with 1 or 2, else one, as physicists print
    uncertainties. Without half-widths means get three significant digits. A mean that is too small for that has more
    decimals.
    """
    given = [e for e in estimates if e is not None]
    halves = sorted(e.half for e in given if e.half)
    means = sorted(abs(e.mean) for e in given if e.mean)
    if halves:
        decimals = _decimals(halves[len(halves) // 2])
    else:
        decimals = 2 - math.floor(math.log10(means[len(means) // 2])) if means else 1
    decimals = min(max(decimals, 0), 6)
    return [None if e is None else _number(e, decimals) for e in estimates]


def _decimals(half: float) -> int:
    power = math.floor(math.log10(half))
    return (half / 10.0**power < 3) - power


def _number(estimate: Estimate, decimals: int) -> Number:
    size, half = abs(estimate.mean), estimate.half
    more = decimals
    if 0 < size < (2 if half else 10) * 10**-decimals:  # one digit or none would be left
        digits = -math.floor(math.log10(size))
        more = max(decimals, min(_decimals(half), digits + 2) if half else digits + 1)
    if size >= 1e7 or more > 6:
        return Number(_scientific(estimate.mean), "" if half is None else f"±{_scientific(half)}")
    extra = more - decimals + (decimals == 0 and more > 0)
    return Number(f"{estimate.mean:.{more}f}", "" if half is None else f"±{half:.{more}f}", extra)


def _scientific(x: float) -> str:
    mantissa, _, power = f"{x:.1e}".partition("e")
    return f"{mantissa}e{int(power)}"


def _estimates(table: Table, column: Column) -> list[Estimate | None]:
    """The column's entries, then its floor."""
    entries = [row.entries.get(column.name) for row in table.rows]
    floor = None if column.floor is None else Estimate(column.floor, None, None, 1)
    return [*(e if isinstance(e, Estimate) else None for e in entries), floor]


def _numbers(table: Table, column: Column) -> list[Number | None]:
    """The column's numbers; times stand without intervals, for which their ratios are there."""
    estimates = _estimates(table, column)
    if column.kind == "time":
        estimates = [None if e is None else Estimate(e.mean, None, None, e.n) for e in estimates]
    return numbers(estimates)


def _fixed(table: Table) -> list[str]:
    """What all rows share."""
    return _named({role: label for role, label in table.constants.items() if role != "dataset"})


def _named(labels: Mapping[str, str]) -> list[str]:
    """``generator/discriminator mlp``, ``loss hinge``: roles with their labels, equal networks once."""
    roles: dict[str, str] = {}
    both = labels.get("generator"), labels.get("discriminator")
    for role, label in labels.items():
        if both[0] != both[1] or role not in ("generator", "discriminator"):
            roles[role] = label
        elif role == "generator":
            roles["generator/discriminator"] = label
    return [f"{role} {label}" for role, label in roles.items()]


def _arrow(column: Column) -> str:
    if column.kind != "measure" or column.better is None:
        return ""
    return "↓" if column.better == "lower" else "↑"


def _head(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit and column.kind == "measure" else ""
    return printable(f"{column.header}{unit} {_arrow(column)}".strip())


# The terminal ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stack:
    """One column of the terminal: header lines and a text with its style for each row and for the floor."""

    column: Column
    head: tuple[str, ...]
    cells: tuple[str, ...]
    width: int


class _Terminal:
    """Lays tables out for a terminal of ``width`` cells."""

    def __init__(self, width: int, *, color: bool) -> None:
        from rich.console import Console

        self.width = width
        self.out = io.StringIO()
        self.console = Console(
            file=self.out,
            width=width,
            force_terminal=color,
            color_system="standard" if color else None,
            legacy_windows=False,
            markup=False,
            highlight=False,
            emoji=False,
            _environ={},
        )

    def text(self, tables: Sequence[Table]) -> str:
        everywhere = [f for f in tables[0].footers if all(f in t.footers for t in tables)] if tables else []
        for i, table in enumerate(tables):
            if i:
                self.line()
            self.table(table, [f for f in table.footers if f not in everywhere])
        if len(tables) > 1 and everywhere:
            self.line()
        for footer in everywhere:
            self.wrapped(footer, "dim")
        return self.out.getvalue()

    def line(self, *parts: tuple[str, str]) -> None:
        """One line of (text, style) pairs, without trailing blanks."""
        from rich.text import Text

        line = Text.assemble(*parts, end="\n")
        line.rstrip()
        self.console.print(line, soft_wrap=True)

    def wrapped(self, text: str, style: str, *, indent: int = 0) -> None:
        """A paragraph; its first line is indented by ``indent``, the others by two more."""
        self.items([*printable(text).split(" ")], style, indent=indent, between=" ")

    def items(self, items: Iterable[str], style: str, *, indent: int = 0, between: str) -> None:
        """A list on as few lines as it needs, each item on one line if it fits."""
        room = max(1, self.width - indent - 2)
        lines = [""]
        for i, item in enumerate(map(printable, items)):
            longer = lines[-1] + between + item if i else item
            if _cells(longer.rstrip()) <= room:
                lines[-1] = longer
            else:
                lines[-1] += between.rstrip() if i and between.strip() in ",;" else ""
                lines += wrap(item, room)
        for i, line in enumerate(lines if lines[0] else lines[1:]):
            self.line((" " * (indent + 2 * (i > 0)) + line, style))

    def table(self, table: Table, footers: Sequence[str]) -> None:
        self.wrapped(table.title or "results", "bold")
        if fixed := _fixed(table):
            self.items(fixed, "dim", between=" · ")
        if table.rows:
            self.body(table)
        else:
            self.line(("no trial has a result yet" if not table.skipped else "every cell is skipped", ""))
        for skip in table.skipped:
            n = len(skip.cells)
            self.wrapped(f"{n} {'cell' if n == 1 else 'cells'} skipped: {skip.reason}", "yellow")
            self.items(skip.cells, "dim", indent=2, between="; ")
        for footer in footers:
            self.wrapped(footer, "dim")

    def body(self, table: Table) -> None:
        """Header, rows and floor; roles outside the last one are headings where that saves space."""
        roles = [c for c in table.columns if c.kind == "role" and c.name in ROLES]
        inner = next((c for c in roles if c.name == "regularizer"), roles[-1] if roles else None)
        outer = [c for c in roles if c is not inner]
        sections: dict[str, list[int]] = {}
        for i, row in enumerate(table.rows):
            name = " · ".join(_named({c.name: str(row.entries[c.name]) for c in outer}))
            sections.setdefault(name, []).append(i)
        if not outer or len(table.rows) < 2 * len(sections):
            sections, outer = {"": list(range(len(table.rows)))}, []
        labels = [c for c in table.columns if c.kind in ("role", "fact") and c not in outer]
        values = [c for c in table.columns if c.kind not in ("role", "fact")]
        stacks, left_out = self.fit(table, labels, values)

        self.header(stacks)
        wide = sum(s.width + GAP for s in stacks) - GAP
        for name, members in sections.items():
            self.rule(name, wide)
            for i in members:
                self.row(table.rows[i], stacks, i)
        if any(s.cells[-1] for s in stacks if s.column.kind == "measure"):
            self.rule("", wide)
            self.row(None, stacks, len(table.rows))
        if left_out:
            self.items([f"Not shown in {self.width} columns: {left_out[0]}", *left_out[1:]], "yellow", between=", ")
            self.wrapped("(see a wider terminal, --measure NAME or --format csv)", "yellow", indent=2)

    def rule(self, name: str, width: int) -> None:
        """A rule across the table, with a heading on it."""
        name = printable(name)
        if not name:
            self.line(("─" * width, "dim"))
        elif _cells(name) + 4 <= width:
            self.line(("── ", "dim"), (name, "bold cyan"), (" " + "─" * (width - 4 - _cells(name)), "dim"))
        else:
            self.wrapped(name, "bold cyan")

    def fit(self, table: Table, labels: Sequence[Column], values: Sequence[Column]) -> tuple[list[_Stack], list[str]]:
        """The columns that fit, in order, and the names of those that do not, dropped by their ``keep``."""
        short = False
        left_out: list[Column] = []
        intervals = any(c.kind == "ratio" for c in values)
        texts = {c.name: [printable(_text(row.entries[c.name])) for row in table.rows] for c in labels}
        if labels and any(c.floor is not None for c in values):
            texts[labels[0].name].append(REAL)
        natural = [max(map(_cells, [printable(c.header), *texts[c.name]])) for c in labels]
        words = [longest_word([printable(c.header), *texts[c.name]]) for c in labels]
        # a column narrower than its longest word breaks it, which is better than to lose a measure
        least = [min(n, max(w, 8), LEAST) for n, w in zip(natural, words, strict=True)]
        gaps = GAP * max(0, len(labels) - 1)
        while True:
            kept = [c for c in values if c not in left_out]
            stacks = [_stack(table, c, short=short) for c in kept]
            room = self.width - sum(s.width + GAP for s in stacks) - gaps
            if room >= sum(least) or not kept:
                break
            if intervals and not short:
                short = True
            else:
                worst = min([c for c in kept if c.kind != "ok"] or kept, key=lambda c: c.keep)
                left_out += [c for c in kept if c is worst or max(c.keep, worst.keep) <= AVERAGED]
        if short and left_out:  # what was left out may have made room for the intervals
            long = [_stack(table, c, short=False) for c in kept]
            space = self.width - sum(s.width + GAP for s in long) - gaps
            if space >= sum(least):
                stacks, room, short = long, space, False
        widths = share(least, natural, max(room, len(labels)))
        front = [
            _Stack(c, tuple(wrap(printable(c.header), w)), tuple(texts[c.name]), w)
            for c, w in zip(labels, widths, strict=True)
        ]
        names = [c.header for c in values if c in left_out and not c.name.endswith("_ema")]
        emas = [c.header for c in values if c in left_out and c.name.endswith("_ema")]
        names += emas if len(emas) < 2 else ["the ema columns"]
        return [*front, *stacks], names + ["intervals of ratios"] * (short and any(c.kind == "ratio" for c in kept))

    def header(self, stacks: Sequence[_Stack]) -> None:
        """The header, its columns standing on the rule below."""
        tall = max(len(s.head) for s in stacks)
        for k in range(tall):
            parts = []
            for s in stacks:
                skip = tall - len(s.head)
                text = s.head[k - skip] if k >= skip else ""
                parts.append((_pad(text, s.width, left=s.column.kind in ("role", "fact")) + " " * GAP, "bold"))
            self.line(*parts)

    def row(self, row: Row | None, stacks: Sequence[_Stack], i: int) -> None:
        """One row on as many lines as its labels need; None is that of the floor."""
        labels = [s for s in stacks if s.column.kind in ("role", "fact")]
        if row is None:
            wrapped = [wrap(REAL, s.width) if s is labels[0] else [""] for s in labels]
        else:
            wrapped = [wrap(s.cells[i], s.width, indent=2) for s in labels]
        lost = row is not None and isinstance(tally := row.entries.get(OK), Tally) and tally.ok == 0
        for k in range(max(map(len, wrapped), default=1)):
            parts: list[tuple[str, str]] = []
            for s, lines in zip(labels, wrapped, strict=True):
                text = lines[k] if k < len(lines) else ""
                style = "dim italic" if row is None else "dim" if s.column.kind == "fact" else ""
                parts.append((_pad(text, s.width, left=True) + " " * GAP, style))
            for s in stacks[len(labels) :] if k == 0 else ():
                parts += [*_styled(s, row, i, lost=lost), (" " * GAP, "")]
            self.line(*parts)
        if row is not None and row.note:
            self.wrapped(row.note, "red", indent=4)


def _stack(table: Table, column: Column, *, short: bool) -> _Stack:
    """A column of values; ``short``: ratios without their interval."""
    entries = [row.entries.get(column.name) for row in table.rows]
    if column.kind == "ok" or any(isinstance(e, str) for e in entries):
        cells = [printable(_text(e)) for e in entries] + [""]
    else:
        shown = _numbers(table, column)
        if column.kind == "ratio":
            cells = [_interval(e, short=short) for e in _estimates(table, column)]
        elif column.kind == "time":
            marks = ["~" if row.shared else "" for row in table.rows] + [""]
            cells = [f"{m}{n.mean}" if n else NOTHING for m, n in zip(marks, shown, strict=True)]
        else:
            wide = max((_cells(n.half) for n in shown if n), default=0)
            starred = any(column.name in row.best for row in table.rows)
            marks = ["*" if column.name in row.best else "" for row in table.rows] + [""]
            cells = [
                f"{n.mean}{n.half}{m}".ljust(len(n.mean) + max(0, wide + starred - n.extra)) if n else NOTHING
                for n, m in zip(shown, marks, strict=True)
            ]
        cells[-1] = cells[-1] if column.floor is not None else ""
    content = max(map(_cells, cells), default=0)
    whole = _head(column).replace(" ↑", "\xa0↑").replace(" ↓", "\xa0↓")  # an arrow stays with its word
    head = wrap(whole, max(content, min(longest_word([whole]), 14)))
    return _Stack(
        column, tuple(line.replace("\xa0", " ") for line in head), tuple(cells), max(content, *map(_cells, head))
    )


def _interval(entry: Estimate | None, *, short: bool) -> str:
    if entry is None:
        return NOTHING
    if entry.low == entry.high == entry.mean == 1:  # the baseline itself
        return "1" if short else "1".ljust(14)
    text = f"{entry.mean:.2f}"
    if short or entry.low is None or entry.high is None:
        return text if short else text + " " * 13
    return text + f" [{entry.low:.2f}, {entry.high:.2f}]".ljust(13)


def _styled(stack: _Stack, row: Row | None, i: int, *, lost: bool) -> list[tuple[str, str]]:
    """A cell in its column: the mean loud, its uncertainty quiet."""
    text = _pad(stack.cells[i], stack.width, left=False)
    if row is None:
        return [(text, "dim italic")]
    entry = row.entries.get(stack.column.name)
    if isinstance(entry, Tally):
        return [(text, "red" if lost else "yellow" if entry.failures else "green")]
    if entry is None:
        return [(text, "dim")]
    style = "bold green" if stack.column.name in row.best else ""
    at = re.search("[±[]", text)
    if not isinstance(entry, Estimate) or at is None:
        return [(text, style)]
    tail = text[at.start() :]
    return [(text[: at.start()], style), (tail.rstrip("* "), "dim"), (tail[len(tail.rstrip("* ")) :], style)]


def _text(entry: Entry) -> str:
    return NOTHING if entry is None else str(entry)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return int(cell_len(text))


def _pad(text: str, width: int, *, left: bool) -> str:
    blank = " " * max(0, width - _cells(text))
    return text + blank if left else blank + text


BREAKS = re.compile(r"(?<=[ ,\-])(?<!\+ )(?! )|(?=\()")
"""Where a label may go on in the next line: after blanks, commas and hyphens, before brackets."""


def longest_word(texts: Iterable[str]) -> int:
    """Terminal cells of the longest piece that :func:`wrap` keeps together."""
    return max((_cells(word.rstrip(" ")) for text in texts for word in BREAKS.split(text)), default=0)


def wrap(text: str, width: int, *, indent: int = 0) -> list[str]:
    """``text`` in lines of at most ``width`` terminal cells, all but the first indented."""
    indent = min(indent, width // 4)
    lines, line = [], ""
    for word in BREAKS.split(text):
        rest = word
        if _cells((line + rest).rstrip(" ")) > width and line.strip(" "):
            lines.append(line.rstrip(" "))
            line = " " * indent
        while _cells((line + rest).rstrip(" ")) > width:  # a word longer than a line
            cut = _cut(rest, width - _cells(line))
            lines.append(line + rest[:cut])
            line, rest = " " * indent, rest[cut:]
        line += rest
    return [*lines, line.rstrip(" ")] if line.strip(" ") or not lines else lines


def _cut(word: str, room: int) -> int:
    """Where to cut a long word: after the last punctuation that fits, or as far as it fits, at least one character."""
    fits = max((k for k in range(1, len(word)) if _cells(word[:k]) <= room), default=1)
    return next((k for k in range(fits, 1, -1) if word[k - 1] in "_=/:;."), fits)


def share(least: Sequence[int], natural: Sequence[int], room: int) -> list[int]:
    """Widths between least and natural that use ``room``: the narrowest wants are met first."""
    widths = list(least)
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    while sum(widths) < room and any(w < n for w, n in zip(widths, natural, strict=True)):
        growing = [k for k, n in enumerate(natural) if widths[k] < n]
        widths[min(growing, key=lambda k: widths[k])] += 1
    return widths


# Documents ---------------------------------------------------------------------------------------------------------


def _documents(
    table: Table, columns: Sequence[Column], escape: Callable[[str], str], number: Callable[[Number, bool], str]
) -> Iterable[list[str]]:
    """The rows of a Markdown or LaTeX table, the floor last."""
    shown = {c.name: _numbers(table, c) for c in columns}

    def cell(row: Row, i: int, column: Column) -> str:
        entry = row.entries.get(column.name)
        value = shown[column.name][i]
        if isinstance(entry, Tally):
            return escape(f"{entry} ({entry.failed})" if entry.failures else str(entry))
        if column.kind == "ratio" and isinstance(entry, Estimate):
            return escape(_interval(entry, short=False).strip())
        if column.kind == "time" and value:
            return escape("~" * row.shared) + number(Number(value.mean, ""), False)
        return number(value, column.name in row.best) if value else escape(printable(_text(entry)))

    for i, row in enumerate(table.rows):
        yield [cell(row, i, column) for column in columns]
    if any(c.floor is not None for c in columns):
        floors = [shown[c.name][-1] for c in columns]
        yield [escape(REAL), *(number(f, False) if f else "" for f in floors[1:])]


def _about(table: Table) -> list[str]:
    """What stands under a table in a document: failures, skipped cells, footers."""
    lines = []
    for row in table.rows:
        if row.note:
            name = " · ".join(_text(row.entries[c.name]) for c in table.columns if c.kind == "role")
            lines.append(f"{name}: {row.note}.")
    lines += [f"Skipped, {s.reason}: {'; '.join(s.cells)}." for s in table.skipped]
    return [printable(line) for line in (*lines, *table.footers)]


_MD = re.compile(r"[\\|*`<>\[\]~]|(?<![^\W_])_|_(?![^\W_])")


def _md(text: str) -> str:
    return _MD.sub(lambda m: "\\" + m.group(), printable(text)).replace("&", "&amp;")


def _markdown(tables: Sequence[Table]) -> str:
    blocks = []
    for table in tables:
        fixed = " · ".join(_fixed(table))
        block = [f"**{_md(table.title or 'results')}**" + (f" — {_md(fixed)}" if fixed else ""), ""]
        if table.rows:
            columns = table.columns
            block.append(f"| {' | '.join(_md(_head(c)) for c in columns)} |")
            rule = ["---" if c.kind in ("role", "fact") else "---:" for c in columns]
            block.append(f"| {' | '.join(rule)} |")
            rows = _documents(table, columns, _md, lambda n, best: (f"**{n.mean}**" if best else n.mean) + _spaced(n))
            block += [f"| {' | '.join(cells)} |" for cells in rows]
            block.append("")
        blocks.append("\n".join([*block, *(f"- {_md(line)}" for line in _about(table))]))
    return "\n\n".join(blocks) + "\n"


def _spaced(number: Number) -> str:
    return f" {number.half}" if number.half else ""


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
    "×": r"$\times$",  # noqa: RUF001 # the sign itself
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": "--",  # noqa: RUF001 # the dash itself
    "—": "---",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in printable(text))


def _latex(tables: Sequence[Table]) -> str:
    blocks = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        fixed = " · ".join(_fixed(table))
        columns = table.columns
        caption = _tex(". ".join(x for x in (table.title, fixed) if x))
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
        if table.rows:
            shape = "".join("l" if c.kind in ("role", "fact") else "r" for c in columns)
            lines += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule"]
            lines += [" & ".join(_tex(_head(c)) for c in columns) + r" \\", r"\midrule"]
            rows = [" & ".join(cells) + r" \\" for cells in _documents(table, columns, _tex, _tex_number)]
            lines += rows[: len(table.rows)]
            if floor := rows[len(table.rows) :]:
                lines += [r"\midrule", *floor]
            lines += [r"\bottomrule", r"\end{tabular}"]
        about = _about(table)
        if about:
            lines += ["", r"\smallskip", *(rf"{{\footnotesize {_tex(line)}\par}}" for line in about)]
        blocks.append("\n".join([*lines, r"\end{table}"]))
    return "\n\n".join(blocks) + "\n"


def _tex_number(number: Number, best: bool) -> str:  # noqa: FBT001 # a callback
    mean = rf"\mathbf{{{number.mean}}}" if best else number.mean
    half = number.half.replace("±", r" \pm ")
    return f"${mean}{half}$"


# Data --------------------------------------------------------------------------------------------------------------


def _data(table: Table, row: Row) -> dict[str, Any]:
    """A row with its raw numbers: NAME, NAME_low, NAME_high, NAME_n and NAME_floor for each estimate."""
    data: dict[str, Any] = dict(table.constants)
    for column in table.columns:
        entry, name = row.entries.get(column.name), column.name
        if isinstance(entry, Tally):
            data |= {OK: entry.ok, "total": entry.total, "failures": entry.failed}
        elif column.kind in ("measure", "time", "ratio") or isinstance(entry, Estimate):
            estimate = entry if isinstance(entry, Estimate) else Estimate(math.nan, None, None, 0)
            mean = None if math.isnan(estimate.mean) else estimate.mean
            data |= {name: mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high, f"{name}_n": estimate.n}
            if column.kind == "measure":
                data |= {f"{name}_floor": column.floor, f"{name}_best": name in row.best}
        else:
            data[name] = entry
    return data | {"shared_timing": row.shared, "note": row.note}


def _csv(tables: Sequence[Table]) -> str:
    rows: list[dict[str, Any]] = []
    for table in tables:
        rows += [{"table": table.title} | _data(table, row) for row in table.rows]
        rows += [
            {"table": table.title, **labels, OK: 0, "total": 0, "failures": "skipped", "note": skip.reason}
            for skip in table.skipped
            for labels in skip.labels
        ]
    head = list(dict.fromkeys(["table", *(r for r in ROLES if any(r in row for row in rows)), *_keys(rows)]))
    out = io.StringIO()
    writer = csv.DictWriter(out, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: printable(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def _keys(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Every key, in order of appearance, those that explain a row last."""
    keys = dict.fromkeys(key for row in rows for key in row)
    last = ("shared_timing", "note")
    return [*(k for k in keys if k not in last), *(k for k in last if k in keys)]


def _json(tables: Sequence[Table]) -> str:
    value = [
        {
            "title": table.title,
            "constants": dict(table.constants),
            "columns": [asdict(column) for column in table.columns],
            "rows": [_data(table, row) for row in table.rows],
            "skipped": [asdict(skip) for skip in table.skipped],
            "footers": list(table.footers),
        }
        for table in tables
    ]
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
