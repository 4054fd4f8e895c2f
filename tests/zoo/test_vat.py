import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ganbench import stream
from ganbench.testing import d_penalty
from ganbench_zoo.vat import VAT, bernoulli_divergence, unit

W, BIAS = [0.6, -0.8, 1.5], 0.25
X = [[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]]
GOLDEN = {+1: 0.02340526773795738, -1: 0.03653345980409062}


def t(values):
    return torch.tensor(values, dtype=torch.float64)


def linear(x):
    return x @ t(W) + BIAS


def divergence(p, q):
    """KL(Bernoulli(sigmoid(p)) || Bernoulli(sigmoid(q))) from probabilities, in 50 digits."""
    a, b = (1 / (1 + mpmath.exp(-mpmath.mpf(z))) for z in (p, q))
    return a * mpmath.log(a / b) + (1 - a) * mpmath.log((1 - a) / (1 - b))


def adversarial(signs, epsilon=0.5):
    """E KL for a linear discriminator, r = sign epsilon w / |w| for each sample."""
    with mpmath.workdps(50):
        norm = mpmath.sqrt(mpmath.fsum(mpmath.mpf(w) ** 2 for w in W))
        logits = [mpmath.fsum(mpmath.mpf(a) * mpmath.mpf(w) for a, w in zip(x, W, strict=True)) + BIAS for x in X]
        terms = [divergence(p, p + s * epsilon * norm) for p, s in zip(logits, signs, strict=True)]
        return float(mpmath.fsum(terms) / len(terms))


def signs(seed):
    """Of the random starts, which are the first draw from the regularizer's stream, against w."""
    start = torch.randn(2, 3, generator=stream(seed, "regularizer-0"), dtype=torch.float64)
    return [int(s) for s in torch.sign(start @ t(W))]


class Tanh(nn.Module):
    def __init__(self):
        super().__init__()
        rng = stream(0, "init-d")
        self.first = nn.Parameter(torch.randn(3, 8, generator=rng, dtype=torch.float64) / 2)
        self.last = nn.Parameter(torch.randn(8, generator=rng, dtype=torch.float64) / 2)

    def forward(self, x):
        return torch.tanh(x @ self.first) @ self.last


def batch(seed, n=64):
    return torch.randn(2, n, 3, generator=stream(seed, "data"), dtype=torch.float64)


def test_the_golden_numbers_of_both_signs():
    assert adversarial([1, 1]) == pytest.approx(GOLDEN[1], rel=1e-14)
    assert adversarial([-1, -1]) == pytest.approx(GOLDEN[-1], rel=1e-14)


@pytest.mark.parametrize("mode", ["power", "exact"])
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_linear_discriminator_has_the_closed_form_with_the_sign_of_the_random_start(mode, iterations, seed):
    vat = VAT(epsilon=0.5, inputs="real", mode=mode, iterations=iterations)
    value = d_penalty(vat, linear, t(X), t(X), seed=seed).item()
    assert value == pytest.approx(adversarial(signs(seed)), rel=1e-12)
    assert value <= GOLDEN[-1] * (1 + 1e-12)


def test_both_signs_occur():
    assert len({tuple(signs(seed)) for seed in range(20)}) == 4


@pytest.mark.parametrize("inputs", ["real", "fake", "both"])
def test_both_inputs_are_the_mean_over_all_samples(inputs):
    real, fake = batch(0)
    noise = {"real": batch(1)[0], "fake": batch(1)[1]}
    value = d_penalty(VAT(alpha=2.0, inputs=inputs), Tanh(), real, fake, noise=noise)
    terms = {
        "real": d_penalty(VAT(inputs="real"), Tanh(), real, fake, noise=noise),
        "fake": d_penalty(VAT(inputs="fake"), Tanh(), real, fake, noise=noise),
    }
    terms["both"] = (terms["real"] + terms["fake"]) / 2
    torch.testing.assert_close(value, 2 * terms[inputs], rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_two_modes_are_each_others_oracle(dtype):
    real, fake = batch(0).to(dtype)
    network = Tanh().to(dtype)
    exact = d_penalty(VAT(epsilon=0.5, mode="exact"), network, real, fake)
    for xi in (1e-2, 1e-1, 1.0):
        power = d_penalty(VAT(epsilon=0.5, xi=xi), network, real, fake)
        assert power.item() == pytest.approx(exact.item(), rel=xi)


def test_one_iteration_is_as_good_as_three_up_to_the_order_of_xi():
    real, fake = batch(0)
    for xi in (1e-3, 1e-2, 1e-1):
        one, three = (d_penalty(VAT(epsilon=0.5, xi=xi, iterations=k), Tanh(), real, fake) for k in (1, 3))
        assert abs((one / three).item() - 1) < xi


def test_the_power_iteration_is_the_one_that_differentiates_the_divergence_itself():
    network, (real, _) = Tanh(), batch(0)
    start = batch(1)[0]
    logits = network(real).detach()
    d = start / start.norm(dim=1, keepdim=True)
    for _ in range(2):
        d = d.detach().requires_grad_()
        p, q = torch.sigmoid(logits), torch.sigmoid(network(real + 0.1 * d))
        divergences = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        (gradient,) = torch.autograd.grad(divergences.sum(), d)
        d = gradient / gradient.norm(dim=1, keepdim=True)
    p, q = torch.sigmoid(logits), torch.sigmoid(network(real + 0.7 * d))
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    vat = VAT(epsilon=0.7, xi=0.1, iterations=2, inputs="real")
    noise = {"real": start, "fake": start}
    value = d_penalty(vat, network, real, real, noise=noise)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    ours = torch.autograd.grad(value, list(network.parameters()))
    # p and r are constants: the gradient flows through q alone
    for one, other in zip(ours, torch.autograd.grad(expected, list(network.parameters())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-12)


def test_near_the_boundary_it_is_r1_with_a_coefficient_of_alpha_epsilon_squared_over_four():
    # D(x) = psi x at the equilibrium of the Dirac-GAN: alpha KL -> (alpha epsilon^2 / 4) / 2 psi^2
    psi = t([1e-3]).requires_grad_()
    x = torch.zeros(4, 1, dtype=torch.float64)
    value = d_penalty(VAT(alpha=1.2, epsilon=1.0), lambda x: x @ psi, x, x)
    (gradient,) = torch.autograd.grad(value, psi)
    assert (gradient / psi).item() == pytest.approx(0.3, rel=1e-6)


def test_the_start_is_kept_where_the_gradient_is_zero():
    # a valley: the gradient of x_1^2 is zero at the origin, but not around it
    x = torch.zeros(1, 2, dtype=torch.float64)
    noise = {"real": t([[3.0, 4.0]]), "fake": t([[3.0, 4.0]])}
    value = d_penalty(VAT(epsilon=1.0, mode="exact"), lambda x: x[:, 0].square(), x, x, noise=noise)
    with mpmath.workdps(50):
        expected = float(divergence(0, mpmath.mpf("0.36")))
    assert value.item() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["power", "exact"])
@pytest.mark.parametrize("logit", [-750.0, -40.0, 0.0, 15.0, 750.0])
def test_a_saturated_discriminator_is_still_probed_along_its_gradient(dtype, mode, logit):
    weight = t(W).to(dtype).requires_grad_()
    x = t(X).to(dtype)
    seen = []

    def score(x):
        seen.append(x.detach())
        return logit + x @ weight

    value = d_penalty(VAT(epsilon=0.5, xi=1.0, mode=mode, inputs="real"), score, x, x)
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    r = (seen[-1] - x).double().numpy()
    np.testing.assert_allclose(np.abs(r @ W), 0.5 * np.linalg.norm(W), rtol=1e-5)


@given(st.floats(-700, 700), st.floats(-700, 700))
def test_the_divergence_is_not_negative_beyond_rounding_and_zero_for_equals(p, q):
    value = float(bernoulli_divergence(t([p]), t([q])))
    assert value >= -1e-13 * max(1, abs(p), abs(q))
    assert float(bernoulli_divergence(t([p]), t([p]))) == 0


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_the_divergence_is_that_of_fifty_digits(p, q):
    with mpmath.workdps(50):
        expected = float(divergence(p, q))
    assert float(bernoulli_divergence(t([p]), t([q]))) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e300])
def test_directions_have_length_one_at_any_scale(scale):
    v = unit(t([[3.0, 4.0]]) * scale, t([[1.0, 0.0]]))
    np.testing.assert_allclose(v, [[0.6, 0.8]], rtol=1e-15)


def test_no_direction_falls_back_sample_by_sample():
    v = unit(t([[0.0, 0.0], [0.0, 2.0]]), t([[1.0, 0.0], [1.0, 0.0]]))
    assert v.tolist() == [[1.0, 0.0], [0.0, 1.0]]
