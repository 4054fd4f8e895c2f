"""f-GAN: closed forms against conjugates in forty digits, and identities with other losses."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench import ConfigError
from ganbench_zoo.losses import Minimax, NonSaturating
from ganbench_zoo.losses_divergence import FGAN, FORMULAS, exponential

REAL, FAKE = [1.5, -0.5, 0.25, 3.0], [-2.0, 0.75, -0.1, 1.0]
scores = arrays("float64", 6, elements=st.floats(-25, 25))

log, e, root = mpmath.log, mpmath.exp, mpmath.sqrt
# the generator function f of each divergence E_q f(p/q), where its derivative is t, the activation of the paper's table
# (with the sign that makes a large score mean real), and the golden numbers: D, G, G with the alternative
DIVERGENCES = {
    "kl": (
        lambda u: u * log(u),
        lambda t: e(t - 1),
        lambda v: v,
        (-0.522135266215663, -0.540364733784337, 0.0875),
    ),
    "reverse-kl": (
        lambda u: -log(u),
        lambda t: -1 / t,
        lambda v: -e(-v),
        (-0.412390179428043, 1.0875, 2.333618252729689),
    ),
    "pearson": (
        lambda u: (u - 1) ** 2,
        lambda t: 1 + t / 2,
        lambda v: v,
        (-0.80171875, -0.26078125, 0.0875),
    ),
    "neyman": (
        lambda u: (1 - u) ** 2 / u,
        lambda t: 1 / root(1 - t),
        lambda v: 1 - e(-v),
        (-0.856576611097381, 0.531686431669337, 1.333618252729689),
    ),
    "squared-hellinger": (
        lambda u: (root(u) - 1) ** 2,
        lambda t: (1 - t) ** -2,
        lambda v: 1 - e(-v),
        (0.143973457158030, -0.468863636586073, 1.333618252729689),
    ),
    "jensen-shannon": (
        lambda u: -(u + 1) * log((1 + u) / 2) + u * log(u),
        lambda t: e(t) / (2 - e(t)),
        lambda v: log(2) - log(1 + e(-v)),
        (-0.130925761528613, -0.112217160627471, 0.199717160627471),
    ),
    "gan": (
        lambda u: u * log(u) - (u + 1) * log(u + 1),
        lambda t: e(t) / (1 - e(t)),
        lambda v: -log(1 + e(-v)),
        (1.255368599591278, -0.805364341187417, 0.892864341187417),
    ),
}


def conjugate(name, t):
    """u t - f(u) where f'(u) = t: the supremum over u, since f is convex."""
    f, inverse, _, _ = DIVERGENCES[name]
    u = inverse(t)
    assert mpmath.diff(f, u) == pytest.approx(t, abs=1e-9)
    return u * t - f(u)


def mean(terms):
    terms = list(terms)
    return mpmath.fsum(terms) / len(terms)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_values_are_those_of_the_conjugate_in_forty_digits(name):
    _, _, g, golden = DIVERGENCES[name]
    with mpmath.workdps(40):
        of_real = mean(g(mpmath.mpf(t)) for t in REAL)
        of_fake = mean(g(mpmath.mpf(t)) for t in FAKE)
        bound = mean(conjugate(name, g(mpmath.mpf(t))) for t in FAKE)
        expected = float(bound - of_real), float(-bound), float(-of_fake)
    assert expected == pytest.approx(golden, rel=1e-13)
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    loss = FGAN(divergence=name)
    found = loss.d_loss(real, fake), loss.g_loss(fake, None), FGAN(divergence=name, alternative=True).g_loss(fake, None)
    assert tuple(map(float, found)) == pytest.approx(expected, rel=1e-13)


def test_total_variation_is_half_a_difference_of_tangents():
    # f(u) = |u - 1| / 2 has the conjugate t on [-1/2, 1/2], where tanh(v) / 2 lives
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    half = [mpmath.tanh(t) / 2 for t in (*REAL, *FAKE)]
    d, g = float(mean(half[4:]) - mean(half[:4])), float(-mean(half[4:]))
    assert (d, g) == pytest.approx((-0.168744622354127, -0.041630941705285), rel=1e-12)
    for alternative in (False, True):
        loss = FGAN(divergence="total-variation", alternative=alternative)
        assert float(loss.d_loss(real, fake)) == pytest.approx(d, rel=1e-14)
        assert float(loss.g_loss(fake, None)) == pytest.approx(g, rel=1e-14)


@pytest.mark.parametrize("name", DIVERGENCES)
@given(v=st.floats(-3, 3))
def test_the_bound_is_the_conjugate_at_every_score(name, v):
    of_g = float(FORMULAS[name][1](torch.tensor(v, dtype=torch.float64)))
    with mpmath.workdps(40):
        exact = float(conjugate(name, DIVERGENCES[name][2](mpmath.mpf(v))))
    assert of_g == pytest.approx(exact, rel=1e-13, abs=1e-14)


@given(real=scores, fake=scores)
def test_gan_is_minimax_and_its_alternative_is_non_saturating(real, fake):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    saddle, other = FGAN(divergence="gan"), FGAN(divergence="gan", alternative=True)
    assert torch.equal(saddle.g_loss(fake, None), Minimax().g_loss(fake, None))
    assert torch.equal(other.g_loss(fake, None), NonSaturating().g_loss(fake, None))
    for loss in (saddle, other):
        torch.testing.assert_close(loss.d_loss(real, fake), Minimax().d_loss(real, fake), rtol=1e-14, atol=0)


@given(real=scores, fake=scores)
def test_jensen_shannon_is_gan_less_twice_log_two(real, fake):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    gan, js = FGAN(divergence="gan"), FGAN(divergence="jensen-shannon")
    difference = gan.d_loss(real, fake) - js.d_loss(real, fake)
    assert float(difference) == pytest.approx(2 * float(log(2)), abs=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
@given(v=st.floats(-20, 20))
def test_a_higher_score_means_more_real_for_every_divergence(name, v):
    t = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(FORMULAS[name][0](t), t)
    assert slope >= 0


@given(st.floats(-700, 1e6), st.floats(-700, 1e6))
def test_the_exponential_is_itself_below_thirty_and_below_itself_beyond(a, b):
    a, b = sorted((a, b))
    low, high = (float(exponential(torch.tensor(t, dtype=torch.float64))) for t in (a, b))
    assert low <= high < float("inf")
    for t, value in ((a, low), (b, high)):
        exact = float(mpmath.exp(t))
        assert value == pytest.approx(exact, rel=1e-13) if t <= 30 else value <= exact


def test_an_unknown_divergence_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError) as refusal:
        FGAN(divergence="pearsson")
    assert "pearson" in str(refusal.value)
