"""Losses that bound their critic themselves, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench import ContractError, LossStep
from ganbench_zoo.losses_critic import GANQP, Fisher, LossSensitive

REAL = torch.tensor([1.5, -0.5, 0.25, 3.0], dtype=torch.float64)
FAKE = torch.tensor([-2.0, 0.75, -0.1, 1.0], dtype=torch.float64)
X = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5], [3.0, 3.0]], dtype=torch.float64)
Y = torch.tensor([[1.0, 1.0], [2.0, 3.0], [0.0, 0.0], [-1.0, 3.0]], dtype=torch.float64)
ABSOLUTE, ROOT = [0.5, 2.0, 0.5, 2.0], [0.5**0.5, 8**0.5, 0.5, 8**0.5]  # worked by hand
scores = arrays("float64", 4, elements=st.floats(-30, 30))


def at(x=X, y=Y, state=None):
    return LossStep(real=x, fake=y, state=state or {}, code=lambda x: x)


@pytest.mark.parametrize(("kind", "d"), [("absolute", ABSOLUTE), ("root-mean-square", ROOT)])
def test_gan_qp_is_the_papers_quadratic(kind, d):
    rise = REAL.numpy() - FAKE.numpy()
    expected = -(rise - rise**2 / (2 * 10 * np.array(d))).mean()
    assert float(GANQP(distance=kind).d_loss_at(REAL, FAKE, at())) == pytest.approx(expected, rel=1e-14)
    assert float(GANQP().g_loss(FAKE, None)) == pytest.approx(-FAKE.mean().item(), rel=1e-14)


def test_the_best_rise_of_gan_qp_is_lambda_times_the_distance():
    # d/dt (-t + t^2 / (2 lambda d)) = 0 at t = lambda d, which makes D Lipschitz in the distance
    fake = torch.zeros(4, dtype=torch.float64)
    real = (3.0 * torch.tensor(ABSOLUTE, dtype=torch.float64)).requires_grad_()
    loss = GANQP(scale=3.0)
    (gradient,) = torch.autograd.grad(loss.d_loss_at(real, fake, at()), real)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["absolute", "root-mean-square"])
def test_equal_samples_are_no_division_by_zero(kind):
    x = X.clone().requires_grad_()
    value = GANQP(distance=kind).d_loss_at(REAL, FAKE, at(x, X.clone()))
    (gradient,) = torch.autograd.grad(value, x)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("kind", "d"), [("absolute", ABSOLUTE), ("root-mean-square", ROOT)])
def test_the_loss_sensitive_margin_grows_with_the_distance(kind, d):
    # the paper's loss function is minus the score
    below, above = -REAL.numpy(), -FAKE.numpy()
    hinge = np.maximum(0.5 * np.array(d) + below - above, 0).mean()
    loss = LossSensitive(scale=0.5, distance=kind)
    assert float(loss.d_loss_at(REAL, FAKE, at())) == pytest.approx(hinge, rel=1e-14)
    whole = LossSensitive(scale=0.5, distance=kind, real_weight=1.0)
    assert float(whole.d_loss_at(REAL, FAKE, at())) == pytest.approx(below.mean() + hinge, rel=1e-14)
    assert float(loss.g_loss(FAKE, None)) == pytest.approx(above.mean(), rel=1e-14)


@given(real=scores, fake=scores, shift=st.floats(-100, 100))
def test_losses_of_paired_samples_do_not_see_a_shift_of_all_scores(real, fake, shift):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    for loss in (GANQP(), LossSensitive()):
        moved = loss.d_loss_at(real + shift, fake + shift, at())
        torch.testing.assert_close(moved, loss.d_loss_at(real, fake, at()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", [GANQP(), LossSensitive()], ids=lambda loss: loss.name)
def test_batches_that_cannot_be_paired_are_refused(loss):
    with pytest.raises(ContractError, match="do not match"):
        loss.d_loss_at(REAL, FAKE[:1], at())
    with pytest.raises(ContractError, match="no distances"):
        loss.d_loss_at(REAL, FAKE, at(X, Y[:1]))


def lagrangian(real, fake, multiplier, rho):
    """The paper's, which D maximises and the multiplier minimises."""
    second = (real**2).mean() / 2 + (fake**2).mean() / 2
    return real.mean() - fake.mean() + multiplier * (1 - second) - rho / 2 * (second - 1) ** 2


@given(real=scores, fake=scores, multiplier=st.floats(-2, 2), rho=st.floats(0, 1))
def test_fisher_is_minus_the_papers_lagrangian(real, fake, multiplier, rho):
    loss, state = Fisher(rho=rho), {"multiplier": torch.tensor(multiplier, dtype=torch.float64)}
    value = loss.d_loss_at(torch.from_numpy(real), torch.from_numpy(fake), at(state=state))
    assert float(value) == pytest.approx(-lagrangian(real, fake, multiplier, rho), rel=1e-12, abs=1e-12)


@given(real=scores, fake=scores, multiplier=st.floats(-2, 2))
def test_the_multiplier_descends_the_lagrangian(real, fake, multiplier):
    r, f = torch.from_numpy(real), torch.from_numpy(fake)
    state = {"multiplier": torch.tensor(multiplier, dtype=torch.float64)}
    after = Fisher(rho=0.01).observe(r, f, state)["multiplier"]
    # it is linear in the multiplier, so that a difference is its derivative
    slope = lagrangian(real, fake, multiplier + 1, 0.01) - lagrangian(real, fake, multiplier, 0.01)
    assert float(after) == pytest.approx(multiplier - 0.01 * slope, rel=1e-12, abs=1e-9)


def test_the_multiplier_begins_at_zero():
    assert Fisher().init(torch.zeros(()))["multiplier"] == 0
