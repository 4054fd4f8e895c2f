"""Pictures of samples: tiles for images, points and densities of the plane, else a histogram.

A picture shows generated samples beside real ones, over a range that the real data fixes, so that the pictures of
one grid compare. Each takes well under 0.2 s.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ganbench.canvas import FAKE, FINE, INK, MARGIN, REAL, SIDE, WHITE, Color, Plane, Range, extent, half_range

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ganbench.samples import SampleSpec

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TILES = 8
GUTTER = 3
"""Pixels between tiles."""
BINS = 63  # odd, so that a point in the middle of the range lies within one
POINTS = 5000
"""Samples of each kind that are drawn at most."""
CELLS = 128
"""Squares along each side in which points are counted for a density."""


def sample_picture(fake: Tensor, spec: SampleSpec, path: Path, real: Tensor | None = None) -> None:
    """Draw ``fake [n, *shape]`` (and ``real [m, *shape]``) as a PNG at ``path``, whatever the ending of its name."""
    draw_samples(as_array(fake), None if real is None else as_array(real), spec).save(path, format="PNG")


def draw_samples(fake: Array, real: Array | None, spec: SampleSpec) -> Image.Image:
    """The picture of ``fake [n, *shape]`` beside ``real [m, *shape]`` that suits their shape."""
    if spec.is_image:
        return _tiles(fake, real, spec)
    return scatter(fake, real, spec) if spec.shape == (2,) else histogram(fake, real)


def as_array(x: Tensor) -> Array:
    """``x`` as numpy has it, in float64."""
    array: Array = x.detach().cpu().double().numpy()
    return array


# -- images ------------------------------------------------------------------------------------------------


def brightness(images: Array, spec: SampleSpec) -> Range:
    """The values that are drawn black and white: the range of the data, or else that of ``images``."""
    return (spec.low, spec.high) if spec.bounded else extent(images)


def mosaic(images: Array, shades: Range, *, columns: int, scale: int) -> Image.Image:
    """Images [n, channels, height, width] in rows of ``columns``, each enlarged ``scale`` times, pixels sharp."""
    from PIL import Image

    height, width = images.shape[2] * scale, images.shape[3] * scale
    step_x, step_y = width + GUTTER, height + GUTTER
    rows = math.ceil(len(images) / columns)
    canvas = Image.new("RGB", (columns * step_x + GUTTER, rows * step_y + GUTTER), WHITE)
    for i, image in enumerate(images):
        tile = _tile(image, *shades).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(tile, (GUTTER + i % columns * step_x, GUTTER + i // columns * step_y))
    return canvas


def scale_for(spec: SampleSpec, side: int) -> int:
    """The whole factor by which an image of ``spec`` comes closest to ``side`` pixels, not beyond; at least 1."""
    return max(1, side // max(spec.shape[1:]))


def _tiles(fake: Array, real: Array | None, spec: SampleSpec) -> Image.Image:
    """8 x 8 generated images under a row of 8 real ones, enlarged by a whole factor to about 512 pixels."""
    from PIL import Image, ImageDraw

    shades = brightness(fake if real is None else real, spec)
    line = 18 - GUTTER  # of text
    groups = [("real", real[:TILES])] if real is not None else []
    groups.append(("generated", fake[: TILES * TILES]))
    parts = [
        (title, mosaic(images, shades, columns=TILES, scale=scale_for(spec, SIDE // TILES))) for title, images in groups
    ]
    height = sum(line + part.height for _, part in parts)
    canvas = Image.new("RGB", (parts[0][1].width, height), WHITE)
    draw = ImageDraw.Draw(canvas)
    top = 0
    for title, part in parts:
        draw.text((GUTTER, top + 3), title, fill=INK)
        canvas.paste(part, (0, top + line))
        top += line + part.height
    return canvas


def _tile(image: Array, low: float, high: float) -> Image.Image:
    """One image [channels, height, width] as RGB; what is not a number is black."""
    from PIL import Image

    share = np.nan_to_num((image - low) / max(high - low, 1e-12)).clip(0, 1)
    channels = share[:3] if len(share) >= 3 else np.repeat(share[:1], 3, axis=0)
    return Image.fromarray(np.round(channels * 255).astype(np.uint8).transpose(1, 2, 0))


# -- points ------------------------------------------------------------------------------------------------


def scatter(fake: Array, real: Array | None, spec: SampleSpec, *, side: int = SIDE, bare: bool = False) -> Image.Image:
    """Generated points over real ones, with a circle of three standard deviations around each true mode.

    A ``bare`` picture has neither numbers nor a legend, for where it is one of many.
    """
    finite = fake[np.isfinite(fake).all(axis=1)]
    x, y = window(finite, real, spec)
    plane = Plane(x, y, side, 2 if bare else MARGIN)
    size = math.sqrt(side / SIDE)
    if not bare:
        plane.frame()
    if real is not None:
        plane.points(real[:POINTS], REAL, radius=2.5 * size, opacity=0.5)
    plane.points(finite[:POINTS], FAKE, radius=2.0 * size, opacity=0.35)
    if spec.modes:
        plane.rings(spec.modes)
    if bare:
        plane.border()
    else:
        outside = int(((finite < (x[0], y[0])) | (finite > (x[1], y[1]))).any(axis=1).sum())
        plane.legend(_entries(real, finite, len(fake) - len(finite), outside))
    return plane.finished()


def densities(sets: list[Array], view: tuple[Range, Range]) -> list[Array]:
    """For each of some sets of points [n, 2] its density over ``view``, smoothed, as shares of the greatest of all.

    Points are counted in squares, as a share of their set, and smoothed by a Gaussian of 1.5 squares; the result
    [rows, columns] has the largest y first.
    """
    from scipy.ndimage import gaussian_filter

    found = []
    for points in sets:
        counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], CELLS, view)
        found.append(gaussian_filter(counts.T[::-1] / max(len(points), 1), 1.5))
    top = max(float(d.max()) for d in found)
    return [d / top if top > 0 else d for d in found]


def density(shares: Array, title: str, spec: SampleSpec, view: tuple[Range, Range], side: int = SIDE) -> Image.Image:
    """A density as :func:`densities` gives it, with the true modes; dark where it is high."""
    plane = Plane(*view, side)
    plane.frame()
    plane.tint(np.sqrt(shares))  # what is faint must be seen too
    plane.border()
    if spec.modes:
        plane.rings(spec.modes, REAL)
    plane.legend([(title, FAKE)])
    return plane.finished()


def window(fake: Array, real: Array | None, spec: SampleSpec) -> tuple[Range, Range]:
    """The square in view: around the true modes, or else the real points, or else the generated ones."""
    if spec.modes is not None:
        points, spread = np.array(spec.modes.centres), 4 * spec.modes.std
    else:
        points, spread = fake if real is None else real, 0.0
    if not len(points):
        points = np.zeros((1, 2))
    low, high = points.min(axis=0) - spread, points.max(axis=0) + spread
    widest = int((high - low).argmax())
    reach = half_range(float(low[widest]), float(high[widest]))
    middle = (low + high) / 2
    return (middle[0] - reach, middle[0] + reach), (middle[1] - reach, middle[1] + reach)


def histogram(fake: Array, real: Array | None, *, side: int = SIDE, bare: bool = False) -> Image.Image:
    """The share of samples in bins of the first coordinate: real ones filled, generated ones as a line."""
    values = _first(fake)
    finite = values[np.isfinite(values)]
    others = None if real is None else _first(real)
    low, high = extent(finite if others is None else others)
    reach = half_range(low, high)
    x = ((low + high) / 2 - reach, (low + high) / 2 + reach)
    edges = np.linspace(*x, BINS + 1)
    shares = [np.histogram(v.clip(*x), edges)[0] / max(len(v), 1) for v in (finite, others) if v is not None]
    top = max(float(np.max(shares)), 1e-9) * 1.1
    plane = Plane(x, (0.0, top), side, 2 if bare else MARGIN)
    if not bare:
        plane.frame(vertical=False)
    if len(shares) == 2:
        for left, right, share in zip(edges[:-1], edges[1:], shares[1], strict=True):
            if share:
                (x0, y1), (x1, y0) = plane.at(left, 0.0), plane.at(right, share)
                plane.draw.rectangle((x0, y0, x1, y1), REAL)
    corners = np.repeat(shares[0], 2)
    outline = plane.at(np.repeat(edges, 2), np.concatenate([[0.0], corners, [0.0]]))
    plane.draw.line(list(zip(*(c.tolist() for c in outline), strict=True)), FAKE, 2 * FINE, joint="curve")
    if bare:
        plane.border()
        return plane.finished()
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
