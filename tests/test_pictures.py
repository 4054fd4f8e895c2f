"""Sample pictures: sizes, colours where they matter, and data that is degenerate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench.canvas import FAKE, REAL, SIDE
from ganbench.pictures import TILES, histogram, sample_picture, scatter
from ganbench.samples import Modes, SampleSpec

RING = SampleSpec(shape=(2,), modes=Modes(centres=((2.0, 0.0), (-2.0, 0.0)), std=0.1))
GREY = SampleSpec(shape=(1, 8, 8), low=-1.0, high=1.0)


def draw(path: Path, fake: torch.Tensor, spec: SampleSpec, real: torch.Tensor | None = None) -> np.ndarray:
    sample_picture(fake, spec, path, real=real)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(int)


def blueness(picture: np.ndarray) -> np.ndarray:
    """How far each pixel leans from grey towards the colour of generated samples."""
    return picture[..., 2] - picture[..., 0]


def test_the_ending_of_the_name_does_not_matter(tmp_path):
    named, odd = (draw(tmp_path / name, torch.zeros(3, 2), RING) for name in ("samples.png", "samples.png.partial"))
    assert np.array_equal(named, odd)


@pytest.mark.parametrize("side", [8, 28, 32, 64, 100])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiles_are_whole_multiples_of_the_image_around_512_pixels(tmp_path, side, channels):
    spec = SampleSpec(shape=(channels, side, side), low=0.0, high=1.0)
    picture = draw(tmp_path / "p.png", torch.rand(64, *spec.shape), spec, torch.rand(9, *spec.shape))
    scale = max(1, SIDE // TILES // side)
    assert picture.shape[1] == TILES * (side * scale + 3) + 3
    assert picture.shape[0] > TILES * (side * scale + 3)


def test_low_is_black_and_high_is_white(tmp_path):
    fake = torch.full((2, 1, 8, 8), -1.0)
    fake[1] = 1.0
    picture = draw(tmp_path / "p.png", fake, GREY)
    row = picture[18 + 32]  # through the first row of tiles, under a line of text
    assert (row[3 : 3 + 64] == 0).all()
    assert (row[3 + 67 : 3 + 67 + 64] == 255).all()


def test_values_out_of_range_and_not_finite_are_drawn(tmp_path):
    fake = torch.full((3, 1, 8, 8), 9.0)
    fake[1], fake[2] = math.nan, -math.inf
    row = draw(tmp_path / "p.png", fake, GREY)[18 + 32]
    assert (row[3 : 3 + 64] == 255).all()
    assert (row[3 + 67 : 3 + 2 * 67 + 64 : 67] == 0).all()


def test_unbounded_images_take_their_range_from_the_real_ones(tmp_path):
    spec = SampleSpec(shape=(1, 8, 8))
    real = torch.linspace(-5, 5, 64).reshape(1, 1, 8, 8)
    same = draw(tmp_path / "a.png", real, spec, real)
    top, bottom = same[18 : 18 + 64, 3:67], same[18 + 67 + 18 : 18 + 67 + 18 + 64, 3:67]
    assert (top == bottom).all()
    assert top.min() == 0
    assert top.max() == 255


def test_points_lie_where_they_should(tmp_path):
    fake = torch.tensor([[2.0, 0.0]]).expand(500, 2)
    picture = draw(tmp_path / "p.png", fake, RING)
    rows, columns = np.nonzero(blueness(picture[40:]) > 100)
    height, width = picture.shape[:2]
    # the window is the square of half side 0.6 (4 + 8 std) around the origin, rounded up to two digits: 2.9
    assert columns.mean() == pytest.approx(28 + SIDE * (2.0 + 2.9) / 5.8, abs=1.5)
    assert rows.mean() + 40 == pytest.approx(height / 2, abs=1.5)
    assert (height, width) == (SIDE + 56, SIDE + 56)


def test_pictures_of_one_mixture_have_one_window(tmp_path):
    pictures = [draw(tmp_path / "p.png", torch.full((1, 2), 99.0), RING, torch.randn(50, 2) * s) for s in (1, 9)]
    inside = [p[60:-40, 60:-40] for p in pictures]
    # the same lines of the grid, under different points
    assert all((p.min(axis=2)[:, 0] < 255).any() for p in inside)
    frames = [(p[28 + SIDE // 2, :28] < 200).any(axis=1) for p in pictures]
    assert (frames[0] == frames[1]).all()


def test_crowds_are_darker_than_single_points(tmp_path):
    one = draw(tmp_path / "a.png", torch.zeros(1, 2), RING)
    many = draw(tmp_path / "b.png", torch.zeros(100, 2), RING)
    assert 0 < blueness(one[40:]).max() < blueness(many[40:]).max() <= FAKE[2] - FAKE[0] + 1


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5)])
def test_other_data_becomes_a_histogram_of_the_first_coordinate(tmp_path, shape):
    fake = torch.randn(200, *shape)
    picture = draw(tmp_path / "p.png", fake, SampleSpec(shape=shape), torch.randn(100, *shape))
    assert (blueness(picture[40:]) > 100).any()


DEGENERATE = [0.0, math.nan, math.inf, -1e30, 1e-30]
MIDDLE, LEFT, BOTTOM = 28 + SIDE / 2, 28, 28 + SIDE


def generated(picture: np.ndarray) -> tuple[float, float]:
    """The row and the column, in the middle, of the topmost pixels in the colour of generated samples."""
    rows, columns = np.nonzero(blueness(picture[40:]) > 100)
    assert len(rows)
    return float(rows.min()) + 40, float(columns[rows == rows.min()].mean())


@pytest.mark.parametrize("value", DEGENERATE)
@pytest.mark.parametrize("with_real", [False, True])
def test_images_of_one_value_are_tiles_of_one_shade(tmp_path, value, with_real):
    real = torch.zeros(4, 1, 8, 8) if with_real else None
    picture = draw(tmp_path / "p.png", torch.full((5, 1, 8, 8), value), SampleSpec(shape=(1, 8, 8)), real)
    row = 18 + 64 + 3  # of tiles, under a line of text
    assert picture.shape == ((1 + with_real) * row, TILES * 67 + 3, 3)
    tiles = [picture[-row:][18 : 18 + 64, 3 + 67 * k : 67 + 67 * k] for k in range(TILES)]
    shade = 255 if value == math.inf else 0
    assert all((tile == shade).all() for tile in tiles[:5])
    assert all((tile == 255).all() for tile in tiles[5:])  # as the paper


@pytest.mark.parametrize("value", DEGENERATE)
@pytest.mark.parametrize("with_real", [False, True])
def test_points_in_one_place_are_in_the_middle_or_on_the_frame(tmp_path, value, with_real):
    real = torch.zeros(4, 2) if with_real else None
    picture = draw(tmp_path / "p.png", torch.full((5, 2), value), SampleSpec(shape=(2,)), real)
    assert picture.shape == (SIDE + 56, SIDE + 56, 3)
    if not math.isfinite(value):
        assert not (blueness(picture[40:]) > 100).any()
        return
    outside = with_real and value == -1e30
    where = (BOTTOM, LEFT) if outside else (MIDDLE, MIDDLE)
    assert generated(picture) == pytest.approx(where, abs=3)


@pytest.mark.parametrize("value", DEGENERATE)
@pytest.mark.parametrize("with_real", [False, True])
def test_numbers_in_one_place_fill_one_bin(tmp_path, value, with_real):
    real = torch.zeros(4, 1) if with_real else None
    picture = draw(tmp_path / "p.png", torch.full((5, 1), value), SampleSpec(shape=(1,)), real)
    assert picture.shape == (SIDE + 56, SIDE + 56, 3)
    row, column = generated(picture)
    if not math.isfinite(value):
        assert row == pytest.approx(BOTTOM, abs=3)  # the line is flat
        return
    outside = with_real and value == -1e30
    assert row == pytest.approx(BOTTOM - SIDE / 1.1, abs=3)  # a tenth is left free
    assert column == pytest.approx(LEFT if outside else MIDDLE, abs=SIDE / 63)


@pytest.mark.parametrize("spec", [RING, SampleSpec(shape=(1,))])
def test_without_generated_samples_the_plane_has_the_real_ones_alone(tmp_path, spec):
    picture = draw(tmp_path / "p.png", torch.zeros(0, *spec.shape), spec, torch.zeros(4, *spec.shape))
    rows = np.nonzero(blueness(picture[40:]) > 100)[0] + 40
    assert all(rows > BOTTOM - 3)  # a histogram has its line, flat
    centre = picture[int(MIDDLE), int(MIDDLE)]
    assert abs(centre - REAL).max() <= 8  # four discs at half their opacity, or a full bin


def test_without_generated_samples_the_real_images_are_there(tmp_path):
    picture = draw(tmp_path / "p.png", torch.zeros(0, 1, 8, 8), GREY, torch.full((4, 1, 8, 8), -1.0))
    assert picture.shape == (18 + 67 + 18, TILES * 67 + 3, 3)  # and no row of tiles
    tiles = [picture[18 : 18 + 64, 3 + 67 * k : 67 + 67 * k] for k in range(TILES)]
    assert [int(tile.max()) for tile in tiles] == [0] * 4 + [255] * 4


@pytest.mark.parametrize("draw_one", [lambda x, **k: scatter(x, x, RING, **k), lambda x, **k: histogram(x, x, **k)])
def test_a_bare_picture_is_small_and_says_nothing(draw_one):
    x = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    small, whole = draw_one(x, side=100, bare=True), draw_one(x)
    assert small.size == (104, 104)
    assert whole.width > SIDE
    corner = np.asarray(small)[:2]
    assert (corner == 255).all()  # no legend above the frame
