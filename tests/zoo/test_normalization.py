from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stepping import Training
from torch import nn

from ganbench import stream
from ganbench.testing import d_penalty
from ganbench_zoo.normalization import Bjorck, GradientNormalization
from ganbench_zoo.regularizers import R1, SpectralNorm, WeightClipping


def t(values):
    return torch.tensor(values, dtype=torch.float64)


class Direct:
    """The discriminator as a wrapped score finds it, by plain autograd."""

    player = "d"

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)

    def with_grad(self, x):
        x = x if x.requires_grad else x.requires_grad_()
        scores = self.function(x)
        return scores, torch.autograd.grad(scores.sum(), x, create_graph=True)[0]


# -- orthonormal weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (3, 2, 3, 3), (1, 6)])
def test_the_iteration_ends_at_the_polar_factor(shape):
    weight = torch.randn(shape, generator=stream(0, "w"), dtype=torch.float64)
    found = Bjorck(iterations=60).reparameterize({"w": weight, "b": t([1.0])}, {})
    u, _, v = np.linalg.svd(weight.flatten(1).numpy(), full_matrices=False)
    np.testing.assert_allclose(found["w"].flatten(1), u @ v, atol=1e-12)
    assert found["w"].shape == shape
    assert found["b"].tolist() == [1.0]


def test_a_step_is_the_papers():
    w = 0.5 * torch.randn(3, 4, generator=stream(0, "w"), dtype=torch.float64).numpy()
    expected = w
    for _ in range(5):
        expected = expected @ (np.eye(4) + (np.eye(4) - expected.T @ expected) / 2)
    found = Bjorck(scaled=False).reparameterize({"w": t(w)}, {})["w"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_large_weights_are_made_small_before_and_zero_stays_zero():
    big = 1e6 * torch.randn(4, 4, generator=stream(0, "w"), dtype=torch.float64)
    assert torch.isfinite(Bjorck(iterations=30).reparameterize({"w": big}, {})["w"]).all()
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    found = Bjorck().reparameterize({"w": zero}, {})["w"]
    (gradient,) = torch.autograd.grad(found.sum(), zero)
    assert not found.any()
    assert torch.isfinite(gradient).all()


def test_the_gradient_of_the_iteration_is_that_of_finite_differences():
    w = torch.randn(3, 4, generator=stream(0, "w"), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: Bjorck().reparameterize({"w": w}, {})["w"], w)


# -- variants of spectral norm ---------------------------------------------------------------------------------


def test_the_scale_is_the_largest_singular_value_and_bounded_weights_below_it_stay():
    small, large = 0.1 * torch.eye(3, dtype=torch.float64), 5 * torch.eye(3, dtype=torch.float64)
    params = {"small": small, "large": large}
    for bounded, expected in ((False, (2.0, 2.0)), (True, (0.1, 2.0))):
        regularizer = SpectralNorm(scale=2.0, bounded=bounded)
        found = regularizer.reparameterize(params, regularizer.init(params))
        sizes = [np.linalg.norm(w.numpy(), 2) for w in found.values()]
        assert sizes == pytest.approx(expected, rel=1e-12)


def test_both_directions_of_a_convolution_count():
    conv = nn.Conv2d(3, 5, 3).double()
    params = {"w": conv.weight.detach(), "m": torch.randn(4, 6, generator=stream(0, "m"), dtype=torch.float64)}
    regularizer = SpectralNorm(scale=1.5, bidirectional=True, iterations=300)
    state = regularizer.prepare(params, regularizer.init(params))
    found = regularizer.reparameterize(params, state)
    w = params["w"].numpy()
    sigma = (np.linalg.norm(w.reshape(5, -1), 2) + np.linalg.norm(w.transpose(1, 0, 2, 3).reshape(3, -1), 2)) / 2
    np.testing.assert_allclose(found["w"], 1.5 * w / sigma, rtol=1e-9)
    np.testing.assert_allclose(found["m"], 1.5 * params["m"] / np.linalg.norm(params["m"], 2), rtol=1e-9)


# -- normalised scores -----------------------------------------------------------------------------------------


def test_scores_are_divided_by_their_slope_and_size():
    a, b, x = t([[2.0, 1.0], [1.0, -1.0]]), t([0.5, -1.0]), t([[1.0, 2.0], [0.0, -3.0], [-1.0, 0.5]])
    f = ((x @ a * x).sum(1) / 2 + x @ b).numpy()
    expected = f / (np.linalg.norm((x @ a + b).numpy(), axis=1) + np.abs(f))
    found = GradientNormalization().score(Direct(lambda x: (x @ a * x).sum(1) / 2 + x @ b), x, {}, {})
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-14)


def test_a_discriminator_that_is_zero_stays_zero_with_finite_gradients():
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    found = GradientNormalization().score(Direct(lambda x: x @ w), t([[1.0, 2.0]]), {}, {})
    (gradient,) = torch.autograd.grad(found.sum(), w)
    assert found.tolist() == [0.0]
    assert torch.isfinite(gradient).all()


def test_normalised_scores_have_the_gradient_of_finite_differences():
    x = torch.randn(3, 2, generator=stream(0, "x"), dtype=torch.float64).requires_grad_()
    w = torch.randn(2, generator=stream(0, "w"), dtype=torch.float64).requires_grad_()
    score = GradientNormalization().score
    assert torch.autograd.gradcheck(
        lambda x, w: score(Direct(lambda s: torch.tanh(s @ w) + s[:, 0] ** 2), x, {}, {}), (x, w)
    )


def test_every_call_of_d_is_normalised():
    training = Training([GradientNormalization(), R1(gamma=2.0)])
    game, state = training.game(0), training.state
    turns = training.feed.turns(game.active)

    def normalised(x):
        x = x.clone().requires_grad_()
        f, _ = training.d(state.d.params, {}, x)
        (gradient,) = torch.autograd.grad(f.sum(), x, create_graph=True)
        return x, f / (gradient.norm(dim=1) + f.abs())

    fake, _ = training.g(state.g.params, {}, turns.d[0].latents)
    (x, real_scores), (_, fake_scores) = normalised(turns.d[0].real), normalised(fake)
    (slope,) = torch.autograd.grad(real_scores.sum(), x)
    expected = training.loss.d_loss(real_scores, fake_scores) + slope.square().sum(1).mean()
    value, after = game.d_objective(state, turns.d[0])
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)
    assert after.logs["d_real"].abs() < 1
    value, _ = game.g_objective(state, turns.g)
    fake, _ = training.g(state.g.params, {}, turns.g.latents)
    torch.testing.assert_close(value, training.loss.g_loss(normalised(fake)[1], None), rtol=1e-12, atol=1e-14)
    with torch.no_grad():  # scores do not depend on whether anybody derives them
        torch.testing.assert_close(game.fake_scores(state, turns.g), normalised_without_history(normalised, fake))


def normalised_without_history(normalised, fake):
    with torch.enable_grad():
        return normalised(fake.detach())[1].detach()


def test_outside_training_too_there_is_nothing_to_add():
    assert d_penalty(GradientNormalization(), lambda x: x.sum(1), torch.ones(2, 3), torch.ones(2, 3)) == 0


def test_what_has_no_meaning_is_refused():
    def cell(*regularizers, output="scores", norm="none"):
        loss = SimpleNamespace(name="a-loss", output=output)
        return SimpleNamespace(discriminator=SimpleNamespace(norm=norm), regularizers=regularizers, loss=loss)

    for regularizer in (Bjorck(), GradientNormalization()):
        assert "weight-clipping" in regularizer.mismatch(cell(regularizer, WeightClipping()))
        assert regularizer.mismatch(cell(regularizer)) is None
    assert "normalises scores" in GradientNormalization().mismatch(cell(output="embedding"))
    assert "batch normalisation" in GradientNormalization().mismatch(cell(norm="batch"))
    assert "every = 1" in GradientNormalization(every=2).mismatch(cell())
