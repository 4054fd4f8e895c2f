from types import SimpleNamespace

import pytest
import torch
from stepping import Training

from ganbench import ConfigError
from ganbench.testing import d_penalty
from ganbench_zoo.penalties_score import EpsilonDrift, LeCam

REAL, FAKE = [1.5, -0.5, 2.0], [-1.0, 0.25, 1.0]


def t(values):
    return torch.tensor(values, dtype=torch.float64)


def penalty(regularizer, **given):
    return d_penalty(regularizer, lambda x: x[:, 0], t(REAL)[:, None], t(FAKE)[:, None], **given).item()


@pytest.mark.parametrize("variant", ["paper", "gated"])
@pytest.mark.parametrize("step", [0, 5, 6, 100])
def test_scores_are_pulled_to_the_running_mean_of_the_other_side(variant, step):
    relu = (lambda v: max(v, 0.0)) if variant == "gated" else (lambda v: v)
    a_real, a_fake = (0.9 * old + 0.1 * sum(now) / 3 for old, now in ((0.8, REAL), (-0.6, FAKE)))
    expected = sum(relu(r - a_fake) ** 2 for r in REAL) / 3 + sum(relu(a_real - f) ** 2 for f in FAKE) / 3
    regularizer = LeCam(weight=2.0, decay=0.9, start=5, variant=variant)
    value = penalty(regularizer, step=step, state={"real": t(0.8), "fake": t(-0.6)})
    assert value == (pytest.approx(2 * expected, rel=1e-14) if step > 5 else 0)


def test_the_running_means_are_those_of_a_loop():
    regularizer = LeCam(decay=0.8, start=4)
    training, mean = Training([regularizer]), {"real": 0.0, "fake": 0.0}
    for step in range(9):
        game, state = training.game(step), training.state
        turns = training.feed.turns(game.active)
        z = turns.d[0]
        with torch.no_grad():
            fake, _ = training.g(state.g.params, {}, z.latents)
            now = {
                "real": training.d(state.d.params, {}, z.real)[0].mean().item(),
                "fake": training.d(state.d.params, {}, fake)[0].mean().item(),
            }
        decay = 0.8 if step >= 4 else 0.0
        mean = {side: decay * mean[side] + (1 - decay) * now[side] for side in mean}
        grads, after = game.d_grads(state, turns.d[0])
        for side, value in mean.items():
            assert after.regularizers[0]["d"][side].item() == pytest.approx(value, rel=1e-13)
        training.state = game.finish(game.apply_d(after, grads))


def test_drift_is_the_mean_square_of_real_scores():
    assert penalty(EpsilonDrift()) == pytest.approx(0.001 * (1.5**2 + 0.5**2 + 2**2) / 3, rel=1e-15)


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ConfigError, match="acts on the discriminator only"):
        LeCam(on="g")
    loss = SimpleNamespace(name="a-loss", output="energy")
    assert "anchors scores" in LeCam().mismatch(SimpleNamespace(loss=loss))
