"""Transforms of gradients, held against NumPy unit by unit, and the penalty on the steepest sample."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganbench.seeding import stream
from ganbench.testing import d_penalty
from ganbench_zoo.gradients import AdaptiveGradientClipping, GradientCentralization
from ganbench_zoo.penalties_gradient import MaxGradientPenalty


def parameters(seed, scale=1.0):
    rng = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (3, 5), "kernel": (4, 2, 3, 3), "vector": (6,), "number": ()}
    return {k: scale * torch.randn(s, generator=rng, dtype=torch.float64) for k, s in shapes.items()}


@given(st.integers(0, 1000), st.floats(1e-3, 1.0), st.floats(1e-3, 10.0))
def test_a_unit_is_clipped_to_a_share_of_its_weights(seed, ratio, scale):
    params, grads = parameters(seed), parameters(seed + 1, scale)
    clipped = AdaptiveGradientClipping(ratio=ratio).transform_grads(grads, params, {})
    for name, value in clipped.items():
        w, g, found = (np.atleast_1d(t[name].numpy()) for t in (params, grads, clipped))
        units = range(len(g)) if g.ndim > 1 else [slice(None)]
        for i in units:
            bound = ratio * max(np.sqrt((w[i] ** 2).sum()), 1e-3)
            length = np.sqrt((g[i] ** 2).sum())
            np.testing.assert_allclose(found[i], g[i] * min(1.0, bound / length), rtol=1e-12)
        assert value.shape == grads[name].shape


def test_gradients_and_weights_of_zero_stay_finite():
    zeros = {k: torch.zeros_like(v) for k, v in parameters(0).items()}
    clipped = AdaptiveGradientClipping().transform_grads(zeros, zeros, {})
    assert all(torch.equal(clipped[k], zeros[k]) for k in zeros)
    bound = AdaptiveGradientClipping().transform_grads(parameters(1, 1e6), zeros, {})
    assert float(bound["vector"].norm()) == pytest.approx(0.01 * 1e-3)


@given(st.integers(0, 1000))
def test_centralized_gradients_have_mean_zero_in_every_unit_and_keep_the_rest(seed):
    grads = parameters(seed)
    moved = GradientCentralization().transform_grads(grads, grads, {})
    for name in ("matrix", "kernel"):
        unit = moved[name].flatten(1)
        assert unit.mean(1).abs().max() < 1e-12
        shift = (grads[name] - moved[name]).flatten(1)
        assert (shift - shift[:, :1]).abs().max() < 1e-12
    assert moved["vector"] is grads["vector"]


def test_the_steepest_of_the_mixed_samples_is_penalised():
    """A quadratic critic D(x) = x'Ax / 2 + b'x has the slope Ax + b, another one at every sample."""
    a = torch.tensor([[2.0, 0.5], [0.5, -1.0]], dtype=torch.float64)
    b = torch.tensor([0.3, -0.7], dtype=torch.float64)
    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(7, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    found = d_penalty(MaxGradientPenalty(weight=3.0), lambda x: (x @ a * x).sum(1) / 2 + x @ b, real, fake, seed=4)
    u = torch.rand(7, 1, generator=stream(4, "regularizer-0"), dtype=torch.float64).numpy()
    x = u * real.numpy() + (1 - u) * fake.numpy()
    slopes = x @ a.numpy() + b.numpy()
    assert float(found.detach()) == pytest.approx(3.0 * (slopes**2).sum(1).max(), rel=1e-12)
