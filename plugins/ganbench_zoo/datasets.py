"""Datasets that need no download: a point, two mixtures of Gaussians and real images of digits."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ganbench import Component, Dataset, Modes, Sampler, Samples, SampleSpec, field, hookimpl

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

MIXTURE_METRICS: tuple[str | dict[str, Any], ...] = ("mixture-modes", "sliced-wasserstein")


@dataclass(frozen=True)
class Point:
    """Every sample is the origin of R^1."""

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        import torch

        del rng
        return Samples(torch.zeros(n, 1))


@dataclass(frozen=True)
class Mixture:
    """``x = centre_k + std * e``, with k uniform over the K centres and e standard normal.

    Args:
        centres: [K, d] float32.
        std: of every mode.
    """

    centres: Tensor
    std: float

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        import torch

        modes, dimension = self.centres.shape
        k = torch.randint(modes, (n,), generator=rng)
        noise = torch.randn(n, dimension, generator=rng)
        return Samples(torch.add(self.centres.index_select(0, k), noise, alpha=self.std))


def _mixture(spec: SampleSpec) -> Mixture:
    import torch

    assert spec.modes is not None
    return Mixture(torch.tensor(spec.modes.centres), spec.modes.std)


class Dirac(Dataset, name="dirac", source="https://arxiv.org/abs/1801.04406"):
    """delta_0 on R^1: every sample is 0. The smallest GAN problem, whose training dynamics are known exactly."""

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = ("sliced-wasserstein",)

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(1,))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        del split, rng
        return Point()


class Ring(Dataset, name="ring", source="https://arxiv.org/abs/1611.02163"):
    """Equal mixture of N(c_k, std^2 I) on R^2, c_k = radius (cos 2 pi k / modes, sin 2 pi k / modes).

    An endless source: train and test are independent draws of one distribution. The angles exclude 2 pi, so
    that all ``modes`` are distinct and of equal weight. Narrower rings of the literature are ``std=0.02`` (Metz
    et al. 2017) and ``radius=1.0, std=0.01`` (Srivastava et al. 2017); they need far longer training.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = MIXTURE_METRICS

    modes: int = field(default=8, ge=1, doc="number of modes")
    radius: float = field(default=2.0, gt=0.0, doc="distance of the modes from the origin")
    std: float = field(default=0.1, gt=0.0, doc="standard deviation of a mode, per coordinate")

    def spec(self) -> SampleSpec:
        angles = [2 * math.pi * k / self.modes for k in range(self.modes)]
        centres = tuple((self.radius * math.cos(a), self.radius * math.sin(a)) for a in angles)
        return SampleSpec(shape=(2,), modes=Modes(centres=centres, std=self.std))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        del split, rng
        return _mixture(self.spec())


class Grid25(Dataset, name="grid25", source="https://arxiv.org/abs/1705.07761"):
    """Equal mixture of 25 N(c, std^2 I) on R^2, c in spacing * {-2, -1, 0, 1, 2}^2.

    The defaults are the published grid {-4, -2, 0, 2, 4}^2 with std 0.05, in its own units (no rescaling). An
    endless source: train and test are independent draws of one distribution.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = MIXTURE_METRICS

    spacing: float = field(default=2.0, gt=0.0, doc="distance between neighbouring modes")
    std: float = field(default=0.05, gt=0.0, doc="standard deviation of a mode, per coordinate")

    def spec(self) -> SampleSpec:
        ticks = [self.spacing * i for i in range(-2, 3)]
        return SampleSpec(shape=(2,), modes=Modes(centres=tuple(itertools.product(ticks, ticks)), std=self.std))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        del split, rng
        return _mixture(self.spec())


class Digits(Dataset, name="digits", source="https://archive.ics.uci.edu/dataset/80"):
    """1797 handwritten digits [1, 8, 8] in [-1, 1] with 10 classes, as scikit-learn carries them.

    The 17 grey levels 0..16 become level / 8 - 1. Within each class, in the order of the file, the 2nd, 5th,
    8th... sample is for testing and the others for training: 1198 and 599 samples, the same ones in every run.
    """

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = (
        {"use": "frechet-distance", "extractor": "classifier"},
        {"use": "density-coverage", "extractor": "classifier"},
        "sliced-wasserstein",
    )

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(1, 8, 8), classes=10, low=-1.0, high=1.0)

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Samples:
        import numpy as np
        import torch

        del rng
        levels, labels = _digits()
        # place of each sample within its class
        rank = (labels[:, None] == np.arange(10)).cumsum(axis=0)[np.arange(len(labels)), labels] - 1
        chosen = (rank % 3 == 1) == (split == "test")
        x = torch.from_numpy(levels[chosen]).to(torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
        return Samples(x, torch.from_numpy(labels[chosen]))


@functools.cache  # both splits and every seed of a process ask
def _digits() -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Levels [1797, 64] in 0..16 and labels [1797], read from scikit-learn's file; they are not to be written to.

    Importing ``sklearn.datasets`` takes over a second and reading its file takes 20 ms, which matters where
    every cell has a fresh process.
    """
    import numpy as np

    if rows := _digits_file():
        text = gzip.decompress(rows.read_bytes()).replace(b"\n", b",").rstrip(b",")
        table = np.array(text.split(b","), dtype=np.float64).reshape(-1, 65)
        return table[:, :64], table[:, 64].astype(np.int64)
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    return levels, labels.astype(np.int64)


def _digits_file() -> Path | None:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return path if path.is_file() else None


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The datasets of this module."""
    return [Dirac, Ring, Grid25, Digits]
