import math

import pytest
import torch
from torch import nn

from ganbench import Turn, Turns
from ganbench.derivatives import Autograd
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.step import Game
from ganbench_zoo.losses import NonSaturating, Wasserstein
from ganbench_zoo.optimizers import SGD
from ganbench_zoo.regularizers import R1
from ganbench_zoo.updates import Alternating, Simultaneous

H = 0.1


class Point(nn.Module):
    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta], dtype=torch.float64))

    def forward(self, z, y=None):
        return self.theta.expand(len(z), 1)


class Slope(nn.Module):
    def __init__(self, psi):
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([psi], dtype=torch.float64))

    def forward(self, x, y=None):
        return x[:, 0] * self.psi


def step(update, theta, psi, *, loss, regularizers=()):
    """One whole step of the Dirac-GAN, whose real samples are 0: the new (theta, psi)."""
    g, d = Network(Point(theta)), Network(Slope(psi))
    optimizer = SGD(lr_g=H, lr_d=H)
    game = Game(
        generator=g,
        discriminator=d,
        loss=loss,
        regularizers=regularizers,
        active=[True] * len(regularizers),
        optimizer=optimizer,
        ema_decay=0.0,
        derivatives=Autograd(),
    )
    zeros = torch.zeros(2, 1, dtype=torch.float64)
    turn = Turn(zeros, None, zeros, tuple({} for _ in regularizers))
    state = initial_state(g, d, regularizers, optimizer)
    state = update.step(game, state, Turns((turn,) * update.d_turns, turn))
    return state.g.params["theta"].item(), state.d.params["psi"].item()


def spectral_radius(update, **kwargs):
    """Of the Jacobian of a step at the equilibrium (0, 0), by central differences."""
    e = 1e-5
    columns = []
    for theta, psi in ((e, 0.0), (0.0, e)):
        ahead, behind = step(update, theta, psi, **kwargs), step(update, -theta, -psi, **kwargs)
        columns.append([(a - b) / (2 * e) for a, b in zip(ahead, behind, strict=True)])
    return torch.linalg.eigvals(torch.tensor(columns, dtype=torch.float64)).abs().max().item()


def test_simultaneous_players_see_the_same_parameters():
    theta, psi = 0.7, -0.4
    assert step(Simultaneous(), theta, psi, loss=Wasserstein()) == pytest.approx((theta + H * psi, psi - H * theta))


@pytest.mark.parametrize("critic_steps", [1, 2, 5])
def test_alternating_generators_see_the_discriminator_that_moved(critic_steps):
    theta, psi = 0.7, -0.4
    moved = psi - critic_steps * H * theta
    update = Alternating(critic_steps=critic_steps)
    assert update.d_turns == critic_steps
    assert step(update, theta, psi, loss=Wasserstein()) == pytest.approx((theta + H * moved, moved))


@pytest.mark.parametrize(
    ("update", "loss", "gamma", "radius"),
    [
        # the linearised field has coupling c (1/2 for logistic losses, 1 for Wasserstein's) and damping gamma
        (Simultaneous(), NonSaturating(), None, math.sqrt(1 + (H / 2) ** 2)),
        (Simultaneous(), Wasserstein(), None, math.sqrt(1 + H**2)),
        (Simultaneous(), NonSaturating(), 0.3, math.sqrt(1 - H * 0.3 + (H / 2) ** 2)),
        (Alternating(), NonSaturating(), None, 1.0),
        (Alternating(), Wasserstein(), None, 1.0),
        (Alternating(), NonSaturating(), 0.3, math.sqrt(1 - H * 0.3)),
        (Alternating(), Wasserstein(), 1.0, math.sqrt(1 - H)),
        (Alternating(critic_steps=2), NonSaturating(), 0.3, 1 - H * 0.3),
    ],
)
def test_the_spectral_radius_at_the_equilibrium_is_that_of_the_theory(update, loss, gamma, radius):
    regularizers = () if gamma is None else (R1(gamma=gamma),)
    assert spectral_radius(update, loss=loss, regularizers=regularizers) == pytest.approx(radius, rel=1e-8)


def test_each_critic_step_gets_its_own_samples():
    seen = []

    class Recorder:
        def d_grads(self, state, turn):
            seen.append(turn)
            return {}, state

        g_grads = d_grads

        def apply_d(self, state, grads):
            return state

        apply_g = apply_d

    Alternating(critic_steps=3).step(Recorder(), None, Turns(("first", "second", "third"), "last"))
    assert seen == ["first", "second", "third", "last"]
