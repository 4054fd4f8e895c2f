"""Small charts as inline SVG: text, classes and numbers alone; colours come from the style sheet of the page."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 480, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 44
SMALL = (220, 120)
"""Width and height of one of many curves."""
TICKS = 6
SPREAD = 8.0
"""A positive range whose ends have this ratio or more is drawn on a logarithmic scale."""


@dataclass(frozen=True)
class Point:
    """A dot of a scatter: its name, its intervals, and its number on the pareto front (0: not on it)."""

    x: float
    y: float
    name: str
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    front: int = 0


@dataclass(frozen=True)
class Moment:
    """One abscissa of a curve: the mean over seeds and their range."""

    x: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Scale:
    """Maps ``low..high`` to ``start..end`` pixels, linearly or by the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            low = math.log(self.low)  # a ratio of the two may be more than a float can be
            share = (math.log(value) - low) / (math.log(self.high) - low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers within the range, at least one and few enough to stand side by side."""
        if self.log:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for digits in ((1, 2, 5), (1, 3), (1,)):
                ticks = [m * 10.0**k for k in range(low, high + 1) for m in digits]
                ticks = [t for t in ticks if self.low <= t <= self.high]
                if 2 <= len(ticks) <= TICKS:
                    return ticks
            if len(ticks) > TICKS:
                return ticks[:: math.ceil(len(ticks) / TICKS)]
        rough = (self.high - self.low) / (TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
        first = math.ceil(self.low / step)
        ticks = [k * step for k in range(first, math.floor(self.high / step) + 1)]
        return ticks or [self.low]


def scale(values: Iterable[float], start: float, end: float, *, pad: float = 0.06) -> Scale:
    """A scale that holds ``values`` and a margin: logarithmic if they are positive and spread widely."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    log = low > 0 and high / low >= SPREAD
    if log:
        margin = math.exp(pad * (math.log(high) - math.log(low)))
        return Scale(low / margin or low, high * margin, start, end, log=True)
    margin = (high - low) * pad or abs(high) * 0.1 or 1.0
    return Scale(low - margin, high + margin, start, end)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of points that no other beats in one coordinate and equals or beats in the other; less is better."""
    order = sorted(range(len(points)), key=lambda i: points[i])
    front: list[int] = []
    for i in order:
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


def number(value: float) -> str:
    """A tick's number: three significant digits, with separators of thousands."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def scatter(points: Sequence[Point], *, x: str, y: str, label: str, downward: bool = True) -> str:
    """Dots with their intervals over labelled axes; ``downward``: less is better, so the front is a lower staircase."""
    # the means decide the axes: an interval over few seeds may be wider than all of them, and is cut at the frame
    across = scale((p.x for p in points), LEFT, WIDTH - RIGHT)
    up = scale((p.y for p in points), HEIGHT - BOTTOM, TOP)
    parts = [_open(WIDTH, HEIGHT, label)]
    for tick in across.ticks:
        at = across(tick)
        parts.append(_line(at, TOP, at, HEIGHT - BOTTOM, "grid"))
        parts.append(_text(at, HEIGHT - BOTTOM + 17, number(tick), "middle"))
    for tick in up.ticks:
        at = up(tick)
        parts.append(_line(LEFT, at, WIDTH - RIGHT, at, "grid"))
        parts.append(_text(LEFT - 7, at + 4, number(tick), "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 7, x, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'text-anchor="middle" transform="rotate(-90 13 {middle:.1f})"'
    parts.append(f'<text x="13" y="{middle:.1f}" {turned}>{html.escape(y)}</text>')
    front = sorted((p for p in points if p.front), key=lambda p: p.x)
    if front:
        steps: list[tuple[float, float]] = [(across(front[0].x), TOP if downward else HEIGHT - BOTTOM)]
        for here, following in itertools.zip_longest(front, front[1:]):
            steps.append((across(here.x), up(here.y)))
            steps.append((across(following.x) if following else WIDTH - RIGHT, up(here.y)))
        parts.append(f'<polyline class="front" points="{_path(steps)}"/>')
    for point in sorted(points, key=lambda p: bool(p.front)):
        cx, cy = across(point.x), up(point.y)
        kind = "point on" if point.front else "point"
        bars = ""
        if point.x_range:
            bars += _line(across(point.x_range[0]), cy, across(point.x_range[1]), cy, "bar")
        if point.y_range:
            bars += _line(cx, up(point.y_range[0]), cx, up(point.y_range[1]), "bar")
        title = f"<title>{html.escape(point.name)}</title>"
        parts.append(f'<g class="{kind}">{title}{bars}<circle class="dot" cx="{cx:.1f}" cy="{cy:.1f}" r="5"/></g>')
    for point in front:
        left = across(point.x) > WIDTH - RIGHT - 24
        dx = -9 if left else 9
        parts.append(_text(across(point.x) + dx, up(point.y) - 8, str(point.front), "end" if left else "start", "mark"))
    return "".join(parts) + "</svg>"


def curve(main: Sequence[Moment], other: Sequence[Moment], *, y: Scale, x_end: float, label: str) -> str:
    """One small curve with the range over seeds as a band; ``other`` is a line to compare with, without a band."""
    width, height = SMALL
    across = Scale(0.0, x_end or 1.0, 40, width - 6)
    up = Scale(y.low, y.high, height - 20, 6, y.log)
    parts = [_open(width, height, label)]
    ticks = up.ticks
    for tick in ticks[:: math.ceil(len(ticks) / 3)]:
        parts.append(_line(40, up(tick), width - 6, up(tick), "grid"))
        parts.append(_text(36, up(tick) + 3.5, number(tick), "end"))
    parts.append(_text(40, height - 6, "0", "middle"))
    parts.append(_text(width - 6, height - 6, number(x_end), "end"))
    if other:
        parts.append(f'<polyline class="other" points="{_path((across(m.x), up(m.mean)) for m in other)}"/>')
    if main:
        band = [(across(m.x), up(m.high)) for m in main] + [(across(m.x), up(m.low)) for m in reversed(main)]
        parts.append(f'<polygon class="band" points="{_path(band)}"/>')
        parts.append(f'<polyline class="main" points="{_path((across(m.x), up(m.mean)) for m in main)}"/>')
        if len(main) == 1:
            parts.append(f'<circle class="dot on" cx="{across(main[0].x):.1f}" cy="{up(main[0].mean):.1f}" r="2.5"/>')
    return "".join(parts) + "</svg>"


def _open(width: int, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}">'


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
