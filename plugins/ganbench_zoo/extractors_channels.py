"""An extractor for pictures whose channels are pictures of their own, as those of Stacked-MNIST are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganbench import Component, ConfigError, Dataset, Extractor, Features, hookimpl
from ganbench_zoo.extractors import Classifier

if TYPE_CHECKING:
    from ganbench import Cell


class PerChannel(Extractor, name="per-channel"):
    """Features [n, channels d] and logits [n, channels classes] of each channel by itself, side by side.

    The inner extractor is that of the dataset which each channel is a sample of (``Dataset.channel()``): for
    Stacked-MNIST a classifier of MNIST, which is trained once.
    """

    extractor: Extractor = Classifier()

    def mismatch(self, cell: Cell) -> str | None:
        return None if cell.dataset.channel() is not None else _refusal(cell.dataset)

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        channel = dataset.channel() if dataset is not None else None
        if channel is None:
            raise ConfigError(_refusal(dataset))
        return Channels(self.extractor.load(channel, device))


class Channels:
    """Each channel through ``features``."""

    def __init__(self, features: Features) -> None:
        self._features = features
        self.digest = str(getattr(features, "digest", ""))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([self._features(x[:, c : c + 1]) for c in range(x.shape[1])], 1)

    def logits(self, x: Tensor) -> Tensor:
        """[n, channels classes]."""
        whole = getattr(self._features, "logits", None)
        if whole is None:
            raise ConfigError("the extractor within per-channel does not classify")
        return torch.cat([whole(x[:, c : c + 1]) for c in range(x.shape[1])], 1)


def _refusal(dataset: Dataset | None) -> str:
    of = f"those of {dataset.name} are none" if dataset is not None else "no dataset is given"
    return f"extractor per-channel takes each channel for a sample of its own, and {of}"


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The extractor of this module."""
    return [PerChannel]
