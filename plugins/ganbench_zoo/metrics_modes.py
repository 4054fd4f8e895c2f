"""Modes of a mixture of Gaussians: how many were found, how well, and how evenly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from ganbench import Bank, Component, ConfigError, Measure, Metric, SampleSpec, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell


class MixtureModes(Metric, name="mixture-modes", source="https://arxiv.org/abs/1705.07761"):
    """modes20 = |{k: c_k >= min_count}|, hq = sum_k c_k / n, rkl = KL(c / sum c || U), rkl_all = KL(a / n || U).

    c_k counts the high-quality samples of mode k: nearest to its centre, and within 3 std of it (Euclidean); a_k counts
    all samples that are nearest to it, however far. U is uniform.
    Read the three together: a structureless Gaussian reaches many modes with hq near 0, and a point at one
    centre has hq 1. True samples in two dimensions score hq = 1 - exp(-9/2) = 0.98889, and rkl = (K - 1) / (2 n)
    in expectation. rkl is log K at one mode; where no sample is of high quality it has no value, and that largest
    one stands in, so that a failure is not left out of a mean.

    The literature counts a mode from its first sample of 2500 (``min_count = 1``); 20 asks for more than chance.
    """

    version: ClassVar[int] = 3
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("modes20", "higher", "modes"),
        Measure("hq", "higher"),
        Measure("rkl", "lower", "nats"),
        Measure("rkl_all", "lower", "nats"),
    )

    min_count: int = field(default=20, ge=1, doc="high-quality samples that make a mode count")
    centres: tuple[tuple[float, ...], ...] = field(default=(), doc="centres of the modes; empty: those of the data")
    std: float = field(default=0.0, ge=0.0, doc="standard deviation of a mode; 0: that of the data")

    def mismatch(self, cell: Cell) -> str | None:
        if self.centres or cell.dataset.spec().modes is not None:
            return None
        return f"metric mixture-modes needs a mixture of known modes, and {cell.dataset.name} has none"

    def bind(self, spec: SampleSpec) -> Self:
        if self.centres or spec.modes is None:
            return self
        return dataclasses.replace(self, centres=spec.modes.centres, std=self.std or spec.modes.std)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real, rng
        if not self.centres or not self.std:
            raise ConfigError(
                "metric mixture-modes does not know the modes",
                hint="bind it to the data's spec, or give it centres and std",
            )
        x = fake.double
        centres = torch.tensor(self.centres, dtype=x.dtype, device=x.device)
        if centres.shape[1] != x.shape[1]:
            raise ConfigError(f"the modes have {centres.shape[1]} coordinates and the samples {x.shape[1]}")
        distance, nearest = (x[:, None] - centres).square().sum(2).min(1)
        hq = distance <= (3 * self.std) ** 2
        good, every = (k.bincount(minlength=len(centres)) for k in (nearest[hq], nearest))
        return {
            "modes20": float((good >= self.min_count).sum()),
            "hq": hq.double().mean().item(),
            "rkl": from_uniform(good, len(centres)),
            "rkl_all": from_uniform(every, len(centres)),
        }


def from_uniform(counts: Tensor, modes: int) -> float:
    """KL(counts / sum || uniform over ``modes``), and log(modes), the largest there is, where nothing was counted."""
    if not counts.any():
        return math.log(modes)
    share = counts.double() / counts.sum()
    return float(torch.special.xlogy(share, share * modes).sum())


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metric of this module."""
    return [MixtureModes]
