"""The role dataset: a specification without loading, and samples of a split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from ganbench.component import Component

if TYPE_CHECKING:
    from torch import Generator

    from ganbench.samples import Sampler, Samples, SampleSpec

Split: TypeAlias = Literal["train", "test"]


class Dataset(Component, role="dataset"):
    """Where real samples come from: a finite set, or an endless sampler."""

    metrics: ClassVar[tuple[str | dict[str, Any], ...]] = ()
    """The metrics that make sense for it, as the grid writes them; used where the grid names none."""

    def spec(self) -> SampleSpec:
        """Shape, classes and range, without loading anything."""
        raise NotImplementedError

    def missing(self) -> str | None:
        """What has to be put where before it can be loaded, or None; nothing is read."""
        return None

    def load(self, split: Split, rng: Generator) -> Samples | Sampler:
        """The samples of ``split``, in float32 and in the spec's range; train and test share none.

        Large sets of images are :class:`~ganbench.samples.Levels`, which keep a byte a value.
        """
        raise NotImplementedError

    def channel(self) -> Dataset | None:
        """The dataset that each channel is a sample of, where channels are independent draws of one; else None.

        ``Stacked-MNIST`` gives MNIST here, so that a classifier of digits can read its samples.
        """
        return None


def cache_dir() -> Path:
    """Where derived data is kept between runs: ``$GANBENCH_CACHE``, or ``ganbench`` in the user's cache folder."""
    if named := os.environ.get("GANBENCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganbench"
