"""Losses of differences of scores, against their definitions in fifty digits."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench_zoo.losses import RelativisticPairing
from ganbench_zoo.losses_relativistic import (
    DualContrastive,
    RelativisticAverage,
    RelativisticAverageHinge,
    RelativisticAverageLeastSquares,
    RelativisticPairingHinge,
    RelativisticPairingLeastSquares,
    ganbench_components,
)

REAL, FAKE = [1.5, -0.5, 0.25, 3.0], [-2.0, 0.75, -0.1, 1.0]
ALL = [pytest.param(cls(), id=cls.name) for cls in ganbench_components()]
SWAPPED = [param for param in ALL if not isinstance(param.values[0], DualContrastive)]
scores = arrays("float64", 6, elements=st.floats(-30, 30))


def mean(terms):
    terms = list(terms)
    return mpmath.fsum(terms) / len(terms)


def log_sigmoid(t):
    return mpmath.log(1 / (1 + mpmath.exp(-t)))


def average(on_real, on_fake):
    """The mean of a function of each real score less the mean fake one, and of another the other way round."""
    return lambda r, f: mean(on_real(t - mean(f)) for t in r) + mean(on_fake(t - mean(r)) for t in f)


def pairing(function):
    return lambda r, f: mean(function(a - b) for a, b in zip(r, f, strict=True))


def contrast(r, f):
    """Each real score among all fakes, each fake among all real ones, as softmax cross-entropies."""
    e = mpmath.exp
    real = mean(-mpmath.log(e(t) / (e(t) + mpmath.fsum(e(u) for u in f))) for t in r)
    return real + mean(-mpmath.log(e(-t) / (e(-t) + mpmath.fsum(e(-u) for u in r))) for t in f)


DEFINITIONS = [
    # loss, D's definition, D's golden number, G's golden number
    (
        RelativisticAverage(),
        average(lambda t: -log_sigmoid(t), lambda t: -mpmath.log(1 - 1 / (1 + mpmath.exp(-t)))),
        0.80473557037768600,
        3.10473557037768600,
    ),
    (
        RelativisticAverageLeastSquares(),
        average(lambda t: (t - 1) ** 2, lambda t: (t + 1) ** 2),
        3.1921875,
        12.3921875,
    ),
    (RelativisticAverageHinge(), average(lambda t: max(0, 1 - t), lambda t: max(0, 1 + t)), 0.925, 4.3),
    (RelativisticPairingHinge(), pairing(lambda t: max(0, 1 - t)), 0.725, 2.2125),
    (RelativisticPairingLeastSquares(), pairing(lambda t: (t - 1) ** 2), 3.18375, 7.78375),
]


@pytest.mark.parametrize(
    ("loss", "d", "golden_d", "golden_g"), [pytest.param(*case, id=case[0].name) for case in DEFINITIONS]
)
def test_values_are_those_of_the_definition_in_fifty_digits(loss, d, golden_d, golden_g):
    with mpmath.workdps(50):
        real, fake = [mpmath.mpf(t) for t in REAL], [mpmath.mpf(t) for t in FAKE]
        expected_d, expected_g = float(d(real, fake)), float(d(fake, real))
    assert expected_d == pytest.approx(golden_d, rel=1e-15)
    assert expected_g == pytest.approx(golden_g, rel=1e-15)
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert float(loss.d_loss(real, fake)) == pytest.approx(expected_d, rel=1e-14)
    assert float(loss.g_loss(fake, real)) == pytest.approx(expected_g, rel=1e-14)


def test_dual_contrast_is_a_softmax_over_the_other_batch_both_ways():
    with mpmath.workdps(50):
        expected = float(contrast([mpmath.mpf(t) for t in REAL], [mpmath.mpf(t) for t in FAKE]))
    assert expected == pytest.approx(2.68886324738043150, rel=1e-15)
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    assert float(DualContrastive().d_loss(real, fake)) == pytest.approx(expected, rel=1e-14)
    assert float(DualContrastive().g_loss(fake, real)) == pytest.approx(-expected, rel=1e-14)


@pytest.mark.parametrize("loss", ALL)
@given(real=scores, fake=scores, shift=st.floats(-100, 100))
def test_a_shift_of_all_scores_is_not_seen(loss, real, fake, shift):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    same = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(loss.d_loss(real + shift, fake + shift), loss.d_loss(real, fake), **same)
    torch.testing.assert_close(loss.g_loss(fake + shift, real + shift), loss.g_loss(fake, real), **same)


@pytest.mark.parametrize("loss", SWAPPED)
@given(real=scores, fake=scores)
def test_the_players_swap_roles(loss, real, fake):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    assert loss.g_loss(fake, real) == loss.d_loss(fake, real)


@pytest.mark.parametrize("loss", ALL)
def test_the_generators_loss_depends_on_real_scores_too(loss):
    real = torch.tensor(REAL, dtype=torch.float64, requires_grad=True)
    fake = torch.tensor(FAKE, dtype=torch.float64, requires_grad=True)
    r, f = torch.autograd.grad(loss.g_loss(fake, real), (real, fake))
    # no score matters but through differences, so that the two gradients cancel
    assert r.any()
    torch.testing.assert_close(r.sum(), -f.sum(), rtol=1e-13, atol=1e-15)


@given(scores, scores)
def test_an_average_of_one_is_twice_its_pair(real, fake):
    real, fake = torch.from_numpy(real)[:1], torch.from_numpy(fake)[:1]
    for average, pair in (
        (RelativisticAverage(), RelativisticPairing()),
        (RelativisticAverageHinge(), RelativisticPairingHinge()),
        (RelativisticAverageLeastSquares(), RelativisticPairingLeastSquares()),
    ):
        torch.testing.assert_close(average.d_loss(real, fake), 2 * pair.d_loss(real, fake), rtol=1e-12, atol=1e-14)


def test_pairs_that_are_a_margin_apart_are_left_alone():
    real = torch.tensor([2.0, 5.0], requires_grad=True)
    fake = torch.tensor([0.5, 3.5], requires_grad=True)
    value = RelativisticPairingHinge().d_loss(real, fake)
    assert value == 0
    assert not any(g.any() for g in torch.autograd.grad(value, (real, fake)))
