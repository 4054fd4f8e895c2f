"""Charts: they are well-formed, name what they show, and stand for numbers that are far apart or all alike."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ganbench.charts import Moment, Point, Scale, curve, number, pareto, scale, scatter

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 # our own


@given(st.lists(NUMBERS, max_size=20))
@example([1.0, 1.1125369292536007e-308])
@example([1e12, 5e-324])
def test_a_scale_holds_its_values_and_has_ticks_within(values) -> None:
    made = scale(values, 0, 100)
    assert all(0 <= made(v) <= 100 for v in values)
    assert 1 <= len(made.ticks) <= 12
    span = made.high - made.low
    assert all(made.low - 1e-6 * span <= t <= made.high + 1e-6 * span for t in made.ticks)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20))
def test_positive_values_far_apart_are_drawn_by_their_logarithms(values) -> None:
    made = scale(values, 0, 100)
    assert made.log == (max(values) / min(values) >= 8)
    assert made.ticks == sorted(made.ticks)


def test_a_scale_is_linear_or_logarithmic_between_its_ends() -> None:
    assert Scale(0, 10, 100, 200)(5) == 150
    assert Scale(1, 100, 0, 1, log=True)(10) == pytest.approx(0.5)
    assert Scale(0, 10, 0, 1)(99) == 1  # what lies outside is drawn at the frame


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_the_front_is_what_nothing_beats(points) -> None:
    def beaten(p) -> bool:
        return any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)

    front = [points[i] for i in pareto(points)]
    assert set(front) == {p for p in points if not beaten(p)}
    assert len(set(front)) == len(front)  # of equals one stands for all
    assert front == sorted(front)


def test_a_scatter_names_its_dots_and_numbers_the_front() -> None:
    points = [
        Point(1, 9, "fast & <rough>", front=1),
        Point(5, 2, "slow", x_range=(4, 6), y_range=(-3, 700), front=2),
        Point(6, 8, "beaten"),
    ]
    svg = scatter(points, x="step ms", y="fd <lower>", label='a "chart"')
    root = parsed(svg)
    assert root.get("aria-label") == 'a "chart"'
    assert {e.text for e in root.iter("title")} == {"fast & <rough>", "slow", "beaten"}
    texts = [e.text for e in root.iter("text")]
    assert {"1", "2", "step ms", "fd <lower>"} <= set(texts)
    assert len(root.findall("polyline")) == 1


def test_a_curve_has_a_band_and_a_line_to_compare_with() -> None:
    main = [Moment(0, 3, 2, 4), Moment(10, 2, 1, 3)]
    root = parsed(curve(main, main[:1], y=scale([1, 4], 0, 1), x_end=10, label="c"))
    assert [e.get("class") for e in root if e.tag in ("polygon", "polyline")] == ["other", "band", "main"]
    assert parsed(curve(main[:1], [], y=scale([3], 0, 1), x_end=0, label="c")).find("circle") is not None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (12.3456, "12.3"), (1500, "1,500"), (2e6, "2e6"), (1e-5, "1e-5")],
)
def test_numbers_of_ticks_are_short(value, text) -> None:
    assert number(value) == text
