"""The numbers that stacked digits spell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from ganbench import Bank, Component, ConfigError, Extractor, Measure, Metric, field, hookimpl
from ganbench_zoo.extractors_channels import PerChannel
from ganbench_zoo.metrics_classifier import logits_of
from ganbench_zoo.metrics_modes import from_uniform

if TYPE_CHECKING:
    from ganbench import Cell


class StackedModes(Metric, name="stacked-modes", source="https://arxiv.org/abs/1611.02163"):
    """stacked_modes = |{numbers read at least once}|, stacked_kl = KL(shares || uniform), of classes^channels.

    A sample is read channel by channel, by the classifier of the dataset that each channel is a sample of: with three
    digits there are 1000 numbers. The literature reads 26,000 samples (25,600 in the first paper): then true samples
    find about all modes and a divergence of (1000 - 1) / (2 n) = 0.019. Fewer samples find fewer modes, so compare
    only values of one n, and with the floor.
    """

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("stacked_modes", "higher", "modes"),
        Measure("stacked_kl", "lower", "nats"),
    )

    extractor: Extractor | None = PerChannel()
    channels: int = field(default=3, ge=1, doc="digits of a number")

    def mismatch(self, cell: Cell) -> str | None:
        if cell.dataset.channel() is not None:
            return None
        return (
            f"metric stacked-modes reads each channel as a sample of its own, and those of {cell.dataset.name} are none"
        )

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real, rng
        logits = logits_of(fake, self)
        if logits.shape[1] % self.channels:
            raise ConfigError(f"{logits.shape[1]} logits are not those of {self.channels} channels")
        digits = logits.reshape(len(logits), self.channels, -1)
        classes = digits.shape[2]
        places = classes ** torch.arange(self.channels - 1, -1, -1, device=digits.device)
        numbers = (digits.argmax(2) * places).sum(1)
        counts = torch.unique(numbers, return_counts=True)[1]
        return {
            "stacked_modes": float(len(counts)),
            "stacked_kl": from_uniform(counts, classes**self.channels),
        }


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metric of this module."""
    return [StackedModes]
