"""The same training, written twice: as ganbench's pure step, and as a plain loop with modules and .backward()."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Batch, Turn, Turns, stream
from ganbench.derivatives import Autograd
from ganbench.initial import initial_state
from ganbench.networks import Network
from ganbench.step import Game
from ganbench_zoo import losses, regularizers
from ganbench_zoo.losses import LeastSquares, NonSaturating
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.regularizers import (
    R1,
    R2,
    GradientClipping,
    GradientPenalty,
    InstanceNoise,
    NoRegularizer,
    SpectralNorm,
    ValueClipping,
    WeightClipping,
)
from ganbench_zoo.updates import Alternating
from ganbench_zoo.vat import VAT

STEPS, BATCH, LATENT, DIM, LR = 20, 8, 3, 2, 2e-3
CPU = torch.device("cpu")


class Net(nn.Module):
    """Two layers; the last has no bias, whose gradient is rounding alone where a loss sees differences of scores."""

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
    return Net((LATENT, 6, DIM), "init-g"), Net((DIM, 6, 1), "init-d")


def inputs(steps, dtype=torch.float64):
    """For each step: a real batch, the latents of D's turn and those of G's."""
    rng = stream(0, "data")
    sizes = ((BATCH, DIM), (BATCH, LATENT), (BATCH, LATENT))
    return [tuple(torch.randn(s, generator=rng, dtype=torch.float64).to(dtype) for s in sizes) for _ in range(steps)]


def ganbench_parameters(loss, stack, steps=STEPS, dtype=torch.float64):
    g, d = (Network(module.to(dtype)) for module in networks())
    optimizer = Adam(lr_g=LR, lr_d=LR, beta1=0.5, beta2=0.9)
    rngs = [stream(0, f"regularizer-{i}") for i in range(len(stack))]

    def noise(player):
        batch = Batch(player=player, size=BATCH, shape=(DIM,), latent=LATENT, dtype=dtype, device=CPU)
        return tuple(r.noise(batch, rng) for r, rng in zip(stack, rngs, strict=True))

    state = initial_state(g, d, stack, optimizer)
    for step, (real, z_d, z_g) in enumerate(inputs(steps, dtype)):
        game = Game(
            generator=g,
            discriminator=d,
            loss=loss,
            regularizers=stack,
            active=[step % r.every == 0 for r in stack],
            optimizer=optimizer,
            ema_decay=0.9,
            derivatives=Autograd(),
        )
        turns = Turns((Turn(real, None, z_d, noise("d")),), Turn(real, None, z_g, noise("g")))
        state = game.finish(Alternating().step(game, state, turns))
    return {**{f"g.{n}": p for n, p in state.g.params.items()}, **{f"d.{n}": p for n, p in state.d.params.items()}}


# -- the plain loop --------------------------------------------------------------------------------------------

# Each loss as people write it: with binary cross-entropy on logits where it is one.
ones, zeros = torch.ones(BATCH, dtype=torch.float64), torch.zeros(BATCH, dtype=torch.float64)
bce = F.binary_cross_entropy_with_logits
LOSSES = {
    "minimax": (lambda r, f: bce(r, ones) + bce(f, zeros), lambda f, r: -bce(f, zeros)),
    "non-saturating": (lambda r, f: bce(r, ones) + bce(f, zeros), lambda f, r: bce(f, ones)),
    "least-squares": (
        lambda r, f: 0.5 * F.mse_loss(r, ones) + 0.5 * F.mse_loss(f, zeros),
        lambda f, r: 0.5 * F.mse_loss(f, ones),
    ),
    "wasserstein": (lambda r, f: -(r.mean() - f.mean()), lambda f, r: -f.mean()),
    "hinge": (
        lambda r, f: torch.clamp(1 - r, min=0).mean() + torch.clamp(1 + f, min=0).mean(),
        lambda f, r: -f.mean(),
    ),
    "relativistic-pairing": (lambda r, f: bce(r - f, ones), lambda f, r: bce(f - r, ones)),
}


class Plain:
    """What a regularizer does to the plain loop; each subclass overrides what it needs."""

    def __init__(self):
        self.rng = stream(0, "regularizer-0")

    def wrap(self, d):
        return d

    def draw(self):
        """Called once before each turn."""

    def see(self, x, side):
        return x

    def penalty(self, d, real, fake):
        return 0.0

    def before_move(self, d):
        pass

    def after_move(self, d):
        pass


class PlainR1(Plain):
    def penalty(self, d, real, fake):
        x = real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        return 10.0 * 0.5 * (gradient**2).sum(dim=1).mean()


class PlainR2(PlainR1):
    def penalty(self, d, real, fake):
        return super().penalty(d, fake, real)


class PlainGradientPenalty(Plain):
    def draw(self):
        self.mix = torch.rand(BATCH, 1, generator=self.rng, dtype=torch.float64)

    def penalty(self, d, real, fake):
        x = (self.mix * real + (1 - self.mix) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(d(x), x, torch.ones(BATCH, dtype=torch.float64), create_graph=True)
        return 10.0 * ((gradient.norm(2, dim=1) - 1) ** 2).mean()


class PlainVAT(Plain):
    power = True

    def draw(self):
        self.starts = [torch.randn(BATCH, DIM, generator=self.rng, dtype=torch.float64) for _ in range(2)]

    def penalty(self, d, real, fake):
        terms = [self.divergence(d, x, start) for x, start in zip((real, fake), self.starts, strict=True)]
        return (terms[0] + terms[1]) / 2

    def divergence(self, d, x, start):
        with torch.no_grad():
            p = torch.distributions.Bernoulli(logits=d(x))
        kl = torch.distributions.kl_divergence
        r = F.normalize(start, dim=1)
        if self.power:
            r.requires_grad_()
            value = kl(p, torch.distributions.Bernoulli(logits=d(x + 0.1 * r))).sum()
            (gradient,) = torch.autograd.grad(value, r)
            r = F.normalize(gradient, dim=1)
        else:
            x = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(d(x).sum(), x)
            r = F.normalize(gradient, dim=1) * torch.sign((gradient * r).sum(dim=1, keepdim=True))
            x = x.detach()
        return kl(p, torch.distributions.Bernoulli(logits=d(x + 2.0 * r))).mean()


class PlainExactVAT(PlainVAT):
    power = False


class Normalised(nn.Module):
    """Weight / sigma, with Miyato's power iteration once before each of D's turns."""

    def __init__(self, linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        u = torch.sin(torch.arange(1.0, len(self.weight) + 1, dtype=torch.float64))
        self.u = u / u.norm()
        for _ in range(15):
            self.iterate()

    @torch.no_grad()
    def iterate(self):
        self.v = F.normalize(self.weight.t() @ self.u, dim=0)
        self.u = F.normalize(self.weight @ self.v, dim=0)

    def forward(self, x):
        sigma = torch.dot(self.u, self.weight @ self.v)
        return F.linear(x, self.weight / sigma, self.bias)


class PlainSpectralNorm(Plain):
    def wrap(self, d):
        d.first, d.last = Normalised(d.first), Normalised(d.last)
        self.layers = (d.first, d.last)
        self.turn = 0
        return d

    def draw(self):
        if self.turn % 2 == 0:  # D's turns come first
            for layer in self.layers:
                layer.iterate()
        self.turn += 1


class PlainClipping(Plain):
    def before_move(self, d):
        nn.utils.clip_grad_norm_(d.parameters(), max_norm=0.05)


class PlainValueClipping(Plain):
    def before_move(self, d):
        nn.utils.clip_grad_value_(d.parameters(), 0.01)


class PlainWeightClipping(Plain):
    @torch.no_grad()
    def after_move(self, d):
        for p in d.parameters():
            p.clamp_(-0.3, 0.3)


class PlainNoise(Plain):
    def draw(self):
        self.real, self.fake = (torch.randn(BATCH, DIM, generator=self.rng, dtype=torch.float64) for _ in range(2))

    def see(self, x, side):
        return x + 0.1 * getattr(self, side)


REGULARIZERS = [
    (NoRegularizer(), Plain),
    (R1(), PlainR1),
    (R2(), PlainR2),
    (GradientPenalty(), PlainGradientPenalty),
    (SpectralNorm(), PlainSpectralNorm),
    (GradientClipping(max_norm=0.05), PlainClipping),
    (ValueClipping(bound=0.01), PlainValueClipping),
    (WeightClipping(bound=0.3), PlainWeightClipping),
    (InstanceNoise(), PlainNoise),
    (VAT(), PlainVAT),
    (VAT(mode="exact"), PlainExactVAT),
]


def plain_parameters(loss_name, plain):
    d_loss, g_loss = LOSSES[loss_name]
    g, d = networks()
    order = [n for n, _ in d.named_parameters()]
    d = plain.wrap(d)
    g_optimizer = torch.optim.Adam(g.parameters(), LR, (0.5, 0.9))
    d_optimizer = torch.optim.Adam(d.parameters(), LR, (0.5, 0.9))
    for real, z_d, z_g in inputs(STEPS):
        plain.draw()
        x = plain.see(real, "real")
        fake = plain.see(g(z_d).detach(), "fake")
        loss = d_loss(d(x), d(fake)) + plain.penalty(d, x, fake)
        d_optimizer.zero_grad()
        loss.backward()
        plain.before_move(d)
        d_optimizer.step()
        plain.after_move(d)

        plain.draw()
        loss = g_loss(d(plain.see(g(z_g), "fake")), d(plain.see(real, "real")).detach())
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
    d_params = dict(d.named_parameters())
    return {**{f"g.{n}": p for n, p in g.named_parameters()}, **{f"d.{n}": d_params[n] for n in order}}


def test_every_loss_and_regularizer_is_compared():
    assert set(LOSSES) == {cls.name for cls in losses.ganbench_components()}
    shipped = {cls.name for cls in (*regularizers.ganbench_components(), VAT)}
    assert {regularizer.name for regularizer, _ in REGULARIZERS} == shipped


@pytest.mark.parametrize("loss", [pytest.param(cls(), id=cls.name) for cls in losses.ganbench_components()])
@pytest.mark.parametrize(("regularizer", "plain"), [pytest.param(*c, id=c[0].label) for c in REGULARIZERS])
def test_twenty_steps_are_those_of_the_plain_loop(loss, regularizer, plain):
    ours = ganbench_parameters(loss, (regularizer,))
    theirs = plain_parameters(loss.name, plain())
    assert ours.keys() == theirs.keys()
    for name, p in theirs.items():
        torch.testing.assert_close(ours[name], p.detach(), rtol=0, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("regularizer", [r for r, _ in REGULARIZERS[1:]], ids=lambda r: r.label)
def test_every_regularizer_changes_the_training_it_is_compared_on(regularizer):
    ours, without = ganbench_parameters(NonSaturating(), (regularizer,)), ganbench_parameters(NonSaturating(), ())
    assert max((ours[n] - p).abs().max().item() for n, p in without.items()) > 1e-4


COEFFICIENT_ZERO = [
    R1(gamma=0.0),
    R2(gamma=0.0),
    GradientPenalty(weight=0.0),
    VAT(alpha=0.0),
    VAT(alpha=0.0, mode="exact"),
    InstanceNoise(sigma=0.0),
    GradientClipping(max_norm=float("inf")),
    WeightClipping(bound=float("inf")),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regularizer", COEFFICIENT_ZERO, ids=lambda r: r.label)
def test_a_coefficient_of_zero_leaves_two_hundred_steps_bit_identical(regularizer, dtype):
    with_it = ganbench_parameters(NonSaturating(), (regularizer,), 200, dtype)
    without = ganbench_parameters(NonSaturating(), (), 200, dtype)
    assert all(torch.equal(with_it[name], p) for name, p in without.items())


def test_penalties_of_a_stack_add_and_a_lazy_one_is_scaled():
    both = ganbench_parameters(LeastSquares(), (R1(gamma=2.0), R1(gamma=3.0)))
    one = ganbench_parameters(LeastSquares(), (R1(gamma=5.0),))
    assert all(torch.allclose(both[name], p, rtol=0, atol=1e-12) for name, p in one.items())
    lazy = ganbench_parameters(LeastSquares(), (R1(gamma=2.0, every=4),), steps=1)
    eager = ganbench_parameters(LeastSquares(), (R1(gamma=8.0),), steps=1)
    assert all(torch.allclose(lazy[name], p, rtol=0, atol=1e-15) for name, p in eager.items())
