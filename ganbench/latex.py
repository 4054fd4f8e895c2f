"""Tables as LaTeX, with booktabs: they compile, fit the page, and say what they leave out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ganbench.documents import about_of, documents
from ganbench.numerals import Number, fixed_labels, header_of
from ganbench.table import AVERAGED, Column, Table
from ganbench.text import printable

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
    "~": r"$\sim$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # \textquotedbl is not in every encoding
    "--": "-{}-",  # which would be a dash
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
    "−": "$-$",  # noqa: RUF001 # the sign itself
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
}
_GREEK = re.compile("GREEK (SMALL|CAPITAL) LETTER (?!OMICRON)([A-Z]+)")
_CAPITALS = ("GAMMA", "DELTA", "THETA", "LAMDA", "XI", "PI", "SIGMA", "UPSILON", "PHI", "PSI", "OMEGA")
"""Those that do not look like Latin letters, and so have commands of their own."""
_TEX_SPLIT = re.compile(r"--|.", re.DOTALL)
LATIN = 0x17F
"""Letters up to here are in the fonts of any LaTeX."""


def _tex(text: str) -> str:
    return "".join(_TEX.get(c) or _plain(c) for c in _TEX_SPLIT.findall(printable(text)))


def _plain(character: str) -> str:
    """A character that LaTeX sets without more packages: itself, its base letters, or its number."""
    if character.isascii() or (character.isalpha() and ord(character) <= LATIN):
        return character
    greek = _GREEK.fullmatch(unicodedata.name(character, ""))
    if greek and (greek[1] == "SMALL" or greek[2] in _CAPITALS):
        name = greek[2].lower().replace("lamda", "lambda")
        return rf"$\{name if greek[1] == 'SMALL' else name.capitalize()}$"
    base = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_TEX.get(c, c) for c in base) or f"U+{ord(character):04X}"


_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Opens a box that is no wider than the text: a wide table is scaled down rather than run off the page."""


WIDE = 130
"""Characters in a row from which a LaTeX table leaves columns out: scaled to a page it could not be read."""
ROWS = 32
"""Rows of one LaTeX table; longer ones go on in another."""
NOTES = 2500
"""Characters of notes that stand with a LaTeX table; more of them follow it as text, which may break over pages."""


def latex(tables: Sequence[Table]) -> str:
    """``tables`` as LaTeX, which needs booktabs and graphicx."""
    blocks = [r"% needs \usepackage{booktabs} and \usepackage{graphicx}"]
    for table in tables:
        columns, left_out = _fitting(table)
        caption = _tex(". ".join(x for x in (table.title, " · ".join(fixed_labels(table))) if x))
        shape = "".join("l" if c.kind in ("role", "fact") else "r" for c in columns)
        head = [" & ".join(_tex(header_of(c)) for c in columns) + r" \\", r"\midrule"]
        rows = [" & ".join(cells) + r" \\" for cells in documents(table, columns, _tex, _tex_number)]
        rows, floor = rows[: len(table.rows)], rows[len(table.rows) :]
        parts = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)] or [[]]
        about = about_of(table)
        if left_out:
            about.insert(0, f"Not shown: {', '.join(left_out)}.")
        notes = [rf"{{\raggedright\footnotesize {_tex(line)}\par}}" for line in about]
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            of = f" ({i + 1} of {len(parts)})" if len(parts) > 1 else ""
            lines = [
                r"\begin{table}[htbp]",
                r"\centering",
                rf"\caption{{{caption}{of}}}",
                r"\renewcommand{\arraystretch}{1.15}",
            ]
            if part:
                lines += [rf"{_FITTED}\begin{{tabular}}{{{shape}}}", r"\toprule", *head, *part]
                lines += [r"\midrule", *floor] if floor and last else []
                lines += [r"\bottomrule", r"\end{tabular}}"]
            within = last and sum(map(len, about)) <= NOTES
            lines += ["", r"\smallskip", *notes] if notes and within else []
            blocks.append("\n".join([*lines, r"\end{table}", *([] if within or not last else ["", *notes])]))
    return "\n\n".join(blocks) + "\n"


def _fitting(table: Table) -> tuple[list[Column], list[str]]:
    """The columns that a page has room for, and the headers of those left out by their ``keep``."""
    columns = list(table.columns)
    rows = list(documents(table, columns, printable, lambda n, _: f"{n.mean} {n.half}"))
    widths = {c.name: max([len(header_of(c)), *(len(row[i]) for row in rows)]) + 2 for i, c in enumerate(table.columns)}
    while sum(widths[c.name] for c in columns) > WIDE:
        loose = [c for c in columns if c.kind not in ("role", "fact", "ok")]
        if len(loose) < 2:
            break
        worst = min(loose, key=lambda c: c.keep)
        columns = [
            c for c in columns if c is not worst and (c not in loose or c.keep > AVERAGED or worst.keep > AVERAGED)
        ]
    return columns, [c.header for c in table.columns if c not in columns]


def _tex_number(number: Number, mark: str) -> str:
    commands = {"best": r"\mathbf", "tied": r"\underline"}
    mean = f"{commands[mark]}{{{number.mean}}}" if mark else number.mean
    half = number.half.replace("±", r" \pm ")
    if half.startswith("+"):
        up, _, down = half[1:].partition("-")
        half = f"^{{+{up}}}_{{-{down}}}"
    return f"${mean}{half}$"
