"""Samples of others: read as they are, or refused with what is wrong about them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganbench import Dataset, SampleSpec
from ganbench.errors import ConfigError
from ganbench.given import read


class Pictures(Dataset, name="test-pictures"):
    """Images of 6 x 4 pixels in -1..1."""

    channels: int = 3

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(self.channels, 4, 6), low=-1.0, high=1.0)


class Points(Dataset, name="test-points"):
    """Points of the plane."""

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(2,))


COLOUR, GREY = Pictures(), Pictures(channels=1)


def pixels(n: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (n, 4, 6, 3) if channels == 3 else (n, 4, 6)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(folder: Path, images: np.ndarray, ending: str = "png") -> Path:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.{ending}")
    return folder


def scaled(images: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(images).float() / 127.5 - 1
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x[:, None]


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dataset", "channels"), [(COLOUR, 3), (GREY, 1)])
def test_images_keep_their_bytes(tmp_path, dataset, channels):
    images = pixels(5, channels)
    given = read(write(tmp_path / "f", images), dataset, 100)
    torch.testing.assert_close(given.samples.x, scaled(images), atol=1e-6, rtol=0)
    assert (given.found, given.notes) == (5, ())


def test_images_of_every_lossless_kind_are_the_same(tmp_path):
    images = pixels(2)
    kinds = [read(write(tmp_path / end, images, end), COLOUR, 9).samples.x for end in ("png", "bmp", "tif", "ppm")]
    assert all(torch.equal(kind, kinds[0]) for kind in kinds)


def test_grey_images_serve_as_coloured_ones_and_grey_colours_as_grey(tmp_path):
    grey = pixels(2, 1)
    folder = write(tmp_path / "grey", grey)
    assert torch.equal(read(folder, COLOUR, 9).samples.x, read(folder, GREY, 9).samples.x.expand(-1, 3, -1, -1))
    as_colours = write(tmp_path / "colours", np.repeat(grey[..., None], 3, axis=3))
    assert torch.equal(read(as_colours, GREY, 9).samples.x, read(folder, GREY, 9).samples.x)


def test_subfolders_count_and_hidden_files_do_not(tmp_path):
    write(tmp_path, pixels(2))
    write(tmp_path / "more", pixels(3))
    write(tmp_path / ".hidden", pixels(4))
    (tmp_path / ".x.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image")
    assert read(tmp_path, COLOUR, 100).found == 5


def test_a_choice_is_random_repeats_and_follows_the_seed(tmp_path):
    folder = write(tmp_path / "f", pixels(30))
    one, two, other = (read(folder, COLOUR, 10, seed=seed).samples.x for seed in (0, 0, 1))
    assert len(one) == 10
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_jpeg_is_read_and_said(tmp_path):
    assert "JPEG" in read(write(tmp_path / "f", pixels(1), "jpg"), COLOUR, 9).notes[0]


def wrong_size(folder: Path) -> None:
    Image.new("RGB", (6, 5)).save(folder / "x.png")


def transparent(folder: Path) -> None:
    Image.new("RGBA", (6, 4), (1, 2, 3, 200)).save(folder / "x.png")


def sixteen_bits(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "x.png")


def damaged(folder: Path) -> None:
    whole = io.BytesIO()
    Image.fromarray(pixels(1)[0]).save(whole, format="PNG")
    (folder / "x.png").write_bytes(whole.getvalue()[:60])


def no_image(folder: Path) -> None:
    (folder / "x.png").write_bytes(b"GIF89a and no more")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (wrong_size, r"x\.png: this image has 6 x 5 pixels, and those of test-pictures have 6 x 4; resize them first"),
        (transparent, r"x\.png: parts of this image are transparent"),
        (sixteen_bits, r"x\.png: this image is of mode I;16: not of 8 bits"),
        (damaged, r"x\.png: this image cannot be read"),
        (no_image, r"x\.png: this image cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_image_is_named_with_what_is_wrong(tmp_path, make, message):
    folder = write(tmp_path / "f", pixels(2))
    make(folder)
    with pytest.raises(ConfigError, match=message):
        read(folder, COLOUR, 100)


def test_opaque_alpha_and_palettes_are_read(tmp_path):
    image = Image.fromarray(pixels(1)[0]).quantize(8)
    (tmp_path / "f").mkdir()
    image.save(tmp_path / "f" / "a.png")
    image.convert("RGBA").save(tmp_path / "f" / "b.png")
    x = read(tmp_path / "f", COLOUR, 9).samples.x
    assert torch.equal(x[0], x[1])


def test_colours_are_refused_where_the_data_are_grey(tmp_path):
    with pytest.raises(ConfigError, match="this image has colours, and those of test-pictures are grey"):
        read(write(tmp_path / "f", pixels(1)), GREY, 9)


def test_pillows_limit_on_pixels_holds(tmp_path, monkeypatch):
    folder = write(tmp_path / "f", pixels(1))
    for limit in (20, 5):  # a warning up to twice the limit, an error beyond
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ConfigError, match="cannot be read: Image size"):
            read(folder, COLOUR, 9)


def test_folders_without_images_say_what_is_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no image in this folder; it is empty; read are \.png"):
        read(tmp_path, COLOUR, 9)
    (tmp_path / "a.tar").touch()
    with pytest.raises(ConfigError, match=r"no image in this folder; there are \.tar"):
        read(tmp_path, COLOUR, 9)
    with pytest.raises(ConfigError, match=r"a folder holds images, and samples of test-points have shape \[2\]"):
        read(tmp_path, Points(), 9)
    (tmp_path / "run.json").touch()
    with pytest.raises(ConfigError, match="this is a whole run; name one of its trials"):
        read(tmp_path, COLOUR, 9)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "there is no such file or folder"),
        ("none.npz", "there is no such file or folder"),
        ("none.npz:x", "there is no such file or folder"),
        ("a.pt", r"\.pt files are not read; an npz file is; numpy\.savez"),
        ("a.txt", "these are no samples; name a folder of images, an npz file, or the folder of a trial"),
    ],
)
def test_what_is_neither_is_named(tmp_path, name, message):
    if not name.startswith("none"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / name, COLOUR, 9)


# -- npz files ---------------------------------------------------------------------------------------------------------


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_bytes_and_floats_in_any_order_of_axes_are_the_same_images(tmp_path):
    images = pixels(4)
    first = images.transpose(0, 3, 1, 2)
    read_as = [
        read(npz(tmp_path / f"{i}.npz", samples=array), COLOUR, 9)
        for i, array in enumerate((first, images, (first / 127.5 - 1).astype(np.float32), first / 127.5 - 1))
    ]
    for given in read_as:
        torch.testing.assert_close(given.samples.x, scaled(images), atol=1e-6, rtol=0)
        assert given.samples.x.dtype == torch.float32
    assert read_as[1].notes == ("channels were the last axis",)


def test_grey_images_may_lack_their_channel(tmp_path):
    assert read(npz(tmp_path / "a.npz", x=pixels(4, 1)), GREY, 9).samples.x.shape == (4, 1, 4, 6)


def test_points_are_taken_as_they_are_wherever_they_lie(tmp_path):
    points = np.array([[1e6, -3.0], [np.nan, 0.5]])
    given = read(npz(tmp_path / "a.npz", x=points), Points(), 9)
    torch.testing.assert_close(given.samples.x, torch.from_numpy(points).float(), equal_nan=True)


def test_the_array_is_the_only_one_the_usual_one_or_the_named_one(tmp_path):
    one, two = np.zeros((2, 2)), np.ones((3, 2))
    assert read(npz(tmp_path / "a.npz", anything=one), Points(), 9).found == 2
    both = npz(tmp_path / "b.npz", samples=one, y=two)
    assert read(both, Points(), 9).found == 2
    assert read(Path(f"{both}:y"), Points(), 9).found == 3
    with pytest.raises(ConfigError, match=r"there is no array 'sample'; did you mean 'samples'\?"):
        read(Path(f"{both}:sample"), Points(), 9)
    odd = npz(tmp_path / "c.npz", p=one, q=two)
    with pytest.raises(ConfigError, match=r"which of its arrays are the samples\? p, q; name it: .*c\.npz:p"):
        read(odd, Points(), 9)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 5, 5, 3)),
            r"has shape \[3, 5, 5, 3\], and samples of test-pictures are \[n, 3, 4, 6\]",
        ),
        (np.zeros((0, 3, 4, 6)), r"the array has shape \[0, 3, 4, 6\]"),
        (np.float64(3.0), r"the array has shape \[\]"),
        (
            np.full((1, 3, 4, 6), 255.0),
            "from 255 to 255, and those of test-pictures from -1 to 1; scale them",
        ),
        (np.full((1, 3, 4, 6), -1.1), "values go from -1.1 to -1.1"),
        (np.zeros((1, 3, 4, 6), np.int64), r"values are of type int64; give bytes \(uint8\) or floats"),
        (np.zeros((1, 3, 4, 6), complex), "values are of type complex128"),
    ],
)
def test_arrays_that_are_not_like_the_data_are_refused(tmp_path, array, message):
    with pytest.raises(ConfigError, match=message):
        read(npz(tmp_path / "a.npz", x=array), COLOUR, 9)


def test_a_range_that_may_be_another_is_asked_about(tmp_path):
    half = np.full((2, 3, 4, 6), 0.5)
    assert "no value is below 0" in read(npz(tmp_path / "a.npz", x=half), COLOUR, 9).notes[0]


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_objects_are_never_unpickled(tmp_path):
    path = npz(tmp_path / "a.npz", x=np.array([Trap()], dtype=object))
    with pytest.raises(ConfigError, match="this npz file cannot be read: it holds Python objects"):
        read(path, COLOUR, 9)
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ConfigError, match="this npz file cannot be read: it holds Python objects"):
        read(tmp_path / "b.npz", COLOUR, 9)


def test_torn_files_are_said_to_be(tmp_path):
    path = npz(tmp_path / "a.npz", x=pixels(4))
    whole = path.read_bytes()
    for cut in (len(whole) // 2, 0):
        path.write_bytes(whole[:cut])
        with pytest.raises(ConfigError, match="this npz file cannot be read"):
            read(path, COLOUR, 9)
    np.save(tmp_path / "b.npy", pixels(1))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(ConfigError, match="this is a single array, not an npz file"):
        read(tmp_path / "b.npz", COLOUR, 9)
