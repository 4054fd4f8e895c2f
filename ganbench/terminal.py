"""Tables for a terminal: never wider than it, and nothing left out without a word."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ganbench.numerals import (
    NOTHING,
    REAL,
    change_text,
    column_numbers,
    entry_text,
    estimates_of,
    fixed_labels,
    header_of,
    named_labels,
    ratio_text,
)
from ganbench.records import ROLES
from ganbench.stats import Estimate
from ganbench.table import AVERAGED, OK, Column, Row, Table, Tally
from ganbench.text import GAP, longest_word, pad, plural, printable, share, width_of, wrap

LEAST = 16
"""Columns of values are left out before one of labels gets narrower than this."""
ROOMY = 32
"""A column of labels that is narrower than this and than its widest one has no averages or minor columns beside it."""


@dataclass(frozen=True)
class _Stack:
    """One column of the terminal: header lines and a text with its style for each row and for the floor."""

    column: Column
    head: tuple[str, ...]
    cells: tuple[str, ...]
    width: int


class Terminal:
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
            if width_of(longer.rstrip()) <= room:
                lines[-1] = longer
            else:
                lines[-1] += between.rstrip() if i and between.strip() in ",;" else ""
                lines += wrap(item, room)
        for i, line in enumerate(lines if lines[0] else lines[1:]):
            self.line((" " * (indent + 2 * (i > 0)) + line, style))

    def table(self, table: Table, footers: Sequence[str]) -> None:
        self.wrapped(table.title or "results", "bold")
        if fixed := fixed_labels(table):
            self.items(fixed, "dim", between=" · ")
        if table.rows:
            self.body(table)
        else:
            self.line(("no trial has a result yet" if not table.skipped else "every cell is skipped", ""))
        for skip in table.skipped:
            n = len(skip.cells)
            self.wrapped(f"{plural(n, 'cell')} skipped: {skip.reason}", "yellow")
            self.items(skip.cells, "dim", indent=2, between="; ")
        for footer in footers:
            self.wrapped(footer, "dim")

    def body(self, table: Table) -> None:
        """Header, rows and floor; roles outside the last one are headings where that saves space."""
        roles = [c for c in table.columns if c.kind == "role" and c.name in (*ROLES, "measure")]
        inner = next((c for c in roles if c.name == "regularizer"), roles[-1] if roles else None)
        outer = [c for c in roles if c is not inner]
        sections: dict[str, list[int]] = {}
        for i, row in enumerate(table.rows):
            name = " · ".join(named_labels({c.name: str(row.entries[c.name]) for c in outer if row.entries[c.name]}))
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
        elif width_of(name) + 4 <= width:
            self.line(("── ", "dim"), (name, "bold cyan"), (" " + "─" * (width - 4 - width_of(name)), "dim"))
        else:
            self.wrapped(name, "bold cyan")

    def fit(self, table: Table, labels: Sequence[Column], values: Sequence[Column]) -> tuple[list[_Stack], list[str]]:
        """The columns that fit, in order, and the names of those that do not, dropped by their ``keep``."""
        short = False
        left_out: list[Column] = []
        intervals = any(c.kind == "ratio" or c.log for c in values)
        texts = {c.name: [printable(entry_text(row.entries[c.name])) for row in table.rows] for c in labels}
        if labels and any(c.floor is not None for c in values):
            texts[labels[0].name].append(REAL)
        natural = [max(map(width_of, [printable(c.header), *texts[c.name]])) for c in labels]
        words = [longest_word([printable(c.header), *texts[c.name]]) for c in labels]
        # a column narrower than its longest word breaks it, which is better than to lose a measure
        few = 8 if len(labels) > 1 else LEAST
        least = [min(n, max(w, few), LEAST) for n, w in zip(natural, words, strict=True)]
        roomy = [max(low, min(n, ROOMY)) for n, low in zip(natural, least, strict=True)]
        gaps = GAP * max(0, len(labels) - 1)
        while True:
            kept = [c for c in values if c not in left_out]
            stacks = [_stack(table, c, short=short) for c in kept]
            room = self.width - sum(s.width + GAP for s in stacks) - gaps
            # labels are narrowed before a measure is lost, but not to keep what is of less interest
            wanted = (
                roomy
                if any(c.keep <= AVERAGED for c in kept if c.kind != "ok") and not (intervals and not short)
                else least
            )
            if room >= sum(wanted) or not kept:
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
        if short:
            names += ["the shorter sides of intervals"] * any(c.log for c in kept)
            names += ["intervals of ratios"] * any(c.kind == "ratio" for c in kept)
        return [*front, *stacks], names

    def header(self, stacks: Sequence[_Stack]) -> None:
        """The header, its columns standing on the rule below."""
        tall = max(len(s.head) for s in stacks)
        for k in range(tall):
            parts = []
            for s in stacks:
                skip = tall - len(s.head)
                text = s.head[k - skip] if k >= skip else ""
                parts.append((pad(text, s.width, left=s.column.kind in ("role", "fact")) + " " * GAP, "bold"))
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
                parts.append((pad(text, s.width, left=True) + " " * GAP, style))
            for s in stacks[len(labels) :] if k == 0 else ():
                parts += [*_styled(s, row, i, lost=lost), (" " * GAP, "")]
            self.line(*parts)
        if row is not None and row.note:
            self.wrapped(row.note, "red", indent=4)


def _stack(table: Table, column: Column, *, short: bool) -> _Stack:
    """A column of values; ``short``: ratios without their interval, others with one side of it."""
    entries = [row.entries.get(column.name) for row in table.rows]
    if column.kind in ("change", "percent", "share"):
        cells = [change_text(e if isinstance(e, Estimate) else None, column.kind) for e in entries] + [""]
    elif column.kind in ("ok", "test") or any(isinstance(e, str) for e in entries):
        cells = [printable(entry_text(e)) for e in entries] + [""]
    else:
        shown = column_numbers(table, column, short=short)
        if column.kind == "ratio":
            cells = [ratio_text(e, short=short) for e in estimates_of(table, column)]
        elif column.kind == "time":
            marks = ["~" if row.shared else "" for row in table.rows] + [""]
            cells = [f"{m}{n.mean}" if n else NOTHING for m, n in zip(marks, shown, strict=True)]
        else:
            wide = max((width_of(n.half) for n in shown if n), default=0)
            starred = any(column.name in row.best | row.tied for row in table.rows)
            marks = ["*" if column.name in row.best else "~" * (column.name in row.tied) for row in table.rows] + [""]
            cells = [
                f"{n.mean}{n.half}{m}".ljust(len(n.mean) + max(0, wide + starred - n.extra)) if n else NOTHING
                for n, m in zip(shown, marks, strict=True)
            ]
        cells[-1] = cells[-1] if column.floor is not None else ""
    content = max(map(width_of, cells), default=0)
    whole = re.sub(r" (?=[↑↓])|(?<=Δ) ", "\xa0", header_of(column))  # a sign stays with its word
    head = wrap(whole, max(content, min(longest_word([whole]), 14)))
    return _Stack(
        column, tuple(line.replace("\xa0", " ") for line in head), tuple(cells), max(content, *map(width_of, head))
    )


def _styled(stack: _Stack, row: Row | None, i: int, *, lost: bool) -> list[tuple[str, str]]:
    """A cell in its column: the mean loud, its uncertainty quiet."""
    text = pad(stack.cells[i], stack.width, left=False)
    if row is None:
        return [(text, "dim italic")]
    entry = row.entries.get(stack.column.name)
    if isinstance(entry, Tally):
        return [(text, "red" if lost else "yellow" if entry.failures else "green")]
    if entry is None:
        return [(text, "dim")]
    style = "bold green" if stack.column.name in row.best else "underline" if stack.column.name in row.tied else ""
    at = re.search(r"[±[]|(?<=\d)\+", text)
    if not isinstance(entry, Estimate) or at is None:
        return [(text, style)]
    tail = text[at.start() :]
    blank = len(text) - len(text.lstrip(" "))
    return [
        (text[:blank], ""),
        (text[blank : at.start()], style),
        (tail.rstrip("*~ "), "dim"),
        (tail[len(tail.rstrip("*~ ")) :], style.replace("underline", "")),
    ]
