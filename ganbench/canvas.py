"""A plane of data coordinates to draw on: a frame with round numbers, points, paths and tints.

Pillow and numpy only. Everything is drawn at twice its size and made smaller at the end.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

    from ganbench.samples import Modes

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Color: TypeAlias = tuple[int, int, int]
Range: TypeAlias = tuple[float, float]
WHITE: Color = (255, 255, 255)
INK: Color = (71, 78, 92)
FAINT: Color = (232, 235, 240)
REAL: Color = (176, 183, 195)
FAKE: Color = (29, 92, 214)
DEEP: Color = (9, 30, 84)
"""Where a tint of :data:`FAKE` is at its strongest."""
SIDE = 512
"""Pixels along the picture's side, without its margins."""
MARGIN = 28
FINE = 2
"""Pixels drawn for one that is kept, along each side."""


class Plane:
    """A square of data coordinates on a canvas that is drawn at twice its size.

    Args:
        x: the range across.
        y: the range upwards.
        side: pixels along the square.
        margin: pixels around it, for numbers and a legend.
    """

    def __init__(self, x: Range, y: Range, side: int = SIDE, margin: int = MARGIN) -> None:
        from PIL import Image, ImageDraw

        self.x, self.y = x, y
        self.origin, self.length = margin * FINE, side * FINE
        size = self.length + 2 * self.origin
        self.image = Image.new("RGB", (size, size), WHITE)
        self.draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Pixels, as floats, of data coordinates."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.origin + across * self.length, self.origin + (1 - up) * self.length

    def _inside(self, points: Array) -> tuple[Any, Any]:
        """Pixels of ``points [n, 2]``; one outside lies on the frame."""
        return self.at(points[:, 0].clip(*self.x), points[:, 1].clip(*self.y))

    def border(self) -> None:
        """A frame alone."""
        near, far = self.origin, self.origin + self.length
        self.draw.rectangle((near, near, far, far), outline=REAL, width=FINE)

    def frame(self, *, vertical: bool = True) -> None:
        """Faint lines at round numbers, a frame, and the numbers at its edge."""
        near, far = self.origin, self.origin + self.length
        for tick in ticks(*self.x):
            at = self.at(tick, self.y[0])[0]
            self.draw.line((at, near, at, far), FAINT, FINE)
            self._text(at, far + 14 * FINE // 2 + FINE, f"{tick:g}")
        for tick in ticks(*self.y) if vertical else []:
            at = self.at(self.x[0], tick)[1]
            self.draw.line((near, at, far, at), FAINT, FINE)
            self._text(near - 14 * FINE // 2 - FINE, at, f"{tick:g}")
        self.border()

    def rings(self, modes: Modes, color: Color = INK) -> None:
        """A circle of three standard deviations around each mode."""
        reach = 3 * modes.std
        for x, y in modes.centres:
            (left, top), (right, bottom) = self.at(x - reach, y + reach), self.at(x + reach, y - reach)
            self.draw.ellipse((left, top, right, bottom), outline=color, width=FINE)

    def path(self, points: Array, color: Color) -> None:
        """A line through ``points [n, 2]``; a part outside lies on the frame."""
        x, y = self._inside(points)
        self.draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), color, FINE, joint="curve")

    def tint(self, density: Array) -> None:
        """Colour the square by ``density [rows, columns]`` in 0..1, first row at the top: white, blue, nearly black."""
        from PIL import Image, ImageDraw

        stops = np.array([WHITE, FAKE, DEEP], float)
        shades = np.stack([np.interp(density, (0.0, 0.5, 1.0), stops[:, c]) for c in range(3)], axis=-1)
        area = Image.fromarray(np.round(shades).astype(np.uint8))
        self.image.paste(area.resize((self.length, self.length), Image.Resampling.BICUBIC), (self.origin, self.origin))
        self.draw = ImageDraw.Draw(self.image)

    def points(self, points: Array, color: Color, radius: float, opacity: float) -> None:
        """Discs that let through what is below, so that crowds are darker; those outside lie on the frame."""
        size = self.image.size[0]
        x, y = self._inside(points)
        reach = max(1, int(radius * FINE))
        offsets = np.arange(-reach, reach + 1)
        dx, dy = (d.ravel() for d in np.meshgrid(offsets, offsets))
        inside = dx**2 + dy**2 <= (radius * FINE) ** 2
        dx, dy = dx[inside], dy[inside]
        columns, rows = np.rint(x).astype(int)[:, None] + dx, np.rint(y).astype(int)[:, None] + dy
        counts = np.bincount((rows * size + columns).ravel(), minlength=size * size).reshape(size, size)
        self.blend(1 - (1 - opacity) ** counts, color)

    def blend(self, opacity: Array, color: Color) -> None:
        """Lay ``color`` over the canvas with ``opacity [size, size]`` in 0..1."""
        from PIL import Image, ImageDraw

        mask = Image.fromarray(np.round(opacity * 255).astype(np.uint8))
        self.image.paste(color, mask=mask)
        self.draw = ImageDraw.Draw(self.image)

    def legend(self, entries: list[tuple[str, Color]]) -> None:
        """A coloured dot and a word for each entry, above the frame."""
        x, y = float(self.origin), self.origin / 2
        for text, color in entries:
            self.draw.ellipse((x, y - 4 * FINE, x + 8 * FINE, y + 4 * FINE), color)
            self._text(x + 13 * FINE, y, text, anchor="lm")
            x += 13 * FINE + self.draw.textlength(text, font=font(11 * FINE)) + 18 * FINE

    def finished(self) -> Image.Image:
        """The picture at its own size."""
        from PIL import Image

        size = self.image.size[0] // FINE
        return self.image.resize((size, size), Image.Resampling.BOX)

    def _text(self, x: float, y: float, text: str, anchor: str = "mm") -> None:
        self.draw.text((x, y), text, INK, font=font(11 * FINE), anchor=anchor)


@functools.cache
def font(size: int) -> Any:
    """The font of every picture, ``size`` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def extent(values: Array) -> Range:
    """The least and the greatest finite value; (0, 1) without one."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def half_range(low: float, high: float) -> float:
    """0.6 (high - low), half a range with an edge, rounded up so that other draws of the data agree on it."""
    value = 0.6 * (high - low)
    if not 0 < value < math.inf or value < 1e-6 * abs(low):  # all in one place
        return max(1.0, abs(low))
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def ticks(low: float, high: float) -> list[float]:
    """Between 3 and 7 round numbers in [low, high]."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [i * step for i in range(first, last + 1)]
