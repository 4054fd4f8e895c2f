"""What techniques are known to do on two problems that are understood: the Dirac-GAN and the ring.

The ring is that of 8 Gaussians (radius 2, std 0.1) with the networks of Metz et al. 2017, at 3000 steps: long enough
for what trains well to have all modes, one seed each. Floors: a Gaussian with the moments of the data has 6 modes of at
least 20 samples and a share of 0.067 in modes, uniform samples 8 and 0.108, one mode 1 and 0.989.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import Loss, Regularizer
from ganbench.cohort import run_trial
from ganbench.derivatives import Autograd
from ganbench.feed import Feed
from ganbench.grid import Grid, Trial
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.registry import Registry
from ganbench.samples import Samples
from ganbench.step import Game
from ganbench.training import Training
from ganbench_zoo.losses import NonSaturating, Wasserstein
from ganbench_zoo.networks import Point, Slope
from ganbench_zoo.optimizers import SGD
from ganbench_zoo.penalties_gradient import LipschitzPenalty
from ganbench_zoo.regularizers import R1, GradientPenalty, WeightClipping
from ganbench_zoo.updates import Alternating

pytestmark = pytest.mark.slow


# -- the Dirac-GAN ---------------------------------------------------------------------------------------------


def distance(loss: Loss, regularizer: Regularizer, critic_steps: int, steps: int = 1000) -> float:
    """|(theta, psi)| after plain gradient descent at 0.1 from (1, 1)."""
    g, d = (Network(kind(1.0).double()) for kind in (Point, Slope))
    optimizer, update = SGD(lr_g=0.1, lr_d=0.1), Alternating(critic_steps=critic_steps)
    game = Game(
        generator=g,
        discriminator=d,
        loss=loss,
        regularizers=(regularizer,),
        active=(True,),
        optimizer=optimizer,
        ema_decay=0.0,
        derivatives=Autograd(),
    )
    zeros = torch.zeros(2, 1, dtype=torch.float64)
    feed = Feed(
        Samples(zeros),
        (regularizer,),
        seed=0,
        batch=2,
        d_turns=critic_steps,
        latent=1,
        shape=(1,),
        dtype=torch.float64,
        device=torch.device("cpu"),
    )
    state = initial_state(g, d, (regularizer,), optimizer, loss, update)
    for _ in range(steps):
        state = game.finish(update.step(game, state, feed.turns((True,))))
    return float(torch.cat([state.g.params["theta"], state.d.params["psi"]]).norm())


@pytest.mark.parametrize("critic_steps", [1, 2, 5])
@pytest.mark.parametrize(
    "regularizer",
    [GradientPenalty(weight=1.0, target=0.3), LipschitzPenalty(weight=1.0, target=0.3), WeightClipping(bound=0.3)],
    ids=lambda r: r.name,
)
def test_slopes_held_at_a_target_never_let_the_players_settle(regularizer: Regularizer, critic_steps: int) -> None:
    assert 0.2 < distance(Wasserstein(), regularizer, critic_steps) < 0.7


@pytest.mark.parametrize("loss", [NonSaturating(), Wasserstein()], ids=lambda loss: loss.name)
def test_slopes_held_at_zero_do(loss: Loss) -> None:
    assert distance(loss, R1(gamma=0.3), 1) < 1e-6


# -- the ring --------------------------------------------------------------------------------------------------

RING = {
    "dataset": {"use": "ring", "std": 0.1},
    "generator": "mlp",
    "discriminator": {"use": "mlp", "input_scale": 0.25},
    "optimizer": {"use": "adam", "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.5, "beta2": 0.99},
    "metrics": ["mixture-modes"],
}
RUN = {"seeds": 1, "steps": 3000, "batch": 128, "samples": 2500, "evaluations": 1, "checkpoint_every": 0}


def trained(folder: Path, steps: int = 3000, **axes: Any) -> dict[str, float]:
    """Modes and the share of samples in them, of the last iterate."""
    folder.mkdir(exist_ok=True)
    grid = Grid.load({"run": RUN | {"steps": steps}, "grid": RING | {"loss": "non-saturating"} | axes})
    (combination,) = grid.combinations(Registry.load())
    record = run_trial(Trial(combination.cell, 0), folder, Training(evaluations=1, checkpoint_every=0), lambda *_: None)
    assert record.status == "done", record.reason
    return {name: value.last for name, value in record.measures.items() if value.last is not None}


REACHES_ALL = [
    {},
    {"loss": "minimax"},
    {"loss": "least-squares"},
    {"regularizer": {"use": "r1", "gamma": 0.1}},
    {"regularizer": {"use": "vat", "epsilon": 0.5}},
    {"regularizer": "packing"},
]


@pytest.mark.parametrize("axes", REACHES_ALL, ids=str)
def test_what_trains_well_finds_all_modes(axes: dict[str, Any], tmp_path: Path) -> None:
    found = trained(tmp_path, **axes)
    assert found["modes20"] == 8
    assert found["hq"] > 0.6


def test_the_bar_is_above_an_untrained_generator(tmp_path: Path) -> None:
    found = trained(tmp_path, steps=1)
    assert found["modes20"] < 8
    assert found["hq"] < 0.2


def test_a_critic_of_slope_one_in_scaled_inputs_starves_the_generator(tmp_path: Path) -> None:
    starved = trained(tmp_path, loss="hinge", regularizer="spectral-norm")
    fed = trained(tmp_path / "b", loss="hinge")
    assert starved["hq"] < 0.3
    assert fed["hq"] > starved["hq"] + 0.3
