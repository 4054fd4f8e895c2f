"""Text for a terminal: its width, what is printable, and lines that lose nothing."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence

GAP = 2
NUMBER = re.compile(r"\d+(?:\.\d+)?")


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


def kinds_of(messages: Iterable[str]) -> dict[str, list[str]]:
    """Messages by what they say: those that differ in numbers alone are one kind, whose name has ``…`` for them."""
    alike: dict[str, list[str]] = {}
    for message in messages:
        alike.setdefault(NUMBER.sub("0", message), []).append(message)
    kinds: dict[str, list[str]] = {}
    for same in alike.values():
        columns = zip(*(NUMBER.findall(message) for message in same), strict=True)
        numbers = iter([c[0] if len(set(c)) == 1 else "\N{HORIZONTAL ELLIPSIS}" for c in columns])
        words = NUMBER.split(same[0])
        kinds["".join([words[0], *(next(numbers) + word for word in words[1:])])] = same
    return kinds


def width_of(text: str) -> int:
    """Terminal cells that ``text`` takes."""
    from rich.cells import cell_len

    return int(cell_len(text))


def pad(text: str, width: int, *, left: bool) -> str:
    """``text`` with blanks up to ``width``, at its left or right."""
    blank = " " * max(0, width - width_of(text))
    return text + blank if left else blank + text


BREAKS = re.compile(r"(?<=[ ,\-])(?<!\+ )(?! )|(?=\()")
"""Where a label may go on in the next line: after blanks, commas and hyphens, before brackets."""


def longest_word(texts: Iterable[str]) -> int:
    """Terminal cells of the longest piece that :func:`wrap` keeps together."""
    return max((width_of(word.rstrip(" ")) for text in texts for word in BREAKS.split(text)), default=0)


def wrap(text: str, width: int, *, indent: int = 0) -> list[str]:
    """``text`` in lines of at most ``width`` terminal cells, all but the first indented."""
    indent = min(indent, width // 4)
    lines, line = [], ""
    for word in BREAKS.split(text):
        rest = word
        if width_of((line + rest).rstrip(" ")) > width and line.strip(" "):
            lines.append(line.rstrip(" "))
            line = " " * indent
        while width_of((line + rest).rstrip(" ")) > width:  # a word longer than a line
            cut = _cut(rest, width - width_of(line))
            lines.append(line + rest[:cut])
            line, rest = " " * indent, rest[cut:]
        line += rest
    return [*lines, line.rstrip(" ")] if line.strip(" ") or not lines else lines


def _cut(word: str, room: int) -> int:
    """Where to cut a long word: after the last punctuation that fits, or as far as it fits, at least one character."""
    fits = max((k for k in range(1, len(word)) if width_of(word[:k]) <= room), default=1)
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


def plural(n: int, noun: str, many: str = "") -> str:
    """``1 cell`` or ``2 cells``; ``many`` is the plural where it is not ``noun`` with an s."""
    return f"{n} {noun}" if n == 1 else f"{n} {many or noun + 's'}"
