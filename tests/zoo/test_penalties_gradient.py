from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch

from ganbench import stream
from ganbench.testing import d_penalty
from ganbench_zoo.penalties_gradient import (
    AdversarialLipschitz,
    AnalyticNoise,
    Dragan,
    LipschitzPenalty,
    ZeroCenteredGradientPenalty,
)
from ganbench_zoo.regularizers import WeightClipping

# A quadratic critic D(x) = x'Ax / 2 + b'x has the gradient Ax + b, which differs between real, fake and mixed x.
A = np.array([[2.0, 1.0, 0.0], [1.0, -1.0, 0.5], [0.0, 0.5, 3.0]])
B = np.array([0.6, -0.8, 1.5])
REAL = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
FAKE = np.array([[0.5, 0.0, -1.0], [2.0, 1.0, 0.0]])
U = np.array([0.25, 0.75])
MIXED = U[:, None] * REAL + (1 - U[:, None]) * FAKE


def t(array):
    return torch.tensor(array, dtype=torch.float64)


def quadratic(a, b):
    return lambda x: (x @ a * x).sum(1) / 2 + x @ b


def scores(x):
    return np.einsum("ni,ij,nj->n", x, A, x) / 2 + x @ B


def slopes(x):
    return np.linalg.norm(x @ A + B, axis=1)


def penalty(regularizer, **given):
    return d_penalty(regularizer, quadratic(t(A), t(B)), t(REAL), t(FAKE), **given).item()


@pytest.mark.parametrize("target", [1.0, 3.0, 8.0])
def test_the_lipschitz_penalty_is_for_slopes_above_the_target(target):
    value = penalty(LipschitzPenalty(weight=5.0, target=target), noise={"u": t(U)[:, None]})
    assert value == pytest.approx(5 * (np.maximum(slopes(MIXED) - target, 0) ** 2).mean(), rel=1e-14)


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_the_lipschitz_penalty_of_a_linear_critic_in_fifty_digits(factor):
    with mpmath.workdps(50):
        expected = 10 * max(mpmath.sqrt(mpmath.mpf("3.25")) * mpmath.mpf(factor) - 1, 0) ** 2
    value = d_penalty(LipschitzPenalty(), lambda x: x @ t(B) * factor, t(REAL), t(FAKE)).item()
    assert value == pytest.approx(float(expected), rel=1e-14)
    assert float(expected) == pytest.approx({1.0: 6.4444872453601071, 0.25: 0.0}[factor], rel=1e-15)


def test_the_zero_centered_penalty_has_no_half():
    value = penalty(ZeroCenteredGradientPenalty(weight=7.0), noise={"u": t(U)[:, None]})
    assert value == pytest.approx(7 * (slopes(MIXED) ** 2).mean(), rel=1e-14)
    linear = d_penalty(ZeroCenteredGradientPenalty(weight=10.0), lambda x: x @ t(B), t(REAL), t(FAKE)).item()
    assert linear == pytest.approx(32.5, rel=1e-14)


def test_dragan_perturbs_real_samples_by_the_draws_of_its_stream():
    rng = stream(4, "regularizer-0")
    u = torch.rand(2, 3, generator=rng, dtype=torch.float64).numpy()
    a = torch.rand(2, 1, generator=rng, dtype=torch.float64).numpy()
    n = torch.randn(2, 3, generator=stream(4, "regularizer-0"), dtype=torch.float64).numpy()
    for variant, d in (
        ("author", a * 0.5 * REAL.std() * u),
        ("symmetric", REAL.std() * (u - 0.5)),
        ("gaussian", np.sqrt(10) * n),
    ):
        value = penalty(Dragan(weight=3.0, target=2.0, variant=variant), seed=4)
        assert value == pytest.approx(3 * ((slopes(REAL + d) - 2) ** 2).mean(), rel=1e-13), variant


@pytest.mark.parametrize("step", [0, 5, 10, 50])
def test_analytic_noise_weighs_slopes_by_the_other_class(step):
    s = 1 / (1 + np.exp(-scores(REAL))), 1 / (1 + np.exp(-scores(FAKE)))
    terms = ((1 - s[0]) ** 2 * slopes(REAL) ** 2).mean() + (s[1] ** 2 * slopes(FAKE) ** 2).mean()
    value = penalty(AnalyticNoise(gamma=2.0, decay=0.01, horizon=10), step=step)
    assert value == pytest.approx(2 * 0.01 ** min(step / 10, 1) / 2 * terms, rel=1e-12)


def test_the_adversarial_penalty_of_a_linear_critic_in_fifty_digits():
    with mpmath.workdps(50):
        expected = 100 * (mpmath.sqrt(mpmath.mpf("3.25")) - 1) ** 2
    assert float(expected) == pytest.approx(64.444872453601071, rel=1e-15)
    for iterations in (1, 3):
        regularizer = AdversarialLipschitz(iterations=iterations)
        value = d_penalty(regularizer, lambda x: x @ t(B), t(REAL), t(FAKE)).item()
        assert value == pytest.approx(float(expected), rel=1e-13)


def test_the_adversarial_direction_is_the_gradient_where_it_was_probed():
    rng = stream(2, "regularizer-0")
    starts = {side: torch.randn(2, 3, generator=rng, dtype=torch.float64).numpy() for side in ("real", "fake")}
    lengths = {side: 0.5 + 1.5 * torch.rand(2, 1, generator=rng, dtype=torch.float64).numpy() for side in starts}
    means = []
    for side, x in (("real", REAL), ("fake", FAKE)):
        probe = x + 10 * starts[side] / np.linalg.norm(starts[side], axis=1, keepdims=True)
        gradient = probe @ A + B
        d = np.sign(scores(probe) - scores(x))[:, None] * gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
        slope = np.abs(scores(x) - scores(x + lengths[side] * d)) / lengths[side][:, 0]
        means.append((np.maximum(slope - 1, 0) ** 2).mean())
    value = penalty(AdversarialLipschitz(weight=4.0, shortest=0.5, longest=2.0), seed=2)
    assert value == pytest.approx(4 * np.mean(means), rel=1e-12)


def test_both_scores_of_the_adversarial_penalty_have_a_gradient():
    w = t(B).requires_grad_()
    value = d_penalty(AdversarialLipschitz(), lambda x: x @ w, t(REAL), t(FAKE))
    (gradient,) = torch.autograd.grad(value, w)
    norm = np.linalg.norm(B)
    # the direction is a constant unit vector along +-w, so the slope has the gradient w / |w|
    np.testing.assert_allclose(gradient, 200 * (norm - 1) * B / norm, rtol=1e-12)


@pytest.mark.parametrize(
    "regularizer",
    [LipschitzPenalty(), ZeroCenteredGradientPenalty(), Dragan(), AnalyticNoise()],
    ids=lambda r: r.label,
)
def test_gradients_in_the_parameters_are_those_of_finite_differences(regularizer):
    a, b = t(A).requires_grad_(), t(B).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: d_penalty(regularizer, quadratic(a, b), t(REAL), t(FAKE)), (a, b))


def cell(*regularizers, output="scores", **discriminator):
    loss = SimpleNamespace(name="a-loss", output=output)
    return SimpleNamespace(discriminator=SimpleNamespace(**discriminator), regularizers=regularizers, loss=loss)


def test_what_has_no_meaning_is_refused():
    for regularizer in (
        LipschitzPenalty(),
        ZeroCenteredGradientPenalty(),
        Dragan(),
        AnalyticNoise(),
        AdversarialLipschitz(),
    ):
        assert "batch normalisation" in regularizer.mismatch(cell(regularizer, norm="batch"))
        assert "minibatch_std" in regularizer.mismatch(cell(regularizer, minibatch_std=4))
        assert regularizer.mismatch(cell(regularizer, norm="none", minibatch_std=0)) is None
    for regularizer in (LipschitzPenalty(), Dragan(), AdversarialLipschitz()):
        assert "weight-clipping" in regularizer.mismatch(cell(WeightClipping(), regularizer))
    assert "logits" in AnalyticNoise().mismatch(cell(output="energy"))
