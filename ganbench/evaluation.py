"""Sample quality of one trial: generated samples, real ones and a floor, through the same metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, ContractError
from ganbench.metric import Features, Metric
from ganbench.networks import Network
from ganbench.records import Value
from ganbench.samples import Samples
from ganbench.seeding import stream
from ganbench.state import Params

CHUNK = 512
"""Samples generated at once ; BatchNorm is in its evaluation mode then, so it does not matter to the numbers."""


@dataclass(frozen=True)
class Bench:
    """The real side of every metric of one trial, prepared once.

    ``real`` and ``other`` are two disjoint sets of n real samples each: a metric compares n fakes with
    ``real``, and its floor compares ``other`` with ``real``.
    """

    metrics: Sequence[Metric]
    features: Sequence[Features | None]
    real: Samples
    other: Samples
    floors: Mapping[str, float]
    seed: int

    @classmethod
    def prepare(cls, dataset: Dataset, metrics: Sequence[Metric], *, n: int, seed: int, device: torch.device) -> Bench:
        """Load reference samples and extractors, and measure the floors.

        For a finite data set the reference is its test split, and the floor takes training samples; n is cut
        to what both hold. For a distribution both are fresh samples.
        """
        spec = dataset.spec()
        bound = [m.bind(spec) for m in metrics]
        test, train = (dataset.load(split, stream(0, f"dataset-{split}")) for split in ("test", "train"))
        rng = stream(seed, "eval-real")
        if isinstance(test, Samples) and isinstance(train, Samples):
            n = min(n, len(test), len(train))
            real, other = (s.take(torch.randperm(len(s), generator=rng)[:n]) for s in (test, train))
        elif not isinstance(test, Samples) and not isinstance(train, Samples):
            real, other = test.sample(n, rng), train.sample(n, rng)
        else:
            raise ContractError(f"dataset {dataset.name!r} gives a set for one split and a sampler for the other")
        features = [m.extractor.load(dataset, device) if m.extractor else None for m in bound]
        bench = cls(bound, features, real, other, {}, seed)
        return cls(bound, features, real, other, bench.measure(other.x), seed)

    @property
    def n(self) -> int:
        """Samples on each side."""
        return len(self.real)

    def measure(self, fake: Tensor) -> dict[str, float]:
        """Every measure of ``fake [n, *shape]`` against the reference; a metric draws from its own stream."""
        found: dict[str, float] = {}
        for metric, features in zip(self.metrics, self.features, strict=True):
            generated, real = (x.to(torch.float32) for x in (fake, self.real.x))
            if features is not None:
                generated, real = features(generated), features(real)
            finite = bool(torch.isfinite(generated).all())
            names = [m.name for m in metric.measures]
            computed = metric.compute(generated, real, stream(self.seed, f"eval-{metric.name}")) if finite else {}
            if finite and set(computed) != set(names):
                raise ContractError(f"{metric.title()} returned {sorted(computed)}, its measures are {sorted(names)}")
            found |= {metric.prefix + name: float(computed.get(name, math.nan)) for name in names}
        return found

    def values(self, last: Mapping[str, float], ema: Mapping[str, float]) -> dict[str, Value]:
        """The measures of the last iterate and of the running average, with floors, directions and units."""
        return {
            measure.name: Value(
                last=_finite(last[measure.name]),
                ema=_finite(ema[measure.name]),
                floor=_finite(self.floors[measure.name]),
                better=measure.better,
                unit=measure.unit,
            )
            for metric in self.metrics
            for measure in metric.named()
        }


def _finite(value: float) -> float | None:
    """JSON has no infinity: what is not finite is written as missing."""
    return value if math.isfinite(value) else None


@torch.no_grad()
def generate(generator: Network, weights: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """Samples [n, *shape] on the CPU of the generator with ``weights`` (parameters and buffers), in evaluation mode."""
    params = {name: weights[name] for name in generator.params}
    buffers = {name: weights[name] for name in generator.buffers}
    generator.module.eval()
    try:
        parts = [
            generator(params, buffers, z, None if labels is None else labels[i * CHUNK : (i + 1) * CHUNK])[0].cpu()
            for i, z in enumerate(torch.split(latents, CHUNK))
        ]
    finally:
        generator.module.train()
    return torch.cat(parts)


def check_spec(samples: Samples, shape: tuple[int, ...], dataset: Dataset) -> None:
    """Raise :class:`ContractError` if loaded data is not what the specification says."""
    if tuple(samples.x.shape[1:]) != shape:
        raise ContractError(
            f"{dataset.title()} loaded samples of shape {list(samples.x.shape[1:])}, its spec says {list(shape)}"
        )
    if samples.y is not None and len(samples.y) != len(samples):
        raise ConfigError(f"{dataset.title()} has {len(samples)} samples and {len(samples.y)} labels")
