"""Each update rule twice: as ganbench plays it, and as a plain loop over function transforms, in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vjp
from torch.nn.functional import softplus

from ganbench import ConfigError, Turn, Turns, stream
from ganbench.derivatives import Autograd
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.step import Game
from ganbench.testing import check
from ganbench_zoo import updates_first_order, updates_second_order
from ganbench_zoo.losses import Hinge, NonSaturating, RelativisticPairing, Wasserstein
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.optimizers import SGD, Adam
from ganbench_zoo.regularizers import R2, GradientClipping, SpectralNorm, WeightClipping
from ganbench_zoo.updates import Alternating, Simultaneous
from ganbench_zoo.updates_first_order import Extragradient, Lookahead, Optimistic
from ganbench_zoo.updates_second_order import JARE, Consensus, LatentOptimization, Unrolled
from ganbench_zoo.vat import VAT

STEPS, BATCH, LATENT, DIM, LR, GAMMA = 20, 6, 3, 2, 0.1, 0.7


class Net(nn.Module):
    def __init__(self, sizes, name):
        super().__init__()
        rng = stream(0, name)
        self.first = nn.Linear(sizes[0], sizes[1], dtype=torch.float64)
        self.last = nn.Linear(sizes[1], sizes[2], bias=False, dtype=torch.float64)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) / 2)

    def forward(self, x, y=None):
        out = self.last(torch.tanh(self.first(x)))
        return out[:, 0] if out.shape[1] == 1 else out


def networks():
    return Net((LATENT, 5, DIM), "init-g"), Net((DIM, 5, 1), "init-d")


G_NET, D_NET = networks()  # for the plain loop; a `Network` swaps other parameters into its module


def inputs(critic_steps=1):
    """For each step: the (real, latents) of each of D's turns, and the latents of G's."""
    rng = stream(0, "data")

    def draw(columns):
        return torch.randn(BATCH, columns, generator=rng, dtype=torch.float64)

    return [([(draw(DIM), draw(LATENT)) for _ in range(critic_steps)], draw(LATENT)) for _ in range(STEPS)]


class Transforms:
    """Derivatives by function transforms, which compose with vmap."""

    def gradients(self, objective, params):
        return grad(objective, has_aux=True)(params)

    def slope(self, function, at):
        return grad(function)(at)

    def scored(self, score, x):
        scores, pull, buffers = vjp(score, x, has_aux=True)
        return x, scores, buffers, lambda create_graph: pull(torch.ones_like(scores))[0]

    def input_gradient(self, score, x, *, create_graph):
        return grad(lambda x: score(x).sum())(x)


def play(update, *, loss=None, stack=(), optimizer=None, steps=STEPS, derivatives=None, scale=1.0):
    """The state after some steps as ganbench plays them."""
    g, d = map(Network, networks())
    loss, optimizer = loss or NonSaturating(), optimizer or SGD(lr_g=LR, lr_d=LR)
    game = Game(
        generator=g,
        discriminator=d,
        loss=loss,
        regularizers=stack,
        active=[True] * len(stack),
        optimizer=optimizer,
        ema_decay=0.9,
        derivatives=derivatives or Autograd(),
    )
    state = initial_state(g, d, stack, optimizer, loss, update)
    like = torch.ones(BATCH, DIM, dtype=torch.float64)
    noise = tuple({"real": like, "fake": like} for _ in stack)
    for turns, z in inputs(update.d_turns)[:steps]:
        d_turns = tuple(Turn(scale * real, None, latents, noise) for real, latents in turns)
        state = game.finish(update.step(game, state, Turns(d_turns, Turn(scale * turns[-1][0], None, z, noise))))
    return state


# -- the plain loop ----------------------------------------------------------------------------------------------


def generator(theta, z):
    return functional_call(G_NET, theta, (z,))


def discriminator(psi, x):
    return functional_call(D_NET, psi, (x,))


class Plain:
    """The two losses, with R2 if asked for, whose input gradient is written out by hand."""

    def __init__(self, gamma):
        self.gamma = gamma

    def d(self, theta, psi, turn):
        real, z = turn
        fake = generator(theta, z)
        loss = softplus(-discriminator(psi, real)).mean() + softplus(discriminator(psi, fake)).mean()
        hidden = torch.tanh(fake @ psi["first.weight"].T + psi["first.bias"])
        slope = ((1 - hidden**2) * psi["last.weight"]) @ psi["first.weight"]
        return loss + self.gamma / 2 * (slope**2).sum(1).mean()

    def g(self, theta, psi, z):
        return softplus(-discriminator(psi, generator(theta, z))).mean()

    def v(self, theta, psi, turn, z):
        return grad(self.g)(theta, psi, z), grad(self.d, argnums=1)(theta, psi, turn)


def move(params, gradient, rate=LR):
    return {name: p - rate * gradient[name] for name, p in params.items()}


def times(a, x):
    return {name: a * value for name, value in x.items()}


def plus(x, y):
    return {name: value + y[name] for name, value in x.items()}


def norm2(x):
    return sum((value**2).sum() for value in x.values())


def alternating(game, theta, psi, turns, z):
    for turn in turns:
        psi = move(psi, grad(game.d, argnums=1)(theta, psi, turn))
    return move(theta, grad(game.g)(theta, psi, z)), psi


def extragradient(game, theta, psi, memory, turn, z):
    g, d = game.v(theta, psi, turn, z)
    g, d = game.v(move(theta, g), move(psi, d), turn, z)
    return move(theta, g), move(psi, d), memory


def optimistic(game, theta, psi, memory, turn, z):
    g, d = game.v(theta, psi, turn, z)
    past_g, past_d = memory or (times(0, g), times(0, d))
    theta = move(theta, plus(times(2, g), times(-1, past_g)))
    psi = move(psi, plus(times(2, d), times(-1, past_d)))
    return theta, psi, (g, d)


def lookahead(game, theta, psi, memory, turn, z):
    count, slow = memory or (0, (theta, psi))
    theta, psi = alternating(game, theta, psi, [turn], z)
    if (count + 1) % 3 == 0:
        theta, psi = (plus(times(0.6, s), times(0.4, fast)) for s, fast in zip(slow, (theta, psi), strict=True))
        slow = theta, psi
    return theta, psi, (count + 1, slow)


def consensus(game, theta, psi, memory, turn, z):
    def energy(theta, psi):
        g, d = game.v(theta, psi, turn, z)
        return (norm2(g) + norm2(d)) / 2

    g, d = game.v(theta, psi, turn, z)
    more_g, more_d = grad(energy, argnums=(0, 1))(theta, psi)
    return move(theta, plus(g, times(GAMMA, more_g))), move(psi, plus(d, times(GAMMA, more_d))), memory


def jare(game, theta, psi, memory, turn, z):
    g, d = game.v(theta, psi, turn, z)
    more_g = grad(lambda theta: norm2(game.v(theta, psi, turn, z)[1]) / 2)(theta)
    more_d = grad(lambda psi: norm2(game.v(theta, psi, turn, z)[0]) / 2)(psi)
    return move(theta, plus(g, times(GAMMA, more_g))), move(psi, plus(d, times(GAMMA, more_d))), memory


def unrolled(game, theta, psi, memory, turn, z):
    psi = move(psi, grad(game.d, argnums=1)(theta, psi, turn))

    def foreseen(theta):
        ahead = psi
        for _ in range(3):
            ahead = move(ahead, grad(game.d, argnums=1)(theta, ahead, turn), 0.3)
        return game.g(theta, ahead, z)

    return move(theta, grad(foreseen)(theta)), psi, memory


def latent_optimization(game, theta, psi, memory, turn, z):
    def optimized(theta, psi, z):
        g = grad(lambda z: discriminator(psi, generator(theta, z)).sum())(z)
        return z + 0.9 * g / (5 + (g**2).sum(1, keepdim=True))

    real, z_d = turn
    psi = move(psi, grad(lambda psi: game.d(theta, psi, (real, optimized(theta, psi, z_d))))(psi))
    return move(theta, grad(lambda theta: game.g(theta, psi, optimized(theta, psi, z)))(theta)), psi, memory


RULES = [
    (Extragradient(), extragradient),
    (Optimistic(), optimistic),
    (Lookahead(k=3, alpha=0.4), lookahead),
    (Consensus(gamma=GAMMA), consensus),
    (JARE(gamma=GAMMA), jare),
    (Unrolled(k=3, rate=0.3), unrolled),
    (LatentOptimization(), latent_optimization),
]
EACH_RULE = pytest.mark.parametrize("update", [pytest.param(u, id=u.name) for u, _ in RULES])


def test_every_rule_is_compared():
    shipped = [*updates_first_order.ganbench_components(), *updates_second_order.ganbench_components()]
    assert {update.name for update, _ in RULES} == {cls.name for cls in shipped}


def close(params, expected, atol=1e-12):
    assert params.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(params[name], value.detach(), rtol=0, atol=atol)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
@pytest.mark.parametrize(("update", "plain"), [pytest.param(*rule, id=rule[0].name) for rule in RULES])
def test_twenty_steps_are_those_of_the_plain_loop(update, plain, gamma):
    state = play(update, stack=(R2(gamma=gamma),) if gamma else ())
    theta, psi = ({n: p.detach() for n, p in net.named_parameters()} for net in (G_NET, D_NET))
    memory = None
    for turns, z in inputs():
        theta, psi, memory = plain(Plain(gamma), theta, psi, memory, turns[0], z)
    close(state.g.params, theta)
    close(state.d.params, psi)
    without = play(update.inner if hasattr(update, "inner") else Simultaneous())
    assert max((state.d.params[n] - p).abs().max().item() for n, p in without.d.params.items()) > 1e-4


def test_composed_rules_act_in_their_order():
    state = play(Lookahead(k=2, alpha=0.5, inner=Optimistic(inner=Alternating(critic_steps=2))))
    theta, psi = ({n: p.detach() for n, p in net.named_parameters()} for net in (G_NET, D_NET))
    slow, past_g, past_d = (theta, psi), times(0, theta), times(0, psi)
    for step, (turns, z) in enumerate(inputs(2)):
        for turn in turns:
            d = grad(Plain(0.0).d, argnums=1)(theta, psi, turn)
            psi, past_d = move(psi, plus(times(2, d), times(-1, past_d))), d
        g = grad(Plain(0.0).g)(theta, psi, z)
        theta, past_g = move(theta, plus(times(2, g), times(-1, past_g))), g
        if step % 2:
            theta, psi = (times(0.5, plus(a, b)) for a, b in zip(slow, (theta, psi), strict=True))
            slow = theta, psi
    close(state.g.params, theta)
    close(state.d.params, psi)


@pytest.mark.parametrize(
    "update",
    [Consensus(gamma=0.0), JARE(gamma=0.0), Unrolled(k=0), LatentOptimization(alpha=0.0), Lookahead(alpha=1.0)],
)
@pytest.mark.parametrize("optimizer", [SGD(lr_g=LR, lr_d=LR), Adam(lr_g=1e-3, lr_d=1e-3)], ids=lambda o: o.name)
def test_a_rule_with_nothing_to_do_is_the_rule_within(update, optimizer):
    state, within = (play(u, optimizer=optimizer) for u in (update, update.inner))
    close(state.g.params, within.g.params, 1e-14)
    close(state.d.params, within.d.params, 1e-14)


def test_extragradient_moves_the_slots_of_the_optimizer_twice():
    state = play(Extragradient(), optimizer=Adam())
    assert state.g.optimizer["step"]["steps"] == 2 * STEPS
    assert state.step == STEPS


@EACH_RULE
@pytest.mark.parametrize(
    ("loss", "stack"),
    [
        (RelativisticPairing(), (VAT(),)),
        (Wasserstein(), (SpectralNorm(on="both"), GradientClipping(max_norm=0.1))),
        (Hinge(), (R2(gamma=1.0), VAT(mode="exact"))),
    ],
    ids=["relativistic-vat", "wasserstein-spectral-norm", "hinge-r2-vat"],
)
def test_rules_work_with_other_losses_and_stacks(update, loss, stack):
    state = play(update, loss=loss, stack=stack, steps=3)
    for params in (state.g.params, state.d.params):
        assert all(p.isfinite().all() and not p.requires_grad for p in params.values())
    assert set(state.logs) >= {"d_loss", "g_loss", "d_real", "d_fake"}
    for slots in (*state.update.values(), *(s for r in state.regularizers for s in r.values())):
        assert not any(t.requires_grad for t in slots.values())


@EACH_RULE
def test_function_transforms_derive_the_same(update):
    stack = (R2(gamma=0.5), SpectralNorm(on="both"), VAT(), GradientClipping(max_norm=0.3))
    by_graph, by_transform = (play(update, stack=stack, steps=5, derivatives=d()) for d in (Autograd, Transforms))
    close(by_transform.g.params, by_graph.g.params, 1e-14)
    close(by_transform.d.params, by_graph.d.params, 1e-14)


class Descent(SGD, name="descent"):
    """p <- p - lr g, without the fused loops of torch, which vmap does not know."""

    def update(self, params, grads, slots, lr):
        return move(params, grads, lr), slots


@EACH_RULE
def test_a_step_can_be_mapped_over_seeds(update, monkeypatch):
    # the generator's average runs on fused loops too
    monkeypatch.setattr(Game, "finish", lambda self, state: state._replace(step=state.step + 1))

    def played(scale):
        state = play(update, steps=4, optimizer=Descent(lr_g=LR, lr_d=LR), derivatives=Transforms(), scale=scale)
        return state.g.params, state.d.params

    scales = torch.tensor([1.0, 0.5], dtype=torch.float64)
    mapped = torch.vmap(played, randomness="same")(scales)  # initialisers draw, before they are overwritten
    for i, scale in enumerate(scales):
        for together, alone in zip(mapped, played(scale), strict=True):
            close({name: p[i] for name, p in together.items()}, alone, 1e-14)


@EACH_RULE
def test_rules_keep_the_contract(update):
    assert [finding for finding in check(update) if not finding.ok] == []


def test_slots_have_a_place_in_the_state_from_the_start():
    update = Lookahead(inner=Optimistic())
    before, after = play(update, steps=0).update, play(update, steps=1).update
    assert set(before) == {"slow-g", "slow-d", "past-g", "past-d"}
    assert {name: list(slots) for name, slots in before.items()} == {name: list(s) for name, s in after.items()}


# -- refusals ------------------------------------------------------------------------------------------------------


def refusal(update, *, loss=None, regularizers=()):
    cell = SimpleNamespace(
        generator=MLPGenerator(), discriminator=MLPDiscriminator(), loss=loss or Hinge(), regularizers=regularizers
    )
    return update.mismatch(cell)


class Kinked(R2):
    """A penalty on kernels without a second derivative."""

    twice_differentiable = False


class Energies(Hinge):
    output = "energy"


@EACH_RULE
def test_rules_of_second_order_refuse_what_cannot_be_derived(update):
    reason = refusal(update, regularizers=(Kinked(),))
    if isinstance(update, Extragradient | Optimistic | Lookahead):
        assert reason is None
    else:
        assert update.name in reason
        assert "cannot be derived" in reason
    assert refusal(update) is None


def test_a_composed_rule_refuses_for_the_rule_within():
    update = Lookahead(inner=Optimistic(inner=Unrolled()))
    assert "weight-clipping would undo" in refusal(update, regularizers=(WeightClipping(),))


def test_latents_are_optimised_only_for_scores():
    assert "asks for energy" in refusal(LatentOptimization(), loss=Energies())


def test_a_rule_within_itself_is_refused():
    with pytest.raises(ConfigError, match="lookahead is within lookahead"):
        Lookahead(inner=Optimistic(inner=Lookahead()))


def test_periods_and_turns_come_from_within():
    inner = Lookahead(k=4, inner=Alternating(critic_steps=3))
    assert (inner.period, inner.d_turns) == (4, 3)
    assert (Optimistic(inner=inner).period, Consensus(inner=inner).d_turns) == (4, 3)
