"""What a step costs beside a careful hand-written loop that does the same work, in the same process and turn by turn.

Nothing timed is asserted. The loops must end at the same parameters, or they would not have done the same work. The
ratio in ``extra_info`` is the median over rounds of ours / theirs: what slows the machine down slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Dataset, Discriminator, Generator, Regularizer, Sampler, Samples, SampleSpec, field
from ganbench.grid import Cell, Trial
from ganbench.seeding import stream
from ganbench.timing import now
from ganbench.training import Trainer, Training
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.metrics_transport import SlicedWasserstein
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.regularizers import R1
from ganbench_zoo.updates import Alternating

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Networks = tuple[Trainer, float, int, int]
"""Ours, the weight of R1, steps in a round and rounds: short rounds, so that noise meets both loops alike."""
LR, BETAS, EPS, EMA = 2e-4, (0.5, 0.999), 1e-8, 0.999


class Noise(Dataset, name="benchmark-noise"):
    """Gaussian noise of a shape: little time goes into data, and the same on either side."""

    channels: int = field(default=0, ge=0, doc="0 for vectors")
    side: int = field(default=2, ge=1, doc="height and width, or the dimension of vectors")

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(self.channels, self.side, self.side) if self.channels else (self.side,))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        del split, rng
        return _Normal(self.spec().shape)


class _Normal:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        return Samples(torch.randn(n, *self.shape, generator=rng))


def ours(dataset: Dataset, g: Generator, d: Discriminator, r1: float, batch: int, device: str) -> Trainer:
    regularizers: tuple[Regularizer, ...] = (R1(gamma=r1),) if r1 else ()
    cell = Cell(
        dataset=dataset,
        generator=g,
        discriminator=d,
        loss=NonSaturating(),
        regularizers=regularizers,
        optimizer=Adam(lr_g=LR, lr_d=LR, beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
        update=Alternating(),
        metrics=(SlicedWasserstein(),),
        steps=1_000_000,
        batch=batch,
        ema=EMA,
        ema_warmup=10.0,
        samples=2,
        precision="float32",
        engine="serial",
    )
    return Trainer(Trial(cell, seed=0), Path("unused"), Training(device=device), lambda *_: None)


class ByHand:
    """The same GAN as one would write it for a paper: modules, torch.optim, one backward a player, EMA by foreach."""

    def __init__(self, trainer: Trainer, r1: float, adam: dict[str, Any]) -> None:
        cell, spec = trainer.cell, trainer.spec
        self.g, self.d = (part.build(spec).to(trainer.device) for part in (cell.generator, cell.discriminator))
        for module, network in ((self.g, trainer.generator), (self.d, trainer.discriminator)):
            module.load_state_dict({**network.params, **network.buffers})
        self.g_params, self.d_params = list(self.g.parameters()), list(self.d.parameters())
        self.average = [p.detach().clone() for p in self.g_params]
        self.opt_g, self.opt_d = (torch.optim.Adam(ps, LR, BETAS, EPS, **adam) for ps in (self.g_params, self.d_params))
        self.r1, self.batch, self.latent, self.device = r1, cell.batch, cell.generator.latent, trainer.device
        self.data, self.latents = stream(0, "data"), stream(0, "latent")
        self.sampler = cast("Sampler", cell.dataset.load("train", self.data))
        self.step = 0

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def _z(self) -> Tensor:
        return torch.randn(self.batch, self.latent, generator=self.latents).to(self.device, non_blocking=True)

    def _step(self) -> None:
        x = self.sampler.sample(self.batch, self.data).x.to(self.device, non_blocking=True)
        x.requires_grad_(self.r1 > 0)
        with torch.no_grad():
            fake = self.g(self._z())
        real_scores = self.d(x)
        loss = F.softplus(-real_scores).mean() + F.softplus(self.d(fake)).mean()
        if self.r1:
            (gradient,) = torch.autograd.grad(real_scores.sum(), x, create_graph=True)
            loss = loss + self.r1 / 2 * gradient.square().flatten(1).sum(1).mean()
        self.opt_d.zero_grad()
        loss.backward()
        self.opt_d.step()
        # freezing D spares the gradients of its parameters in G's turn
        self._train_d(on=False)
        loss = F.softplus(-self.d(self.g(self._z()))).mean()
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


def mlp(device: str) -> Networks:
    dataset = Noise(side=2)
    return ours(dataset, MLPGenerator(), MLPDiscriminator(), 1.0, 256, device), 1.0, 5, 200


def dcgan(device: str) -> Networks:
    width = 64 if device == "cuda" else 16
    networks = DCGANGenerator(width=width), DCGANDiscriminator(width=width)
    steps, rounds = (5, 100) if device == "cuda" else (1, 60)
    return ours(Noise(channels=3, side=32), *networks, 0.0, 64, device), 0.0, steps, rounds


@pytest.mark.parametrize("adam", [{}, {"fused": True}], ids=["adam", "fused-adam"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("networks", [mlp, dcgan])
def test_a_step_does_the_work_of_a_hand_written_loop(
    benchmark: BenchmarkFixture,
    networks: Callable[[str], Networks],
    device: str,
    adam: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    trainer, r1, steps, rounds = networks(device)
    theirs = ByHand(trainer, r1, adam)
    trainer.advance(3)
    theirs.advance(3)
    assert_close(trainer.state.g.params, theirs.g)
    assert_close(trainer.state.d.params, theirs.d)

    seconds: list[float] = []

    def synchronize() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def hand_written() -> None:
        begun = now()
        theirs.advance(steps)
        synchronize()
        seconds.append(now() - begun)

    def whole_steps() -> None:
        trainer.advance(steps)
        synchronize()

    benchmark.pedantic(whole_steps, setup=hand_written, rounds=rounds, warmup_rounds=5)
    if benchmark.stats is None:  # benchmarks are off
        return
    measured = benchmark.stats.stats.data
    theirs_s = seconds[-len(measured) :]
    ratios = [a / b for a, b in zip(measured, theirs_s, strict=True)]
    benchmark.extra_info |= {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu, 1 thread",
        "steps_a_round": steps,
        "ours_ms": round(1e3 * statistics.median(measured) / steps, 4),
        "by_hand_ms": round(1e3 * statistics.median(theirs_s) / steps, 4),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(q, 4) for q in statistics.quantiles(ratios, n=4)[::2]],
    }
    times = "{ours_ms:.2f} ms a step, {by_hand_ms:.2f} by hand, ratio {ratio:.3f} (quartiles {ratio_quartiles})".format(
        **benchmark.extra_info
    )
    tell(f"{networks.__name__}, {', '.join(adam) or 'default'} Adam, {device}: {times}")


def assert_close(params: dict[str, Tensor], module: nn.Module) -> None:
    for name, p in module.named_parameters():
        # Adam's first moves are of size lr whatever the gradient, so rounding can turn a tiny one around
        torch.testing.assert_close(params[name], p.detach(), rtol=0, atol=LR / 10, msg=lambda m, n=name: f"{n}: {m}")
