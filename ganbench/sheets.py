"""Sheets: pictures in labelled rows and columns under a title, so that a picture says what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganbench.canvas import FAINT, INK, WHITE, font
from ganbench.text import printable

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

PAD = 14
"""Pixels around a sheet and between its parts."""
TITLE, TEXT = 17, 13
"""Heights of letters in pixels."""
LEADING = 1.35
LABEL = 230
"""Pixels that a row's label takes at most; what is longer goes on in the next line."""
SOFT = (110, 117, 130)


@dataclass(frozen=True)
class Words:
    """Lines of one size, and the room that they take."""

    lines: tuple[str, ...]
    size: int
    width: int

    @property
    def height(self) -> int:
        """Pixels from the top of the first line to the bottom of the last."""
        return round(len(self.lines) * self.size * LEADING)

    def draw(self, draw: ImageDraw.ImageDraw, x: float, y: float, color: Any = INK, *, centre: bool = False) -> None:
        """Write the lines from (x, y) down; with ``centre``, x is their middle."""
        for i, line in enumerate(self.lines):
            at = (x, y + (i + 0.5) * self.size * LEADING)
            draw.text(at, line, color, font=font(self.size), anchor="mm" if centre else "lm")


def words(text: str, size: int, room: float) -> Words:
    """``text`` broken at spaces, and at commas where a word is too long, into lines of at most ``room`` pixels."""
    measure = font(size).getlength
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in printable(paragraph).replace(",", ",\u200b").replace(" ", " \u200b").split("\u200b"):
            if line and measure((line + word).rstrip()) > room:
                lines.append(line.rstrip())
                line = ""
            line += word
        lines.append(line.rstrip())
    return Words(tuple(lines), size, round(max(measure(line) for line in lines)))


def sheet(
    pictures: Sequence[Sequence[Image.Image | None]],
    *,
    title: str,
    note: str = "",
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    missing: str = "none",
) -> Image.Image:
    """Pictures in rows and columns, each row and column as large as its largest picture.

    Args:
        pictures: by row; None leaves a place empty.
        title: above everything.
        note: small, below the title.
        rows: a label for each row, left of it.
        columns: a label for each column, above it.
        missing: what is written where there is no picture.
    """
    from PIL import Image, ImageDraw

    count = max((len(row) for row in pictures), default=0)
    some = next((p for row in pictures for p in row if p is not None), None)
    blank = (some.width, some.height) if some else (120, 120)
    sizes = [[(p.width, p.height) if p is not None else blank for p in row] for row in pictures]
    widths = [max(row[j][0] for row in sizes if j < len(row)) for j in range(count)]
    heights = [max((height for _, height in row), default=0) for row in sizes]
    labels = [words(text, TEXT, LABEL) for text in rows]
    heights = [max(h, label.height) for h, label in zip(heights, labels, strict=True)] if labels else heights
    left = PAD + (max(label.width for label in labels) + PAD if labels else 0)
    heads = [words(text, TEXT, width) for text, width in zip(columns, widths, strict=True)] if columns else []
    inner = sum(widths) + PAD * (count - 1)
    room = max(left + inner - PAD, 360)
    top_title, top_note = words(title, TITLE, room), words(note, TEXT, room)
    above = PAD + top_title.height + (top_note.height if note else 0) + PAD // 2
    under = above + (max(head.height for head in heads) + 4 if heads else 4)
    full = (max(left + inner, PAD + room) + PAD, under + sum(heights) + PAD * len(heights))
    canvas = Image.new("RGB", full, WHITE)
    draw = ImageDraw.Draw(canvas)
    top_title.draw(draw, PAD, PAD)
    if note:
        top_note.draw(draw, PAD, PAD + top_title.height, SOFT)
    for j, head in enumerate(heads):
        head.draw(draw, left + sum(widths[:j]) + PAD * j + widths[j] / 2, above, centre=True)
    y = under
    for i, row in enumerate(pictures):
        if labels:
            labels[i].draw(draw, PAD, y + (heights[i] - labels[i].height) / 2)
        x = left
        for j, picture in enumerate(row):
            if picture is not None:
                canvas.paste(picture, (x, y))
            else:
                draw.rectangle((x, y, x + widths[j] - 1, y + heights[i] - 1), FAINT)
                empty = words(missing, TEXT, widths[j] - 8)
                empty.draw(draw, x + widths[j] / 2, y + (heights[i] - empty.height) / 2, SOFT, centre=True)
            x += widths[j] + PAD
        y += heights[i] + PAD
    return canvas


def gap(width: int, height: int) -> Image.Image:
    """Nothing, of this size."""
    from PIL import Image

    return Image.new("RGB", (width, height), WHITE)
