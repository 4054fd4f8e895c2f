"""What a sample looks like (SampleSpec) and a batch of them (Samples)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The modes of a mixture of isotropic Gaussians of equal weight: what makes 'a mode was found' a statement.

    Args:
        centres: K points, each of the dimension of the data.
        std: the standard deviation of every mode.
    """

    centres: tuple[tuple[float, ...], ...]
    std: float


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """Shape and range of one sample, known without loading data.

    Args:
        shape: of one sample: ``(d,)`` for vectors, ``(channels, height, width)`` for images.
        classes: number of classes; 0 means unlabelled.
        low: the least value, or -inf where the data is unbounded (then generators end without a tanh).
        high: the greatest value.
        modes: the true modes, where the data is a known mixture.
    """

    shape: tuple[int, ...]
    classes: int = 0
    low: float = -math.inf
    high: float = math.inf
    modes: Modes | None = None

    @property
    def size(self) -> int:
        """Number of values in one sample."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether a sample is (channels, height, width)."""
        return len(self.shape) == 3

    @property
    def bounded(self) -> bool:
        """Whether the values have a finite range."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples ``x [n, *shape]`` and their labels ``y [n]`` (int64), or None where there are none."""

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        """The number of samples."""
        return int(self.x.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.x.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.x.device

    def take(self, index: Tensor) -> Samples:
        """The samples at ``index [m]``."""
        return Samples(self.x[index], None if self.y is None else self.y[index])


class Levels(Samples):
    """Samples of which a byte a value is kept: ``x = low + (high - low) level / 255``, in float32.

    They are converted when they are taken, so that a set of images fills a quarter of the memory that floats would,
    and one that lies in a file on disk is read where it is needed. Where a whole set is asked for as ``x``, all of it
    is converted.

    Args:
        levels: uint8 [n, *shape], in memory or mapped from a file.
        y: int64 [n], or None.
        low: what level 0 means.
        high: what level 255 means.
    """

    __slots__ = ("high", "levels", "low")
    levels: Tensor
    low: float
    high: float

    def __init__(self, levels: Tensor, y: Tensor | None = None, *, low: float = -1.0, high: float = 1.0) -> None:
        for name, value in (("levels", levels), ("y", y), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)  # the class is frozen

    def __len__(self) -> int:
        return int(self.levels.shape[0])

    @property
    def x(self) -> Tensor:
        """All samples in float32."""
        return self.converted(self.levels)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.levels.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.levels.device

    def take(self, index: Tensor) -> Samples:
        return Samples(self.converted(self.levels[index]), None if self.y is None else self.y[index])

    def converted(self, levels: Tensor) -> Tensor:
        """``levels`` in float32 and in the range; the ends of the range are exact where 255 / (high - low) is."""
        return levels.float().div_(255 / (self.high - self.low)).add_(self.low)

    def to(self, device: torch.device) -> Levels:
        """The same samples on ``device``."""
        y = None if self.y is None else self.y.to(device)
        return Levels(self.levels.to(device), y, low=self.low, high=self.high)


@runtime_checkable
class Sampler(Protocol):
    """An endless source of samples, for data that is a distribution rather than a set."""

    def sample(self, n: int, rng: Generator) -> Samples:
        """``n`` fresh samples drawn with ``rng`` and no other randomness."""
        ...
