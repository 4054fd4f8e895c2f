"""The radii of the Dirac-GAN: closed forms of the linearised game, goldens, and what has no radius."""

import cmath
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganbench import ConfigError, Loss, Regularizer, stream
from ganbench.dirac import PAIRS, Design, jacobian
from ganbench.testing import spectral_radius, verdict
from ganbench_zoo.losses import Hinge, LeastSquares, Minimax, NonSaturating, RelativisticPairing, Wasserstein
from ganbench_zoo.optimizers import SGD, Adam
from ganbench_zoo.regularizers import (
    R1,
    R2,
    GradientClipping,
    GradientPenalty,
    InstanceNoise,
    SpectralNorm,
    WeightClipping,
)
from ganbench_zoo.updates import Alternating, Simultaneous
from ganbench_zoo.updates_first_order import Extragradient, Lookahead, Optimistic
from ganbench_zoo.updates_second_order import JARE, Consensus, LatentOptimization, Unrolled
from ganbench_zoo.vat import VAT

SIM, ALT, H = Simultaneous(), Alternating(), 0.1


def sgd(h=H, momentum=0.0):
    return SGD(lr_g=h, lr_d=h, momentum=momentum)


# -- closed forms, of the linearised field [[-a, c], [-c, -d]] -------------------------------------------------------


def eigenvalues(c, a, d):
    root = cmath.sqrt((a - d) ** 2 / 4 - c**2)
    return [-(a + d) / 2 + sign * root for sign in (1, -1)]


def quadratic(b, c):
    """The larger modulus of the roots of z^2 + b z + c."""
    root = cmath.sqrt(b**2 - 4 * c)
    return max(abs((-b + root) / 2), abs((-b - root) / 2))


def simultaneous(h, c, a=0.0, d=0.0):
    return max(abs(1 + h * lam) for lam in eigenvalues(c, a, d))


def alternating(h, c, a=0.0, d=0.0, n=1):
    """Of [[1 - ha, hc], [0, 1]] [[1, 0], [-hc, 1 - hd]]^n."""
    damped = (1 - h * d) ** n
    pushed = -h * c * sum((1 - h * d) ** i for i in range(n))
    trace = 1 - h * a + h * c * pushed + damped
    return quadratic(-trace, (1 - h * a) * damped)


def heavy_ball(h, c, beta, d=0.0):
    return max(quadratic(-(1 + beta + h * lam), beta) for lam in eigenvalues(c, 0.0, d))


def extragradient(h, c, d=0.0):
    return max(abs(1 + h * lam + (h * lam) ** 2) for lam in eigenvalues(c, 0.0, d))


def optimistic(h, c, d=0.0):
    return max(quadratic(-(1 + 2 * h * lam), h * lam) for lam in eigenvalues(c, 0.0, d))


def lookahead(h, c, k, alpha, d=0.0):
    return max(abs(1 - alpha + alpha * (1 + h * lam) ** k) for lam in eigenvalues(c, 0.0, d))


FIFTH = LeastSquares(a=-1.0, b=1.0, c=1.0)
COUPLED = [(NonSaturating(), 0.5), (Minimax(), 0.5), (RelativisticPairing(), 0.5), (Wasserstein(), 1.0)]
COUPLED += [(Hinge(), 1.0), (FIFTH, 1.0)]
LOSSES = pytest.mark.parametrize(("loss", "c"), [pytest.param(*case, id=case[0].name) for case in COUPLED])
rates, gammas = st.floats(0.01, 1.5), st.floats(0.05, 1.2)
few = settings(max_examples=6, deadline=None, derandomize=True)


@LOSSES
@few
@given(h=rates, gamma=gammas)
def test_damped_players_have_the_radius_of_the_theory(loss, c, h, gamma):
    stack, optimizer = (R1(gamma=gamma),), sgd(h)
    if loss == FIFTH:  # its D is damped by the fit to its codes only where samples are not 0
        stack = (R2(gamma=gamma),)
    for update, expected in ((SIM, simultaneous(h, c, d=gamma)), (ALT, alternating(h, c, d=gamma))):
        radius = spectral_radius(loss=loss, regularizers=stack, update=update, optimizer=optimizer)
        assert radius == pytest.approx(expected, abs=1e-5)


@few
@given(h=rates, gamma=gammas, n=st.integers(1, 5))
def test_several_critic_steps_have_the_radius_of_the_theory(h, gamma, n):
    radius = spectral_radius(regularizers=(R1(gamma=gamma),), update=Alternating(critic_steps=n), optimizer=sgd(h))
    assert radius == pytest.approx(alternating(h, 0.5, d=gamma, n=n), abs=1e-5)


@few
@given(h=st.floats(0.01, 0.5), gamma=gammas)
def test_rules_of_first_order_have_the_radius_of_the_theory(h, gamma):
    given_ = {"regularizers": (R1(gamma=gamma),), "optimizer": sgd(h)}
    assert spectral_radius(update=Extragradient(), **given_) == pytest.approx(extragradient(h, 0.5, gamma), abs=1e-5)
    assert spectral_radius(update=Optimistic(), **given_) == pytest.approx(optimistic(h, 0.5, gamma), abs=1e-5)
    outer = Lookahead(k=4, alpha=0.3, inner=SIM)
    assert spectral_radius(update=outer, **given_) == pytest.approx(lookahead(h, 0.5, 4, 0.3, gamma), abs=1e-5)


@few
@given(h=st.floats(0.01, 0.5), gamma=st.floats(0.01, 1.0), k=st.integers(1, 6), rate=st.floats(0.01, 0.3))
def test_rules_of_second_order_have_the_radius_of_the_theory(h, gamma, k, rate):
    for loss, c in ((NonSaturating(), 0.5), (Wasserstein(), 1.0)):
        damping = gamma * c**2
        for rule in (Consensus, JARE):
            for inner, theory in ((SIM, simultaneous), (ALT, alternating)):
                radius = spectral_radius(loss=loss, update=rule(gamma=gamma, inner=inner), optimizer=sgd(h))
                assert radius == pytest.approx(theory(h, c, damping, damping), abs=1e-5)
        foresight = 2 * k * rate * c**2
        for inner, theory in ((SIM, simultaneous), (ALT, alternating)):
            radius = spectral_radius(loss=loss, update=Unrolled(k=k, rate=rate, inner=inner), optimizer=sgd(h))
            assert radius == pytest.approx(theory(h, c, foresight), abs=1e-5)


@few
@given(h=st.floats(0.01, 0.5), beta=st.floats(-0.9, 0.9).filter(bool), gamma=gammas)
def test_heavy_balls_have_the_radius_of_the_theory(h, beta, gamma):
    radius = spectral_radius(regularizers=(R1(gamma=gamma),), update=SIM, optimizer=sgd(h, beta))
    assert radius == pytest.approx(heavy_ball(h, 0.5, beta, gamma), abs=1e-5)


@few
@given(sigma=st.floats(0.1, 1.5), alpha=st.floats(0.1, 3.0), epsilon=st.floats(0.1, 2.0))
def test_noise_and_adversaries_damp_as_the_theory_says(sigma, alpha, epsilon):
    noise = (InstanceNoise(sigma=sigma),)
    for loss in (NonSaturating(), RelativisticPairing()):
        radius = spectral_radius(loss=loss, regularizers=noise)
        assert radius == pytest.approx(alternating(H, 0.5, d=sigma**2 / 2), abs=1e-5)
    assert spectral_radius(loss=Wasserstein(), regularizers=noise) == pytest.approx(1.0, abs=1e-5)
    for mode in ("power", "exact"):
        radius = spectral_radius(regularizers=(VAT(alpha=alpha, epsilon=epsilon, mode=mode),))
        assert radius == pytest.approx(alternating(H, 0.5, d=alpha * epsilon**2 / 4), abs=1e-5)


# -- goldens, derived elsewhere in fifty digits ----------------------------------------------------------------------

NS, WASSERSTEIN = NonSaturating(), Wasserstein()
GOLDEN = [
    (1.001249, NS, (), SIM, sgd()),
    (1.000000, NS, (), ALT, sgd()),
    (0.998752, NS, (), Extragradient(), sgd()),
    (0.998746, NS, (), Optimistic(), sgd()),
    (1.004988, WASSERSTEIN, (), SIM, sgd()),
    (0.995038, WASSERSTEIN, (), Extragradient(), sgd()),
    (0.994936, WASSERSTEIN, (), Optimistic(), sgd()),
    (0.986154, NS, (R1(gamma=0.15), R2(gamma=0.15)), SIM, sgd()),
    (0.986154, NS, (VAT(alpha=1.2, epsilon=1.0),), SIM, sgd()),
    (0.984886, NS, (R1(gamma=0.3),), ALT, sgd()),
    (0.950000, NS, (R1(gamma=1.0),), SIM, sgd()),  # a double root, where an error of the map counts by its root
    (0.960000, NS, (R1(gamma=1.0),), ALT, sgd()),
    (0.975961, NS, (InstanceNoise(sigma=1.0),), SIM, sgd()),
    (0.976281, NS, (), Consensus(gamma=1.0), sgd()),
    (0.975000, NS, (), Consensus(gamma=1.0, inner=ALT), sgd()),
    (0.988686, NS, (), Unrolled(k=5, rate=0.1, inner=SIM), sgd()),
    (0.987421, NS, (), Unrolled(k=5, rate=0.1), sgd()),
    (0.953939, WASSERSTEIN, (R1(gamma=1.0),), SIM, sgd()),
    (0.905539, WASSERSTEIN, (), Consensus(gamma=1.0), sgd()),
    (0.948683, WASSERSTEIN, (), Unrolled(k=5, rate=0.1), sgd()),
    (1.000000, NS, (), ALT, sgd(3.9)),  # alternation turns unstable where h c = 2
    (1.562500, NS, (), ALT, sgd(4.1)),
    (0.970000, NS, (R1(gamma=0.3),), Alternating(critic_steps=2), sgd()),
    (0.926679, NS, (R1(gamma=0.3),), Alternating(critic_steps=5), sgd()),
    (1.000185, NS, (), SIM, sgd(momentum=-0.5)),
    (0.999630, NS, (), ALT, sgd(momentum=-0.5)),
    (1.009375, NS, (), ALT, sgd(momentum=0.5)),
    (1.121098, NS, (), SIM, sgd(momentum=0.9)),
    (1.117923, NS, (), ALT, sgd(momentum=0.9)),
    (1.087552, NS, (R1(gamma=0.3),), ALT, sgd(momentum=0.9)),
    (0.995317, NS, (), Lookahead(k=5, inner=SIM), sgd()),
    (0.975051, NS, (), Lookahead(k=10, inner=SIM), sgd()),
    (0.888899, NS, (), Lookahead(k=20, inner=SIM), sgd()),
]


@pytest.mark.parametrize(("radius", "loss", "stack", "update", "optimizer"), GOLDEN)
def test_golden_radii(radius, loss, stack, update, optimizer):
    ours = spectral_radius(loss=loss, regularizers=stack, update=update, optimizer=optimizer)
    assert ours == pytest.approx(radius, abs=1e-6)


# -- the map ---------------------------------------------------------------------------------------------------------


def test_the_defaults_are_alternating_descent_on_the_non_saturating_loss():
    ours = jacobian(None, (), None, None)
    torch.testing.assert_close(ours, jacobian(NonSaturating(), (), ALT, sgd()), rtol=0, atol=1e-12)
    expected = torch.tensor([[1 - (H / 2) ** 2, H / 2], [-H / 2, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)


def test_the_map_is_that_of_the_whole_state():
    assert jacobian(None, (), None, sgd(momentum=0.5)).shape == (4, 4)
    assert jacobian(None, (), Optimistic(), None).shape == (4, 4)
    assert jacobian(None, (), Lookahead(inner=Optimistic()), sgd(momentum=0.5)).shape == (8, 8)


def test_a_lazy_penalty_is_judged_over_its_period():
    lazy, eager = (jacobian(None, (R1(gamma=0.3, every=n),), SIM, None) for n in (2, 1))
    damped, free = (jacobian(None, stack, SIM, None) for stack in ((R1(gamma=0.6),), ()))
    torch.testing.assert_close(lazy, free @ damped, rtol=0, atol=1e-10)
    assert not torch.allclose(lazy, eager @ eager, rtol=0, atol=1e-5)


def test_latents_that_do_not_matter_change_nothing():
    assert spectral_radius(update=LatentOptimization()) == pytest.approx(1.0, abs=1e-9)


class Drifting(Regularizer):
    """0, with a clock."""

    def init(self, params):
        return {"time": next(iter(params.values())).new_zeros(())}

    def prepare(self, params, state):
        return {"time": state["time"] + 1}

    def d_penalty(self, at):
        return 0 * at.real_scores.mean()


def test_clocks_are_no_part_of_the_map():
    assert jacobian(None, (Drifting(),), None, None).shape == (2, 2)
    assert spectral_radius(regularizers=(Drifting(),)) == pytest.approx(1.0, abs=1e-9)


def test_noise_is_a_design_with_exact_moments():
    def design():
        return Design(player="d", size=2 * PAIRS, shape=(1,), latent=1, dtype=torch.float64, device=torch.device("cpu"))

    batch, rng = design(), stream(0, "regularizer-0")
    before = rng.get_state()
    n, u, m = batch.normal(rng)[:, 0], batch.per_sample(rng)[:, 0], batch.normal(rng, 2 * PAIRS, 2)
    columns = torch.stack([n, m[:, 0], m[:, 1]])
    torch.testing.assert_close(columns @ columns.T / (2 * PAIRS), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    for odd in (n.mean(), (n**3).mean(), u.mean() - 0.5):
        assert abs(odd) < 1e-12
    assert abs((n**4).mean() - 3) < 0.05
    assert abs((n * u).mean()) < 1e-3
    assert abs((u**2).mean() - 1 / 3) < 1e-6
    assert torch.equal(batch.normal(rng, 3, 3), design().normal(stream(0, "regularizer-0"), 3, 3))  # shared: a sample
    assert not torch.equal(rng.get_state(), before)


# -- what has no radius ----------------------------------------------------------------------------------------------


class Away(Loss):
    """The players want to be elsewhere."""

    def d_loss(self, real, fake):
        return (real.mean() - fake.mean()).square()

    def g_loss(self, fake, real):
        return -fake.mean()


class Pulled(Regularizer, name="pulled"):
    """theta is pulled to 1."""

    def g_penalty(self, at):
        return (at.fake - 1).square().mean()


class Rootless(Regularizer, name="rootless"):
    """A root without a derivative where the players rest."""

    def g_penalty(self, at):
        return at.fake.square().sum().sqrt()


class Crashes(Regularizer, name="crashes"):
    """It wants images."""

    def d_penalty(self, at):
        return at.real.mean((1, 2, 3)).mean()


class Energies(Hinge, name="energies"):
    """An energy."""

    output = "energy"


def test_what_has_no_radius_is_said():
    with pytest.raises(ConfigError, match="no derivative at the equilibrium"):
        spectral_radius(optimizer=Adam())
    with pytest.raises(ConfigError, match="no derivative at the equilibrium"):
        spectral_radius(regularizers=(GradientPenalty(),))
    with pytest.raises(ConfigError, match="do not rest"):
        spectral_radius(regularizers=(Pulled(),))
    with pytest.raises(ConfigError, match="asks the discriminator for energy"):
        spectral_radius(loss=Energies())


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (NonSaturating(), "circles under sgd lr 0.1 (radius 1.00000)"),
        (LeastSquares(), "drifts under sgd lr 0.1 (radius 1.00000)"),
        (R1(gamma=0.3), "converges under sgd lr 0.1 (radius 0.98489)"),
        (R1(gamma=30.0), "diverges under sgd lr 0.1 (radius 2.00167)"),
        (VAT(alpha=1.2, epsilon=1.0), "converges under sgd lr 0.1 (radius 0.98489)"),
        (InstanceNoise(sigma=1.0), "converges under sgd lr 0.1 (radius 0.97468)"),
        (WeightClipping(), "circles under"),
        (GradientClipping(), "circles under"),
        (SpectralNorm(), "circles under"),
        (GradientPenalty(), "not judged: the step has no derivative"),
        (Pulled(), "not judged: the players do not rest"),
        (Rootless(), "not judged: the players do not rest"),
        (Crashes(), "not judged: on the Dirac-GAN it fails with IndexError"),
        (Energies(), "not judged: energies asks"),
    ],
    ids=lambda c: c.label if hasattr(c, "label") else "",
)
def test_verdicts(component, said):
    assert verdict(component).startswith(said)


def test_the_players_need_not_start_at_rest_to_be_judged():
    """Linear theory against trajectories: from a hundredth away, R1 shrinks the distance by the radius each step."""
    matrix = jacobian(None, (R1(gamma=0.3),), None, None)
    point, distances = torch.tensor([0.01, 0.0], dtype=torch.float64), []
    for _ in range(400):
        point = matrix @ point
        distances.append(point.norm())
    rate = (distances[-1] / distances[99]) ** (1 / 300)
    assert rate.item() == pytest.approx(math.sqrt(1 - H * 0.3), abs=1e-3)
