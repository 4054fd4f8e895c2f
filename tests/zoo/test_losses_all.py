"""What every loss of the zoo must do, and what the engine does for those that see more than scores."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench import ContractError, Loss, LossStep, Regularizer, checkpoint, stream
from ganbench.grid import Grid, Trial
from ganbench.registry import Registry
from ganbench.testing import check
from ganbench.training import Trainer, Training
from ganbench_zoo import (
    losses,
    losses_critic,
    losses_divergence,
    losses_embedding,
    losses_energy,
    losses_relativistic,
    networks_autoencoder,
    networks_embedding,
)
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.losses_divergence import FGAN, FORMULAS
from ganbench_zoo.losses_embedding import MMD
from ganbench_zoo.losses_energy import EBGAN

MODULES = (losses, losses_relativistic, losses_divergence, losses_embedding, losses_energy, losses_critic)
PLAIN = [cls() for module in MODULES for cls in module.ganbench_components()]
EVERY = [
    *PLAIN,
    NonSaturating(smoothing=0.1, fake_smoothing=0.1),
    *(FGAN(divergence=name, alternative=alternative) for name in FORMULAS for alternative in (False, True)),
    MMD(kernel="rational-quadratic", scales=(0.5, 2.0)),
    EBGAN(pulling_away=0.1),
]
LOSSES = [pytest.param(loss, id=loss.label) for loss in EVERY]
BATCH = 4
REAL, FAKE = [1.5, -0.5, 0.25, 3.0], [-2.0, 0.75, -0.1, 1.0]
EXTREME_REAL, EXTREME_FAKE = [-100.0, 100.0, 40.0, -750.0], [750.0, -100.0, -40.0, 100.0]


def outputs(loss, values, dtype=torch.float64):
    """What a discriminator of the kind that the loss asks for might have returned."""
    scores = torch.tensor(values, dtype=dtype)
    if loss.output == "embedding":
        return torch.stack([scores, scores.roll(1), 0.5 * scores.roll(2)], 1)
    return scores.abs() + 0.05 if loss.output == "energy" else scores  # away from the kink at a margin of 1


def seen(loss, like, order=slice(None)):
    rng = stream(0, "samples")
    x, y = (torch.randn(len(like), 3, generator=rng, dtype=torch.float64).to(like.dtype)[order] for _ in range(2))
    state = {name: value + 0.25 for name, value in loss.init(like.new_zeros(())).items()}
    return LossStep(real=x, fake=y, state=state, code=lambda x: x)


def both(loss, real, fake, order=slice(None), at=None):
    at = at or seen(loss, real, order)
    return loss.d_loss_at(real, fake, at), loss.g_loss_at(fake, real if loss.paired else None, at)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    real, fake = outputs(loss, REAL).requires_grad_(), outputs(loss, FAKE).requires_grad_()
    for i in range(2):
        assert torch.autograd.gradcheck(lambda r, f, i=i: both(loss, r, f)[i], (real, fake))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_scores_give_finite_losses_and_gradients(loss, dtype):
    for signs in (1, -1):
        real = (signs * outputs(loss, EXTREME_REAL, dtype)).requires_grad_()
        fake = (signs * outputs(loss, EXTREME_FAKE, dtype)).requires_grad_()
        for value in both(loss, real, fake):
            grads = torch.autograd.grad(value, (real, fake), allow_unused=True, retain_graph=True)
            assert all(torch.isfinite(t).all() for t in (value, *(g for g in grads if g is not None)))


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=10)
@given(
    real=arrays("float64", 6, elements=st.floats(-15, 15)),
    fake=arrays("float64", 6, elements=st.floats(-15, 15)),
    order=st.permutations(range(6)),
)
def test_the_order_of_the_samples_does_not_matter(loss, real, fake, order):
    real, fake = outputs(loss, real.tolist()), outputs(loss, fake.tolist())
    before, after = both(loss, real, fake), both(loss, real[order], fake[order], order)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_seeds_can_be_stacked(loss):
    rng = stream(0, "scores")
    size = (3, BATCH, 5) if loss.output == "embedding" else (3, BATCH)
    real, fake = (torch.randn(size, generator=rng, dtype=torch.float64).abs() for _ in range(2))
    at = seen(loss, real[0])
    gradients = torch.func.grad(lambda r, f: sum(both(loss, r, f, at=at)), argnums=(0, 1))
    stacked = torch.vmap(gradients)(real, fake)
    for i in range(3):
        for of_all, of_one in zip(stacked, gradients(real[i], fake[i]), strict=True):
            torch.testing.assert_close(of_all[i], of_one, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_of_another_shape_are_refused_before_they_broadcast(loss):
    good = outputs(loss, REAL)
    bad = good[:, 0] if loss.output == "embedding" else good[:, None]
    with pytest.raises(ContractError, match="shape"):
        both(loss, bad, good)
    with pytest.raises(ContractError, match="shape"):
        both(loss, good, bad)
    if loss.paired:
        with pytest.raises(ContractError, match="do not match"):
            both(loss, good, good[:1])
        with pytest.raises(ContractError, match="real"):
            loss.g_loss_at(good, None, seen(loss, good))


@pytest.mark.parametrize("loss", LOSSES)
def test_it_keeps_the_contract_of_a_loss(loss):
    assert [finding for finding in check(loss) if not finding.ok] == []


@pytest.mark.parametrize(
    "network",
    [cls for module in (networks_embedding, networks_autoencoder) for cls in module.ganbench_components()],
    ids=lambda cls: cls.name,
)
def test_the_networks_they_need_keep_theirs(network):
    assert [finding for finding in check(network) if not finding.ok] == []


# -- in training -----------------------------------------------------------------------------------------------

DISCRIMINATORS = {
    "scores": {"use": "mlp", "width": 8},
    "embedding": {"use": "mlp-embedding", "width": 8, "dimension": 3},
    "energy": {"use": "mlp-autoencoder", "width": 8},
}


@pytest.fixture(scope="module")
def registry():
    return Registry.load()


@pytest.fixture
def combination(small, registry):
    """A function from a loss to the one combination of a small grid with the discriminator that it asks for."""

    def make(loss, **axes):
        table = loss.to_table() if isinstance(loss, Loss) else loss
        output = registry.parse("loss", table, "test").output
        chosen = {"loss": table, "discriminator": DISCRIMINATORS[output], "regularizer": "none"} | axes
        (found,) = Grid.load({"run": small["run"], "grid": small["grid"] | chosen}).combinations(registry)
        return found

    return make


@pytest.fixture
def trainer(combination, tmp_path):
    def make(loss, **axes):
        found = combination(loss, **axes)
        assert found.skip is None
        return Trainer(Trial(found.cell, 0), tmp_path, Training(), lambda kind, content: None)

    return make


def tensors(state):
    return checkpoint.flatten(state)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_trains_both_players_for_twenty_steps(trainer, loss):
    trained = trainer(loss)
    before = tensors(trained.state)
    trained.advance(20)
    after = tensors(trained.state)
    assert all(torch.isfinite(t).all() for t in (*after.values(), *trained.state.logs.values()))
    for player in ("g", "d"):
        moved = [name for name in before if name.startswith(f"{player}/params/")]
        assert any(not torch.equal(before[name], after[name]) for name in moved)


@pytest.mark.parametrize("loss", ["began", "fisher"])
def test_the_state_of_a_loss_is_logged_and_survives_a_checkpoint(trainer, tmp_path, loss):
    whole, parts = trainer({"use": loss, "rho" if loss == "fisher" else "rate": 0.1}), None
    whole.advance(6)
    (name,) = whole.state.loss
    assert whole.state.loss[name] != 0
    assert torch.equal(whole.state.logs[f"loss-{name}"], whole.state.loss[name])
    checkpoint.save(tmp_path, whole.state, whole.feed.state(), {})
    parts = trainer(whole.cell.loss)
    found = checkpoint.load(tmp_path, parts.state, torch.device("cpu"))
    assert found is not None
    parts.state, feed, _ = found
    parts.feed.restore(feed)
    assert torch.equal(parts.state.loss[name], whole.state.loss[name])
    parts._step = 6
    for one in (whole, parts):
        one.advance(4)
    left, right = tensors(whole.state), tensors(parts.state)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_k_moves_once_in_each_turn_of_the_discriminator(trainer, critic_steps):
    trained = trainer(
        {"use": "began", "gamma": 1.0, "rate": 0.5}, update={"use": "alternating", "critic_steps": critic_steps}
    )
    expected, state = torch.zeros(()), trained.state
    game, turns = trained.game(0), trained.feed.turns(())
    for turn in turns.d:
        grads, state = game.d_grads(state, turn)
        rise = 0.5 * (1.0 * state.logs["d_real"] - state.logs["d_fake"])
        expected = (expected + rise).clamp(0, 1)
        torch.testing.assert_close(state.loss["k"], expected)
        state = game.apply_d(state, grads)
    _, after = game.g_grads(state, turns.g)
    assert torch.equal(after.loss["k"], state.loss["k"])


def one_turn(trained):
    """The state that the first turns of both players leave, with its logs, and what they were given."""
    game = trained.game(0)
    turns = trained.feed.turns(game.active)
    _, state = game.d_grads(trained.state, turns.d[0])
    _, state = game.g_grads(state, turns.g)
    return state, turns


def network(trained, player):
    return lambda x: getattr(trained, player)(
        getattr(trained.state, player[0]).params, getattr(trained.state, player[0]).buffers, x, None
    )[0]


def test_distances_are_between_the_samples_that_the_discriminator_saw(trainer):
    trained = trainer("gan-qp", regularizer=[["instance-noise"]])
    state, turns = one_turn(trained)
    turn = turns.d[0]
    generate, score = network(trained, "generator"), network(trained, "discriminator")
    x = turn.real + 0.1 * turn.noise[0]["real"]
    y = generate(turn.latents) + 0.1 * turn.noise[0]["fake"]
    rise = score(x) - score(y)
    expected = (-rise + rise**2 / (20 * (x - y).abs().mean(1))).mean()
    torch.testing.assert_close(state.logs["d_loss"], expected.detach())


def test_pulling_away_compares_codes_of_the_fakes(trainer):
    trained = trainer(EBGAN(pulling_away=0.3), discriminator=DISCRIMINATORS["energy"] | {"code": 2})
    state, turns = one_turn(trained)
    fake = network(trained, "generator")(turns.g.latents)
    code = trained.discriminator(trained.state.d.params, {}, fake, None, True)[0]
    unit = code / code.norm(dim=1, keepdim=True).clamp(min=1e-9)  # a fake at the origin has the code 0
    cosines = (unit @ unit.T).square()
    others = cosines.sum() - cosines.diagonal().sum()
    n = len(fake)
    expected = network(trained, "discriminator")(fake).mean() + 0.3 * others / (n * (n - 1))
    torch.testing.assert_close(state.logs["g_loss"], expected.detach())


def test_a_penalty_on_an_embedding_is_one_on_the_score_that_the_loss_makes_of_it(trainer):
    # for Cramer's F(h) = E |h - f'| - |h| the chain rule gives the gradient that r1 squares
    trained = trainer("cramer", regularizer={"use": "r1", "gamma": 2.0})
    state, turns = one_turn(trained)
    turn, h = turns.d[0], network(trained, "discriminator")
    real, fake = h(turn.real).detach(), h(network(trained, "generator")(turn.latents)).detach()
    unit = torch.nn.functional.normalize
    upward = unit(real[:, None] - fake[None], dim=-1).mean(1) - unit(real, dim=-1)
    jacobians = torch.vmap(torch.func.jacrev(lambda x: h(x[None])[0]))(turn.real)
    slopes = torch.einsum("bd,bdi->bi", upward, jacobians)
    torch.testing.assert_close(state.logs["d_penalty-0"], slopes.square().sum(1).mean().detach())


@pytest.mark.parametrize("loss", ["mmd", "mmd-repulsive", "cramer", "sphere"])
@pytest.mark.parametrize("regularizer", ["r1", "r2", "gradient-penalty", ["spectral-norm", "gradient-penalty"]])
def test_embeddings_train_under_penalties(trainer, loss, regularizer):
    stack = regularizer if isinstance(regularizer, list) else [regularizer]
    trained = trainer(loss, regularizer=[stack])
    trained.advance(5)
    assert all(torch.isfinite(t).all() for t in trained.state.logs.values())
    assert trained.state.logs[f"d_penalty-{len(stack) - 1}"] > 0


def test_the_score_of_one_sample_does_not_move_with_the_batch_it_is_compared_with(trainer):
    """A real sample stands on both sides of a score; its gradient is of one side alone."""
    seen = {}

    class Look(Regularizer):
        def d_penalty(self, at):
            seen["of"] = at.score_grad(at.real)
            apart = at.real.detach().clone()
            seen["apart"] = at.score_grad(apart)
            return at.real_scores.mean() * 0

    trained = trainer("mmd")
    game = trained.game(0)
    game = dataclasses.replace(game, regularizers=(Look(),), active=(True,))
    turn = trained.feed.turns(())
    turn = turn.d[0]._replace(noise=({},))
    state = trained.state._replace(regularizers=({"d": {}},))
    game.d_grads(state, turn)
    torch.testing.assert_close(seen["of"], seen["apart"])


# -- what is refused at plan time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "axes", "reason"),
    [
        ("mmd", {"discriminator": "mlp"}, "mmd asks the discriminator for embedding, and mlp returns scores"),
        ("cramer", {"discriminator": "mlp-autoencoder"}, "cramer asks the discriminator for embedding"),
        ("began", {"discriminator": "mlp"}, "began asks the discriminator for energy, and mlp returns scores"),
        ("hinge", {"discriminator": "mlp-autoencoder"}, "hinge asks the discriminator for scores"),
        ("sphere", {"regularizer": "vat"}, "vat"),
        ("ebgan", {"discriminator": "dcgan-autoencoder"}, "images"),
    ],
)
def test_what_cannot_work_is_skipped_with_a_reason(combination, loss, axes, reason):
    assert reason in (combination({"use": loss}, **axes).skip or "")


def test_pulling_away_is_refused_by_a_network_without_a_code():
    class Bare:
        name, has_code = "bare", False

    class Cell:
        discriminator, regularizers = Bare, ()

    assert "bare has none" in (EBGAN(pulling_away=0.1).mismatch(Cell()) or "")
    assert EBGAN().mismatch(Cell()) is None


def test_an_embedding_without_a_score_is_refused_together_with_a_penalty():
    class Silent(Loss):
        output = "embedding"

    class Penalty(Regularizer, name="penalty"):
        def d_penalty(self, at):
            return at.real_scores.mean()

    class Cell:
        regularizers = (Penalty(),)

    assert "penalty needs a score" in (Silent().mismatch(Cell()) or "")
    Cell.regularizers = ()
    assert Silent().mismatch(Cell()) is None
    with pytest.raises(ContractError, match="define score"):
        Silent().score(torch.zeros(2, 2), None, torch.zeros(2, 2))
