"""Sheets of pictures, mosaics and densities: where things lie, and what must not overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from ganbench.canvas import FAKE, WHITE
from ganbench.pictures import GUTTER, brightness, densities, density, mosaic, scale_for
from ganbench.samples import Modes, SampleSpec
from ganbench.sheets import LABEL, TEXT, gap, sheet, words


def block(colour: tuple[int, int, int], width: int = 30, height: int = 20) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def area(picture: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box of all pixels of a colour, and their number is that of the box."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(axis=2))
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    assert len(rows) == (box[2] - box[0]) * (box[3] - box[1]), "something covers it"
    return box


def test_pictures_keep_their_size_and_lie_in_rows_and_columns():
    red, green, lilac = (255, 0, 0), (0, 255, 0), (200, 0, 255)
    made = sheet(
        [[block(red), block(green, 50, 40)], [block(lilac), None]],
        title="a title " * 20,
        note="a note " * 40,
        rows=["first\nrow", "a label of many words " * 6],
        columns=["one", "two"],
        missing="nothing here",
    )
    r, g, b = (area(made, colour) for colour in (red, green, lilac))
    assert (r[2] - r[0], r[3] - r[1]) == (30, 20)
    assert (g[2] - g[0], g[3] - g[1]) == (50, 40)
    assert r[0] == b[0] < r[2] < g[0]
    assert r[1] == g[1] < g[3] < b[1]
    assert made.width > g[2]
    assert made.height > b[3]


def test_words_stay_within_their_room_and_none_is_lost():
    text = "gradient-penalty(weight=10,every=4) + spectral-norm(on=both) with a few words more"
    broken = words(text, TEXT, LABEL)
    assert len(broken.lines) > 1
    assert broken.width <= LABEL
    assert "".join(broken.lines).replace(" ", "") == text.replace(" ", "")
    assert words("two\nlines", TEXT, LABEL).lines == ("two", "lines")
    assert words("", TEXT, LABEL).lines == ("",)
    assert "\x1b" not in "".join(words("\x1b[31mred", TEXT, LABEL).lines)


def test_mosaics_enlarge_by_repeating_pixels():
    images = np.zeros((5, 1, 2, 2))
    images[4, 0, 0, 1] = 1.0
    made = np.asarray(mosaic(images, (0.0, 1.0), columns=3, scale=4))
    step = 8 + GUTTER
    assert made.shape == (2 * step + GUTTER, 3 * step + GUTTER, 3)
    tile = made[GUTTER + step : GUTTER + step + 8, GUTTER + step : GUTTER + step + 8, 0]
    assert (tile[:4, 4:] == 255).all()
    assert tile.sum() == 16 * 255


@pytest.mark.parametrize(("side", "factor"), [(8, 8), (28, 2), (32, 2), (64, 1), (100, 1)])
def test_scales_are_whole(side, factor):
    assert scale_for(SampleSpec(shape=(3, side, side)), 64) == factor


def test_the_range_of_the_data_is_drawn_black_to_white():
    images = np.full((2, 1, 3, 3), 0.25)
    assert brightness(images, SampleSpec(shape=(1, 3, 3), low=-1.0, high=1.0)) == (-1.0, 1.0)
    assert brightness(images, SampleSpec(shape=(1, 3, 3))) == (0.25, 0.25)


def test_densities_are_shares_of_one_scale_with_up_on_top():
    view = ((-1.0, 1.0), (-1.0, 1.0))
    point, spread = np.full((200, 2), 0.5), np.random.default_rng(0).uniform(-1, 1, (4000, 2))
    one, other, nothing = densities([point, spread, np.empty((0, 2))], view)
    assert one.max() == 1.0
    assert other.max() < 0.1
    assert nothing.max() == 0.0
    row, column = np.unravel_index(one.argmax(), one.shape)
    assert row < len(one) / 2 < column  # y = 0.5 is in the upper half, x = 0.5 in the right one
    assert math.isclose(row, len(one) / 4, abs_tol=1.5)
    assert densities([np.empty((0, 2))], view)[0].max() == 0.0


def test_a_density_is_drawn_where_the_points_are():
    view = ((-1.0, 1.0), (-1.0, 1.0))
    spec = SampleSpec(shape=(2,), modes=Modes(centres=((0.0, 0.0),), std=0.1))
    (shares,) = densities([np.full((50, 2), -0.5)], view)
    picture = np.asarray(density(shares, "density", spec, view, side=200)).astype(int)
    middle = picture.shape[0] // 2
    dark = picture.sum(2) < sum(FAKE)
    assert dark[middle:, :middle].sum() > 20
    assert not dark[:middle, middle:].any()


def test_a_gap_is_white():
    assert gap(3, 4).getcolors() == [(12, WHITE)]
