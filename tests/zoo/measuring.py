"""What the tests of metrics share: samples from named streams, and a metric's numbers."""

from __future__ import annotations

import torch

from ganbench import Bank, Metric, Samples, stream


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=stream(seed, "samples"))


def measured(metric: Metric, fake, real, seed: int = 0, *, train=None, labels=(None, None)) -> dict[str, float]:
    """The numbers of a metric, which must be those that it declares."""
    known = None if train is None else Bank(train, side="training")
    banks = [
        Bank(Samples(x, y), side=side, train=lambda: known)
        for x, y, side in zip((fake, real), labels, ("fake", "real"), strict=True)
    ]
    values = metric.measured(*banks, stream(seed, "eval"))
    assert set(values) == {m.name for m in metric.measures}
    assert all(type(v) is float for v in values.values())
    return values
