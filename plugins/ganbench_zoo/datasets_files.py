"""Datasets of a user's own: a folder of images, and arrays in an npz file."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from ganbench import (
    Component,
    ConfigError,
    Dataset,
    Levels,
    Samples,
    SampleSpec,
    data_roots,
    field,
    hookimpl,
    kept_levels,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

    Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
    Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Split: TypeAlias = Literal["train", "test"]
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
HELD_OUT = 5
"""Where the data has no split of its own, the last of as many samples of a class is for testing."""


def located(text: str, title: str) -> Path:
    """The path that ``text`` means: as it is, or under the folders where data is looked for.

    Raises:
        ConfigError: there is nothing of that name, or no name.
    """
    if not text:
        raise ConfigError(f"dataset {title} needs a path", hint=f'say {{ use = "{title}", path = "..." }}')
    candidates = [Path(text).expanduser(), *(root / text for root in data_roots())]
    for path in candidates:
        if path.exists():
            return path
    looked = ", ".join(dict.fromkeys(str(path) for path in candidates))
    raise ConfigError(f"dataset {title}: there is no {text!r}", hint=f"looked for {looked}; see docs/datasets.md")


def for_testing(labels: Integers) -> Array:
    """For each sample whether it is held out: in the order given, the 5th, 10th, ... of its class."""
    import numpy as np

    rank = np.zeros(len(labels), np.int64)
    for value in np.unique(labels):
        where = labels == value
        rank[where] = np.arange(int(where.sum()))
    held: Array = rank % HELD_OUT == HELD_OUT - 1
    return held


# -- a folder of images ------------------------------------------------------------------------------------


def image_files(folder: Path) -> list[Path]:
    """The images in ``folder`` and below it, by path; hidden files and folders are left out."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(base, name) for name in names if Path(name).suffix.lower() in ENDINGS and name[0] != "."]
    return sorted(found)


def class_names(folder: Path) -> list[str]:
    """The folders in ``folder``, which are the classes: two or more, and no image beside them. Else none."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in seen if entry.is_dir())
    images = any(Path(entry.name).suffix.lower() in ENDINGS for entry in seen if entry.is_file())
    return names if len(names) >= 2 and not images else []


def read_image(path: Path, size: int, channels: int) -> Bytes:
    """The image's largest square in its middle, resized to uint8 [channels, size, size] by Lanczos' filter.

    Raises:
        ConfigError: it is damaged, too large for Pillow's limit, or of more than 8 bits a channel.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.mode[0] in "IF":
                    raise ConfigError(f"images of mode {opened.mode} have no 8 bits a channel", place=str(path))
                upright = ImageOps.exif_transpose(opened)
                # transparency has no colour of its own: what lies under it is taken
                picture = upright.convert("RGB" if channels == 3 else "L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ConfigError(f"this image cannot be read: {error}", place=str(path)) from error
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    # cut first: a filter would reach over the edges of a box
    square = picture.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(square).reshape(size, size, channels)
    return pixels.transpose(2, 0, 1)


class Folder(Dataset, name="folder", source="https://pillow.readthedocs.io/"):
    """Every image in a folder and below it, its middle square resized to [channels, size, size], in [-1, 1].

    Folders in it are the classes, if there are two or more and no image beside them. If it has folders ``train`` and
    ``test``, these are the splits; otherwise every fifth image of a class, by path, is for testing, and of files that
    are equal one is taken. Paths are taken as they are, or under ``$GANBENCH_DATA``.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = (
        "sliced-wasserstein",
        {"use": "density-coverage", "extractor": "pixels"},
    )

    path: str = field(default="", doc="of the folder; it has to be given")
    size: int = field(default=32, ge=1, doc="sides of the images, in pixels")
    channels: Literal[1, 3] = field(default=3, doc="3 for colours, 1 for grey")

    def spec(self) -> SampleSpec:
        root, divided = self._root()
        classes = len(class_names(root / "train" if divided else root))
        return SampleSpec(shape=(self.channels, self.size, self.size), classes=classes, low=-1.0, high=1.0)

    def load(self, split: Split, rng: torch.Generator) -> Levels:
        del rng
        files, labels = self._chosen(split)
        return kept_levels(self, split, files, lambda: self._read(files, labels))

    def _root(self) -> tuple[Path, bool]:
        """The folder, and whether it has a folder for each split."""
        root = located(self.path, self.name)
        if not root.is_dir():
            raise ConfigError(f"dataset {self.name}: {self.path!r} is a file", hint='for arrays use = "npz"')
        return root, all((root / name).is_dir() for name in ("train", "test"))

    def _chosen(self, split: Split) -> tuple[list[Path], Integers | None]:
        """The files of ``split``, and the class of each."""
        import numpy as np

        root, divided = self._root()
        folder = root / split if divided else root
        names, here = class_names(root / "train" if divided else root), class_names(folder)
        if names != here:
            raise ConfigError(f"the classes are {names} for training and {here} for testing", place=str(root))
        files = image_files(folder)
        if not divided:
            files = _without_copies(files)
        labels = np.array([names.index(f.relative_to(folder).parts[0]) if names else 0 for f in files], np.int64)
        if not divided:
            taken = np.flatnonzero(for_testing(labels) == (split == "test"))
            files, labels = [files[i] for i in taken], labels[taken]
        if not files:
            endings = ", ".join(sorted(ENDINGS))
            raise ConfigError(f"there is no image for the {split} split", place=str(folder), hint=f"endings: {endings}")
        return files, labels if names else None

    def _read(self, files: list[Path], labels: Integers | None) -> tuple[Bytes, Integers | None]:
        import numpy as np

        return np.stack([read_image(path, self.size, self.channels) for path in files]), labels


def _without_copies(files: list[Path]) -> list[Path]:
    """``files`` without those whose contents an earlier one has."""
    seen: dict[bytes, Path] = {}
    for path in files:
        with path.open("rb") as file:
            seen.setdefault(hashlib.file_digest(file, "sha256").digest(), path)
    return list(seen.values())


# -- arrays ------------------------------------------------------------------------------------------------

PLAIN = ({"x": "x", "y": "y"}, {"x": "arr_0", "y": "arr_1"})
"""Names of the arrays in a file without splits; one with splits has x_train, y_train, x_test and y_test."""


@dataclass(frozen=True)
class Header:
    """What an array in an npz file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def headers(path: Path) -> dict[str, Header]:
    """The header of every array in an npz file; no array is read.

    Raises:
        ConfigError: it is no npz file, or has an array of Python objects.
    """
    import numpy as np

    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2_0
                    shape, _, dtype = read(file)
                found[name.removesuffix(".npy")] = Header(shape, dtype)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"this is not an npz file: {error}", place=str(path)) from error
    if objects := [name for name, header in found.items() if header.dtype.hasobject]:
        raise ConfigError(f"{objects[0]} has Python objects, which are not read", place=str(path))
    return found


def _header_2_0(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    import numpy as np

    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = np.lib.format.read_array_header_2_0(file)
    return header


class Npz(Dataset, name="npz", source="https://numpy.org/doc/stable/reference/generated/numpy.savez.html"):
    """Arrays of an npz file: ``x`` and labels ``y``, or ``x_train``, ``x_test`` and their ``y_train``, ``y_test``.

    Labels may be missing. ``x`` of bytes are images, [n, height, width], [n, height, width, channels] or
    [n, channels, height, width], or rows [n, d]; 0..255 becomes ``low``..``high``, or -1..1. ``x`` of floats has any
    shape [n, ...] and lies in ``low``..``high``; without them generators end without a tanh. Without splits every fifth
    sample of a class is for testing, and of samples that are equal one is taken. Python objects are refused. Paths are
    taken as they are, or under ``$GANBENCH_DATA``.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = ("sliced-wasserstein",)

    path: str = field(default="", doc="of the file; it has to be given")
    low: float | None = field(default=None, doc="the least value")
    high: float | None = field(default=None, doc="the greatest value")

    def validate(self) -> None:
        low, high = self._range(-math.inf, math.inf)
        if math.isfinite(low) != math.isfinite(high) or low >= high:
            raise ConfigError(f"low = {low:g} and high = {high:g} are no range")

    def _range(self, low: float, high: float) -> tuple[float, float]:
        """``low`` and ``high`` as the fields say, or else as given."""
        return low if self.low is None else self.low, high if self.high is None else self.high

    def spec(self) -> SampleSpec:
        path = located(self.path, self.name)
        names, found = self._names("train")
        header = found[names["x"]]
        if header.dtype.kind not in "uf" or (header.dtype.kind == "u" and header.dtype.itemsize > 1):
            raise ConfigError(f"{names['x']} has numbers of type {header.dtype}, not uint8 or floats", place=str(path))
        if len(header.shape) < 2:
            raise ConfigError(f"{names['x']} has shape {list(header.shape)}, not [n, ...]", place=str(path))
        low, high = self._range(-1.0, 1.0) if header.dtype.kind == "u" else self._range(-math.inf, math.inf)
        _, shape = arranged(header.shape, images=header.dtype.kind == "u")
        return SampleSpec(shape=shape, classes=self._classes(path), low=low, high=high)

    def load(self, split: Split, rng: torch.Generator) -> Samples:
        import torch

        del rng
        path, spec = located(self.path, self.name), self.spec()
        if self._names(split)[1][self._names(split)[0]["x"]].dtype.kind == "u":
            return kept_levels(self, split, [path], lambda: self._read(split))
        x, y = self._read(split)
        values = torch.from_numpy(x).float()
        if not bool(((values >= spec.low) & (values <= spec.high)).all()):
            raise ConfigError(
                f"x has values outside {spec.low:g}..{spec.high:g}, or that are no numbers", place=str(path)
            )
        return Samples(values, None if y is None else torch.from_numpy(y))

    def _names(self, split: Split) -> tuple[dict[str, str], dict[str, Header]]:
        """What the arrays of a split are called, and all that there are."""
        path = located(self.path, self.name)
        found = headers(path)
        for names in ({"x": f"x_{split}", "y": f"y_{split}"}, *PLAIN):
            if names["x"] in found:
                return names, found
        raise ConfigError(f"it has {', '.join(found) or 'nothing'}, and no x or x_{split}", place=str(path))

    def _classes(self, path: Path) -> int:
        names, found = self._names("train")
        if names["y"] not in found:
            return 0
        return _highest(path, path.stat().st_mtime_ns, names["y"]) + 1

    def _read(self, split: Split) -> tuple[Array, Integers | None]:
        import numpy as np

        path, (names, found) = located(self.path, self.name), self._names(split)
        with np.load(path, allow_pickle=False) as file:
            x = file[names["x"]]
            y = file[names["y"]].astype(np.int64).reshape(-1) if names["y"] in found else None
        if y is not None and (len(y) != len(x) or int(y.min()) < 0):
            raise ConfigError(
                f"{names['y']} has {len(y)} labels for {len(x)} samples, or negative ones", place=str(path)
            )
        if y is not None and int(y.max()) >= (classes := self._classes(path)):
            raise ConfigError(
                f"a label of {names['y']} is {int(y.max())}, and training has {classes} classes", place=str(path)
            )
        order, shape = arranged(x.shape, images=x.dtype.kind == "u")
        x = x.transpose(order).reshape(len(x), *shape)
        if names["x"] == f"x_{split}":
            return x, y
        first = sorted({row.tobytes(): i for i, row in reversed(list(enumerate(x)))}.values())
        labels = np.zeros(len(first), np.int64) if y is None else y[first]
        taken = np.array(first)[for_testing(labels) == (split == "test")]
        return x[taken], None if y is None else y[taken]


@functools.lru_cache(maxsize=32)
def _highest(path: Path, modified: int, name: str) -> int:
    """The highest label; specifications are asked for often, and this reads the labels."""
    import numpy as np

    del modified  # part of the key
    with np.load(path, allow_pickle=False) as file:
        labels = file[name]
    if labels.dtype.kind not in "iu" or not labels.size:
        raise ConfigError(f"{name} are {labels.size} labels of type {labels.dtype}, not integers", place=str(path))
    return int(labels.max())


def arranged(shape: tuple[int, ...], *, images: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of axes that puts channels first, and the shape of a sample then: [28, 28, 3] becomes [3, 28, 28]."""
    order = tuple(range(len(shape)))
    if images and len(shape) == 3:
        return order, (1, *shape[1:])
    if images and len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        order = (0, 3, 1, 2)
    return order, tuple(shape[axis] for axis in order[1:])


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The datasets of this module."""
    return [Folder, Npz]
