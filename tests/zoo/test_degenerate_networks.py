"""Regularizers on networks that lack what they act on: numbers, and no crash."""

from __future__ import annotations

import pytest
import torch

from ganbench.testing import g_penalty, verdict
from ganbench_zoo.generator_side import ModeSeeking
from ganbench_zoo.penalties_weight import HistoricalAveraging, Orthogonal, SpectralIsometry, WeightDecay


@pytest.mark.parametrize("regularizer", [Orthogonal(), SpectralIsometry()], ids=lambda r: r.name)
def test_a_penalty_on_matrices_is_0_without_any(regularizer: Orthogonal | SpectralIsometry) -> None:
    params = {"bias": torch.ones(3, dtype=torch.float64)}
    value = regularizer.weight_penalty(params, regularizer.prepare(params, regularizer.init(params)))
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value == 0


@pytest.mark.parametrize("regularizer", [Orthogonal(), SpectralIsometry(), WeightDecay(), HistoricalAveraging()])
def test_penalties_on_weights_can_be_judged_on_the_dirac_gan(regularizer: WeightDecay) -> None:
    assert "under sgd" in verdict(regularizer)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_mode_seeking_is_finite_where_g_ignores_its_latents(scale: float) -> None:
    theta = torch.ones(2, dtype=torch.float64, requires_grad=True)
    z = scale * torch.arange(8.0, dtype=torch.float64).reshape(4, 2)
    value = g_penalty(ModeSeeking(), lambda x: x.sum(1), lambda z: theta.expand(len(z), 2), z)
    assert value.isclose(torch.tensor(1e5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(value, theta)
    assert gradient.isfinite().all()
