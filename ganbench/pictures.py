"""Pictures of generated samples: tiles for images, a scatter for points of the plane, else a histogram.

A picture shows generated samples beside real ones, over a range that the real data fixes, so that the pictures of
one grid compare. Pillow and numpy only; each takes well under 0.2 s.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageDraw
    from torch import Tensor

    from ganbench.samples import SampleSpec

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Color: TypeAlias = tuple[int, int, int]
WHITE: Color = (255, 255, 255)
INK: Color = (71, 78, 92)
FAINT: Color = (232, 235, 240)
REAL: Color = (176, 183, 195)
FAKE: Color = (29, 92, 214)
SIDE = 512
"""Pixels along the picture's side, without its margins."""
MARGIN = 28
FINE = 2
"""Pixels drawn for one that is kept, along each side."""
TILES = 8
BINS = 63  # odd, so that a point in the middle of the range lies within one
POINTS = 5000
"""Samples of each kind that are drawn at most."""


def sample_picture(fake: Tensor, spec: SampleSpec, path: Path, real: Tensor | None = None) -> None:
    """Draw ``fake [n, *shape]`` (and ``real [m, *shape]``) as a PNG at ``path``, whatever the ending of its name."""
    generated = _array(fake)
    others = None if real is None else _array(real)
    if spec.is_image:
        picture = _tiles(generated, others, spec)
    elif spec.shape == (2,):
        picture = _scatter(generated, others, spec)
    else:
        picture = _histogram(generated, others)
    picture.save(path, format="PNG")


def _array(x: Tensor) -> Array:
    array: Array = x.detach().cpu().double().numpy()
    return array


# -- images ------------------------------------------------------------------------------------------------


def _tiles(fake: Array, real: Array | None, spec: SampleSpec) -> Image.Image:
    """8 x 8 generated images under a row of 8 real ones, enlarged by a whole factor to about 512 pixels."""
    from PIL import Image, ImageDraw

    low, high = (spec.low, spec.high) if spec.bounded else _extent(fake if real is None else real)
    height, width = spec.shape[1:]
    scale = max(1, SIDE // TILES // max(height, width))
    gutter = 3
    step_x, step_y = width * scale + gutter, height * scale + gutter
    line = 18  # of text

    groups = [("real", real[:TILES])] if real is not None else []
    groups.append(("generated", fake[: TILES * TILES]))
    rows = [math.ceil(len(images) / TILES) for _, images in groups]
    whole = (TILES * step_x + gutter, sum(rows) * step_y + len(groups) * line + gutter)
    canvas = Image.new("RGB", whole, WHITE)
    draw = ImageDraw.Draw(canvas)
    top = 0
    for (title, images), count in zip(groups, rows, strict=True):
        draw.text((gutter, top + 3), title, fill=INK)
        top += line
        for i, image in enumerate(images):
            tile = _tile(image, low, high).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            canvas.paste(tile, (gutter + i % TILES * step_x, top + i // TILES * step_y))
        top += count * step_y
    return canvas


def _tile(image: Array, low: float, high: float) -> Image.Image:
    """One image [channels, height, width] as RGB; what is not a number is black."""
    from PIL import Image

    share = np.nan_to_num((image - low) / max(high - low, 1e-12)).clip(0, 1)
    channels = share[:3] if len(share) >= 3 else np.repeat(share[:1], 3, axis=0)
    return Image.fromarray(np.round(channels * 255).astype(np.uint8).transpose(1, 2, 0))


# -- points ------------------------------------------------------------------------------------------------


class _Plane:
    """A square of data coordinates on a canvas that is drawn at twice its size."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        from PIL import Image, ImageDraw

        self.x, self.y = x, y
        self.origin, self.length = MARGIN * FINE, SIDE * FINE
        size = self.length + 2 * self.origin
        self.image = Image.new("RGB", (size, size), WHITE)
        self.draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Pixels, as floats, of data coordinates."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.origin + across * self.length, self.origin + (1 - up) * self.length

    def frame(self, *, vertical: bool = True) -> None:
        """Faint lines at round numbers, a frame, and the numbers at its edge."""
        near, far = self.origin, self.origin + self.length
        for tick in _ticks(*self.x):
            at = self.at(tick, self.y[0])[0]
            self.draw.line((at, near, at, far), FAINT, FINE)
            self._text(at, far + 14 * FINE // 2 + FINE, f"{tick:g}")
        for tick in _ticks(*self.y) if vertical else []:
            at = self.at(self.x[0], tick)[1]
            self.draw.line((near, at, far, at), FAINT, FINE)
            self._text(near - 14 * FINE // 2 - FINE, at, f"{tick:g}")
        self.draw.rectangle((near, near, far, far), outline=REAL, width=FINE)

    def points(self, points: Array, color: Color, radius: float, opacity: float) -> None:
        """Discs that let through what is below, so that crowds are darker; those outside lie on the frame."""
        size = self.image.size[0]
        x, y = self.at(points[:, 0].clip(*self.x), points[:, 1].clip(*self.y))
        reach = int(radius * FINE)
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
            x += 13 * FINE + self.draw.textlength(text, font=_font()) + 18 * FINE

    def finished(self) -> Image.Image:
        """The picture at its own size."""
        from PIL import Image

        size = self.image.size[0] // FINE
        return self.image.resize((size, size), Image.Resampling.BOX)

    def _text(self, x: float, y: float, text: str, anchor: str = "mm") -> None:
        self.draw.text((x, y), text, INK, font=_font(), anchor=anchor)


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(11 * FINE)


def _scatter(fake: Array, real: Array | None, spec: SampleSpec) -> Image.Image:
    """Generated points over real ones, with a circle of three standard deviations around each true mode."""
    finite = fake[np.isfinite(fake).all(axis=1)]
    x, y = _window(finite, real, spec)
    plane = _Plane(x, y)
    plane.frame()
    if real is not None:
        plane.points(real[:POINTS], REAL, radius=2.5, opacity=0.5)
    plane.points(finite[:POINTS], FAKE, radius=2.0, opacity=0.35)
    for centre in spec.modes.centres if spec.modes else ():
        assert spec.modes is not None
        (left, top), (right, bottom) = (
            plane.at(centre[0] + sign * 3 * spec.modes.std, centre[1] - sign * 3 * spec.modes.std) for sign in (-1, 1)
        )
        plane.draw.ellipse((left, top, right, bottom), outline=INK, width=FINE)
    outside = int(((finite < (x[0], y[0])) | (finite > (x[1], y[1]))).any(axis=1).sum())
    plane.legend(_entries(real, finite, len(fake) - len(finite), outside))
    return plane.finished()


def _window(fake: Array, real: Array | None, spec: SampleSpec) -> tuple[tuple[float, float], tuple[float, float]]:
    """The square in view: around the true modes, or else the real points, or else the generated ones."""
    if spec.modes is not None:
        points, spread = np.array(spec.modes.centres), 4 * spec.modes.std
    else:
        points, spread = fake if real is None else real, 0.0
    if not len(points):
        points = np.zeros((1, 2))
    low, high = points.min(axis=0) - spread, points.max(axis=0) + spread
    widest = int((high - low).argmax())
    reach = _reach(float(low[widest]), float(high[widest]))
    middle = (low + high) / 2
    return (middle[0] - reach, middle[0] + reach), (middle[1] - reach, middle[1] + reach)


def _histogram(fake: Array, real: Array | None) -> Image.Image:
    """The share of samples in bins of the first coordinate: real ones filled, generated ones as a line."""
    values = _first(fake)
    finite = values[np.isfinite(values)]
    others = None if real is None else _first(real)
    low, high = _extent(finite if others is None else others)
    reach = _reach(low, high)
    x = ((low + high) / 2 - reach, (low + high) / 2 + reach)
    edges = np.linspace(*x, BINS + 1)
    shares = [np.histogram(v.clip(*x), edges)[0] / max(len(v), 1) for v in (finite, others) if v is not None]
    top = max(float(np.max(shares)), 1e-9) * 1.1
    plane = _Plane(x, (0.0, top))
    plane.frame(vertical=False)
    if len(shares) == 2:
        for left, right, share in zip(edges[:-1], edges[1:], shares[1], strict=True):
            if share:
                (x0, y1), (x1, y0) = plane.at(left, 0.0), plane.at(right, share)
                plane.draw.rectangle((x0, y0, x1, y1), REAL)
    corners = np.repeat(shares[0], 2)
    outline = plane.at(np.repeat(edges, 2), np.concatenate([[0.0], corners, [0.0]]))
    plane.draw.line(list(zip(*(c.tolist() for c in outline), strict=True)), FAKE, 2 * FINE, joint="curve")
    outside = int(((finite < x[0]) | (finite > x[1])).sum())
    plane.legend(_entries(others, finite, len(values) - len(finite), outside))
    return plane.finished()


def _first(x: Array) -> Array:
    """The first coordinate [n] of samples [n, ...]."""
    return x.reshape(len(x), math.prod(x.shape[1:]))[:, 0]


def _entries(real: Array | None, fake: Array, broken: int, outside: int) -> list[tuple[str, Color]]:
    entries = [("real", REAL)] if real is not None else []
    notes = [f"{n} {what}" for n, what in ((outside, "outside"), (broken, "not finite")) if n]
    count = f"{len(fake) + broken} generated"
    return [*entries, (f"{count}, {', '.join(notes)}" if notes else count, FAKE)]


def _extent(values: Array) -> tuple[float, float]:
    """The least and the greatest finite value; (0, 1) without one."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _reach(low: float, high: float) -> float:
    """0.6 (high - low), half a range with an edge, rounded up so that other draws of the data agree on it."""
    value = 0.6 * (high - low)
    if not 0 < value < math.inf or value < 1e-6 * abs(low):  # all in one place
        return max(1.0, abs(low))
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def _ticks(low: float, high: float) -> list[float]:
    """Between 3 and 7 round numbers in [low, high]."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [i * step for i in range(first, last + 1)]
