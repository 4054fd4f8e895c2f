from types import SimpleNamespace

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench import ConfigError, ContractError
from ganbench_zoo.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticPairing,
    Wasserstein,
    ganbench_components,
    softplus,
)

REAL, FAKE = [1.5, -0.5, 0.25, 3.0], [-2.0, 0.75, -0.1, 1.0]
EXTREME_REAL, EXTREME_FAKE = [-100.0, 100.0, 40.0, -750.0], [750.0, -100.0, -40.0, 100.0]
ALL = [pytest.param(cls(), id=cls.name) for cls in ganbench_components()]


def scores(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


# -- the definitions, in 50 digits -----------------------------------------------------------------------------


def log_sigmoid(t):
    return mpmath.log(1 / (1 + mpmath.exp(-t)))


def mean(terms):
    terms = list(terms)
    return mpmath.fsum(terms) / len(terms)


def cross_entropy(target, of_fakes=0):
    """Of real scores against ``target`` and of fake ones against ``of_fakes``, from probabilities."""

    def term(p):
        return lambda t: -p * log_sigmoid(t) - (1 - p) * log_sigmoid(-t)

    return lambda r, f: mean(map(term(target), r)) + mean(map(term(of_fakes), f))


def half_squares(a, b):
    return lambda r, f: mean((t - b) ** 2 for t in r) / 2 + mean((t - a) ** 2 for t in f) / 2


DEFINITIONS = [
    # loss, D's definition, G's definition, D's golden number, G's golden number
    (
        Minimax(),
        cross_entropy(1),
        lambda r, f: mean(log_sigmoid(-t) for t in f),
        1.25536859959127772,
        -0.80536434118741654,
    ),
    (
        NonSaturating(),
        cross_entropy(1),
        lambda r, f: mean(-log_sigmoid(t) for t in f),
        1.25536859959127772,
        0.89286434118741654,
    ),
    (
        NonSaturating(smoothing=0.1),
        cross_entropy(mpmath.mpf(9) / 10),
        lambda r, f: mean(-log_sigmoid(t) for t in f),
        1.36161859959127772,
        0.89286434118741654,
    ),
    (
        Minimax(smoothing=0.1, fake_smoothing=0.1),
        cross_entropy(mpmath.mpf(9) / 10, mpmath.mpf(1) / 10),
        lambda r, f: mean(log_sigmoid(-t) for t in f),
        1.37036859959127772,
        -0.80536434118741654,
    ),
    (LeastSquares(), half_squares(0, 1), lambda r, f: mean((t - 1) ** 2 for t in f) / 2, 1.579375, 1.2840625),
    (
        LeastSquares(a=-1.0, b=1.0, c=0.0),
        half_squares(-1, 1),
        lambda r, f: mean(t**2 for t in f) / 2,
        1.991875,
        0.6965625,
    ),
    (Wasserstein(), lambda r, f: mean(f) - mean(r), lambda r, f: -mean(f), -1.15, 0.0875),
    (
        Hinge(),
        lambda r, f: mean(max(0, 1 - t) for t in r) + mean(max(0, 1 + t) for t in f),
        lambda r, f: -mean(f),
        1.725,
        0.0875,
    ),
    (
        RelativisticPairing(),
        lambda r, f: mean(-log_sigmoid(a - b) for a, b in zip(r, f, strict=True)),
        lambda r, f: mean(-log_sigmoid(b - a) for a, b in zip(r, f, strict=True)),
        0.54799741651993575,
        1.69799741651993575,
    ),
]


@pytest.mark.parametrize(
    ("loss", "d", "g", "golden_d", "golden_g"), [pytest.param(*case, id=case[0].label) for case in DEFINITIONS]
)
def test_values_are_those_of_the_definition_in_fifty_digits(loss, d, g, golden_d, golden_g):
    with mpmath.workdps(50):
        real, fake = [mpmath.mpf(t) for t in REAL], [mpmath.mpf(t) for t in FAKE]
        expected_d, expected_g = float(d(real, fake)), float(g(real, fake))
    # the numbers of the literature check the definitions, which check the code
    assert expected_d == pytest.approx(golden_d, rel=1e-15)
    assert expected_g == pytest.approx(golden_g, rel=1e-15)
    assert float(loss.d_loss(scores(REAL), scores(FAKE))) == pytest.approx(expected_d, rel=1e-14)
    assert float(loss.g_loss(scores(FAKE), scores(REAL))) == pytest.approx(expected_g, rel=1e-14)


@pytest.mark.parametrize("loss", ALL)
def test_gradients_are_those_of_finite_differences(loss):
    real, fake = scores(REAL).requires_grad_(), scores(FAKE).requires_grad_()
    assert torch.autograd.gradcheck(loss.d_loss, (real, fake))
    assert torch.autograd.gradcheck(loss.g_loss, (fake, real))


def test_logistic_gradients_have_their_closed_form():
    real, fake = scores(REAL).requires_grad_(), scores(FAKE).requires_grad_()
    r, f = torch.autograd.grad(NonSaturating().d_loss(real, fake), (real, fake))
    torch.testing.assert_close(r, -torch.sigmoid(-real) / 4, rtol=1e-14, atol=0)
    torch.testing.assert_close(f, torch.sigmoid(fake) / 4, rtol=1e-14, atol=0)
    f, r = torch.autograd.grad(RelativisticPairing().g_loss(fake, real), (fake, real))
    torch.testing.assert_close(f, -torch.sigmoid(real - fake) / 4, rtol=1e-14, atol=0)
    torch.testing.assert_close(r, -f, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", ALL)
def test_extreme_scores_give_finite_losses_and_gradients(loss, dtype):
    real, fake = scores(EXTREME_REAL, dtype).requires_grad_(), scores(EXTREME_FAKE, dtype).requires_grad_()
    for value in (loss.d_loss(real, fake), loss.g_loss(fake, real)):
        grads = torch.autograd.grad(value, (real, fake), allow_unused=True, retain_graph=True)
        assert all(torch.isfinite(t).all() for t in (value, *(g for g in grads if g is not None)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_scores_give_the_linear_branch(dtype):
    real, fake = scores(EXTREME_REAL, dtype), scores(EXTREME_FAKE, dtype)
    assert NonSaturating().d_loss(real, fake) == 425.0
    assert NonSaturating().g_loss(fake, None) == 35.0
    assert Minimax().g_loss(fake, None) == -212.5
    assert RelativisticPairing().d_loss(real, fake) == 425.0


@given(st.floats(-700, 700))
def test_softplus_is_exact_to_rounding_everywhere(t):
    with mpmath.workdps(400):
        exact = float(mpmath.log1p(mpmath.exp(mpmath.mpf(t))))
    assert float(softplus(torch.tensor(t, dtype=torch.float64))) == pytest.approx(exact, rel=1e-14)


def test_the_non_saturating_gradient_stays_where_the_discriminator_is_sure():
    fake = scores([-60.0]).requires_grad_()
    (alive,) = torch.autograd.grad(NonSaturating().g_loss(fake, None), fake)
    (dead,) = torch.autograd.grad(Minimax().g_loss(fake, None), fake)
    assert float(alive) == -1.0
    assert abs(float(dead)) < 1e-25


@pytest.mark.parametrize("cls", [Minimax, NonSaturating])
def test_smoothing_is_one_sided_and_leaves_the_generator_alone(cls):
    real, fake = scores(REAL), scores(FAKE)
    assert cls(smoothing=0.1).g_loss(fake, None) == cls().g_loss(fake, None)
    # the target only meets real scores: sp(r) - t r differs from sp(r) - r by 0.1 r
    difference = cls(smoothing=0.1).d_loss(real, fake) - cls().d_loss(real, fake)
    torch.testing.assert_close(difference, 0.1 * real.mean(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("cls", [Minimax, NonSaturating])
def test_the_smoothed_optimum_of_a_real_score_is_the_logit_of_the_target(cls):
    real = torch.logit(scores([0.9])).requires_grad_()
    (gradient,) = torch.autograd.grad(cls(smoothing=0.1).d_loss(real, scores([0.0])), real)
    assert abs(float(gradient)) < 1e-16


def test_smoothing_of_one_or_more_is_refused():
    with pytest.raises(ConfigError, match="out of range"):
        NonSaturating(smoothing=1.0)


@pytest.mark.parametrize("loss", ALL)
@given(
    real=arrays("float64", 7, elements=st.floats(-30, 30)),
    fake=arrays("float64", 7, elements=st.floats(-30, 30)),
    order=st.permutations(range(7)),
)
def test_the_order_of_the_samples_does_not_matter(loss, real, fake, order):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    same = {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(loss.d_loss(real[order], fake[order]), loss.d_loss(real, fake), **same)
    torch.testing.assert_close(loss.g_loss(fake[order], real[order]), loss.g_loss(fake, real), **same)


@pytest.mark.parametrize("loss", [Wasserstein(), RelativisticPairing()], ids=lambda loss: loss.name)
@given(arrays("float64", 5, elements=st.floats(-30, 30)), st.floats(-100, 100))
def test_losses_of_differences_do_not_see_a_shift_of_all_scores(loss, real, shift):
    real, fake = torch.from_numpy(real), scores([1.0, -2.0, 0.0, 3.0, -0.5])
    same = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(loss.d_loss(real + shift, fake + shift), loss.d_loss(real, fake), **same)


@given(arrays("float64", 6, elements=st.floats(-30, 30)), arrays("float64", 6, elements=st.floats(-30, 30)))
def test_the_relativistic_players_swap_roles(real, fake):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    assert RelativisticPairing().g_loss(fake, real) == RelativisticPairing().d_loss(fake, real)


def test_the_minimax_generator_maximises_what_the_discriminator_minimises():
    real, fake = scores(REAL).requires_grad_(), scores(FAKE).requires_grad_()
    (d,) = torch.autograd.grad(Minimax().d_loss(real, fake), fake)
    (g,) = torch.autograd.grad(Minimax().g_loss(fake, None), fake)
    assert torch.equal(d, -g)


def test_the_hinge_ignores_scores_beyond_the_margin_but_not_in_the_generators_turn():
    real, fake = scores([1.5, 3.0]).requires_grad_(), scores([-1.5, -9.0]).requires_grad_()
    value = Hinge().d_loss(real, fake)
    assert value == 0
    assert not any(g.any() for g in torch.autograd.grad(value, (real, fake)))
    (gradient,) = torch.autograd.grad(Hinge().g_loss(fake, None), fake)
    assert gradient.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("loss", ALL)
def test_a_column_of_scores_is_refused_before_it_broadcasts(loss):
    with pytest.raises(ContractError, match="squeeze"):
        loss.d_loss(scores(REAL)[:, None], scores(FAKE))


def test_a_pair_needs_its_other_half():
    with pytest.raises(ContractError, match="real"):
        RelativisticPairing().g_loss(scores(FAKE), None)
    with pytest.raises(ContractError, match="match"):
        RelativisticPairing().d_loss(scores(REAL), scores(FAKE[:3]))


def test_an_unbounded_critic_is_the_grids_business_not_the_losses():
    cell = SimpleNamespace(discriminator=SimpleNamespace(output="scores"), regularizers=())
    assert Wasserstein().mismatch(cell) is None
