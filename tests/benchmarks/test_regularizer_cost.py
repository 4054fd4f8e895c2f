"""What a step with a regularizer costs beside a careful hand-written loop of the same formula, turn by turn.

The loops are those of tests/zoo/test_step_equality.py as one would write them to be fast: each reuses the scores that
the loss has already asked for, and draws no number that it does not need. As there, both must come to the same
parameters. Nothing timed is asserted; the ratio in ``extra_info`` is the median over rounds of ours / theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from loops import BETAS, EMA, EPS, LR, Noise, assert_close
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Regularizer
from ganbench.grid import Cell, Trial
from ganbench.seeding import stream
from ganbench.timing import now
from ganbench.training import Trainer, Training
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.metrics_transport import SlicedWasserstein
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.regularizers import (
    R1,
    R2,
    GradientClipping,
    GradientPenalty,
    InstanceNoise,
    NoRegularizer,
    SpectralNorm,
    WeightClipping,
)
from ganbench_zoo.updates import Alternating
from ganbench_zoo.vat import VAT

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

BATCH, WIDTH, DIM = 128, 128, 2
STEPS, ROUNDS = 4, 120


def ours(regularizer: Regularizer, unused: Path) -> Trainer:
    cell = Cell(
        dataset=Noise(side=DIM),
        generator=MLPGenerator(width=WIDTH),
        discriminator=MLPDiscriminator(width=WIDTH),
        loss=NonSaturating(),
        regularizers=(regularizer,) if regularizer.hook_points() else (),
        optimizer=Adam(lr_g=LR, lr_d=LR, beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
        update=Alternating(),
        metrics=(SlicedWasserstein(),),
        steps=1_000_000,
        batch=BATCH,
        ema=EMA,
        ema_warmup=10.0,
        samples=2,
        precision="float32",
        engine="serial",
    )
    return Trainer(Trial(cell, seed=0), unused, Training(), lambda *_: None)


class ByHand:
    """A loop without a regularizer; each subclass adds one."""

    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        cell, spec = trainer.cell, trainer.spec
        self.g, self.d = cell.generator.build(spec), cell.discriminator.build(spec)
        for module, network in ((self.g, trainer.generator), (self.d, trainer.discriminator)):
            module.load_state_dict({**network.params, **network.buffers})
        self.g_params, self.d_params = list(self.g.parameters()), list(self.d.parameters())
        self.average = [p.detach().clone() for p in self.g_params]
        self.opt_g, self.opt_d = (torch.optim.Adam(ps, LR, BETAS, EPS, **adam) for ps in (self.g_params, self.d_params))
        self.latent = cell.generator.latent
        self.data, self.latents, self.rng = (stream(0, name) for name in ("data", "latent", "regularizer-0"))
        self.step = 0
        self.aligned = True
        """Whether it draws as many numbers as ganbench does, which draws in both turns."""

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def draw(self, player: str) -> None:
        """The random numbers of a turn."""

    def prepare(self) -> None:
        """Before D's turn."""

    def see(self, x: Tensor) -> Tensor:
        return x

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor | None:
        """From samples and their scores."""

    def before_move(self) -> None:
        pass

    def after_move(self) -> None:
        pass

    needs: tuple[str, ...] = ()
    """Which samples the penalty derives by."""

    def _step(self) -> None:
        real = torch.randn(BATCH, DIM, generator=self.data)
        z = torch.randn(BATCH, self.latent, generator=self.latents)
        with torch.no_grad():
            fake = self.g(z)
        self.draw("d")
        self.prepare()
        x, y = self.see(real).requires_grad_("real" in self.needs), self.see(fake).requires_grad_("fake" in self.needs)
        r, f = self.d(x), self.d(y)
        loss = F.softplus(-r).mean() + F.softplus(f).mean()
        penalty = self.penalty(x, y, r, f)
        if penalty is not None:
            loss = loss + penalty
        self.opt_d.zero_grad()
        loss.backward()
        self.before_move()
        self.opt_d.step()
        self.after_move()
        z = torch.randn(BATCH, self.latent, generator=self.latents)
        self._train_d(on=False)
        self.draw("g")
        loss = F.softplus(-self.d(self.see(self.g(z)))).mean()
        self.opt_g.zero_grad()
        loss.backward()
        self.opt_g.step()
        self._train_d(on=True)
        with torch.no_grad():
            weight = 1 - min(EMA, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.average, self.g_params, weight)
        self.step += 1

    def _train_d(self, *, on: bool) -> None:
        for p in self.d_params:
            p.requires_grad_(on)


class HandR1(ByHand):
    needs = ("real",)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(r.sum(), x, create_graph=True)
        return 10.0 / 2 * gradient.square().sum(1).mean()


class HandR2(ByHand):
    needs = ("fake",)

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(f.sum(), fake, create_graph=True)
        return 10.0 / 2 * gradient.square().sum(1).mean()


class HandGradientPenalty(ByHand):
    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            u = torch.rand(BATCH, 1, generator=self.rng)
            self.u = u if player == "d" else self.u

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        at = (self.u * x + (1 - self.u) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(at).sum(), at, create_graph=True)
        return 10.0 * (gradient.norm(2, dim=1) - 1).square().mean()


class HandVAT(ByHand):
    power = True

    def draw(self, player: str) -> None:
        if player == "d" or self.aligned:
            starts = [torch.randn(BATCH, DIM, generator=self.rng) for _ in range(2)]
            self.starts = starts if player == "d" else self.starts

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        return (self.divergence(x, r.detach(), 0) + self.divergence(fake, f.detach(), 1)) / 2

    def divergence(self, x: Tensor, logits: Tensor, i: int) -> Tensor:
        d = F.normalize(self.starts[i], dim=1)
        if self.power:
            probe = (x + 0.1 * d).requires_grad_()
            scores = self.d(probe)
            (gradient,) = torch.autograd.grad(scores.sum(), probe)
            d = F.normalize(gradient * (scores.detach() - logits).sign()[:, None], dim=1)
        else:
            d = F.normalize(self.gradients[i], dim=1) * (self.gradients[i] * d).sum(1, keepdim=True).sign()
        q = self.d(x.detach() + 2.0 * d)
        yes, no = F.softplus(-q) - F.softplus(-logits), F.softplus(q) - F.softplus(logits)
        p = torch.sigmoid(logits)
        return (p * yes + (1 - p) * no).mean()


class HandExactVAT(HandVAT):
    power = False
    needs = ("real", "fake")

    def penalty(self, x: Tensor, fake: Tensor, r: Tensor, f: Tensor) -> Tensor:
        self.gradients = torch.autograd.grad(r.sum() + f.sum(), (x, fake), retain_graph=True)
        return super().penalty(x, fake, r, f)


class Normalised(nn.Module):
    """A linear layer whose weight is divided by its largest singular value."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.u = F.normalize(torch.arange(1.0, len(self.weight) + 1).sin(), dim=0)
        for _ in range(15):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        self.v = F.normalize(self.weight.mT @ self.u, dim=0, eps=1e-12)
        self.u = F.normalize(self.weight @ self.v, dim=0, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / torch.dot(self.u, self.weight @ self.v), self.bias)


class HandSpectralNorm(ByHand):
    def __init__(self, trainer: Trainer, adam: dict[str, Any]) -> None:
        super().__init__(trainer, adam)
        self.normalised = []
        for name, module in list(self.d.named_modules()):
            if isinstance(module, nn.Linear):
                parent, _, last = name.rpartition(".")
                layer = Normalised(module)
                setattr(self.d.get_submodule(parent), last, layer)
                self.normalised.append(layer)

    def prepare(self) -> None:
        for layer in self.normalised:
            layer.iterate()


class HandGradientClipping(ByHand):
    def before_move(self) -> None:
        nn.utils.clip_grad_norm_(self.d_params, 0.05)


class HandWeightClipping(ByHand):
    @torch.no_grad()
    def after_move(self) -> None:
        for p in self.d_params:
            p.clamp_(-0.3, 0.3)


class HandInstanceNoise(ByHand):
    def draw(self, player: str) -> None:
        """G's turn has no real samples; ganbench draws for them all the same."""
        sides = 2 if player == "d" or self.aligned else 1
        self.left = [torch.randn(BATCH, DIM, generator=self.rng) for _ in range(sides)]
        if player == "g":
            self.left = self.left[-1:]

    def see(self, x: Tensor) -> Tensor:
        return x + 0.1 * self.left.pop(0)


CASES: list[tuple[Regularizer, type[ByHand]]] = [
    (NoRegularizer(), ByHand),
    (R1(), HandR1),
    (R2(), HandR2),
    (GradientPenalty(), HandGradientPenalty),
    (SpectralNorm(), HandSpectralNorm),
    (GradientClipping(max_norm=0.05), HandGradientClipping),
    (WeightClipping(bound=0.3), HandWeightClipping),
    (InstanceNoise(), HandInstanceNoise),
    (VAT(), HandVAT),
    (VAT(mode="exact"), HandExactVAT),
]


@pytest.mark.parametrize("adam", [{"foreach": True}, {"fused": True}], ids=["foreach-adam", "fused-adam"])
@pytest.mark.parametrize(("regularizer", "by_hand"), [pytest.param(*c, id=c[0].label) for c in CASES])
def test_a_step_with_a_regularizer_costs_what_a_hand_written_one_does(
    benchmark: BenchmarkFixture,
    regularizer: Regularizer,
    by_hand: type[ByHand],
    adam: dict[str, Any],
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    trainer = ours(regularizer, tmp_path)
    theirs = by_hand(trainer, adam)
    trainer.advance(3)
    theirs.advance(3)
    assert_close(trainer.state.g.params, theirs.g)
    assert_close(trainer.state.d.params, theirs.d)
    theirs.aligned = False

    seconds: list[float] = []

    def hand_written() -> None:
        begun = now()
        theirs.advance(STEPS)
        seconds.append(now() - begun)

    benchmark.pedantic(lambda: trainer.advance(STEPS), setup=hand_written, rounds=ROUNDS, warmup_rounds=5)
    if benchmark.stats is None:  # benchmarks are off
        return
    measured = benchmark.stats.stats.data
    theirs_s = seconds[-len(measured) :]
    ratios = [a / b for a, b in zip(measured, theirs_s, strict=True)]
    benchmark.extra_info |= {
        "ours_ms": round(1e3 * statistics.median(measured) / STEPS, 4),
        "by_hand_ms": round(1e3 * statistics.median(theirs_s) / STEPS, 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(q, 4) for q in statistics.quantiles(ratios, n=4)[::2]],
    }
    times = "{ours_ms:.2f} ms a step, {by_hand_ms:.2f} by hand, ratio {ratio:.3f} (quartiles {ratio_quartiles})".format(
        **benchmark.extra_info
    )
    tell(f"{regularizer.label}, {' '.join(adam)} Adam: {times}")
