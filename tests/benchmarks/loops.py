"""The GAN of a benchmark, twice: as a cell of ours, and as the careful loop that one would write by hand for it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it
from torch.nn.utils.parametrizations import spectral_norm

from ganbench import Dataset, Discriminator, Generator, Regularizer, Sampler, Samples, SampleSpec, field
from ganbench.cell import Cell, Trial
from ganbench.samples import Levels
from ganbench.seeding import stream_seed
from ganbench.training import Trainer, Training
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.metrics_transport import SlicedWasserstein
from ganbench_zoo.optimizers import Adam
from ganbench_zoo.regularizers import R1, GradientPenalty, SpectralNorm
from ganbench_zoo.updates import Alternating

LR, BETAS, EPS, EMA = 2e-4, (0.5, 0.999), 1e-8, 0.999
STACKS: dict[str, tuple[Regularizer, ...]] = {
    "none": (),
    "r1": (R1(gamma=1.0),),
    "spectral-norm": (SpectralNorm(),),
    "gradient-penalty": (GradientPenalty(),),
}


class Noise(Dataset, name="benchmark-noise"):
    """Gaussian noise of a shape, drawn for ever, or a set of images of random bytes; the same on either side."""

    channels: int = field(default=0, ge=0, doc="0 for vectors")
    side: int = field(default=2, ge=1, doc="height and width, or the dimension of vectors")
    size: int = field(default=0, ge=0, doc="images in the set; 0 for endless noise")

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(self.channels, self.side, self.side) if self.channels else (self.side,))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Samples | Sampler:
        del split, rng
        shape = self.spec().shape
        return _images(self.size, *shape) if self.size else _Normal(shape)


@functools.lru_cache(maxsize=1)
def _images(*shape: int) -> Levels:
    """Drawn once for all seeds."""
    return Levels(torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))


class _Normal:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        return Samples(torch.randn(n, *self.shape, generator=rng, device=rng.device))


class _Modes:
    """A mixture of Gaussians, drawn where ``rng`` is."""

    def __init__(self, centres: Tensor, std: float) -> None:
        self.centres, self.std = centres, std

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        x = self.centres[torch.randint(len(self.centres), (n,), generator=rng, device=rng.device)]
        return Samples(x + self.std * torch.randn(x.shape, generator=rng, device=rng.device))


class _Resident:
    """Random samples of a set that lies where ``rng`` is."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        return self.samples.take(torch.randint(len(self.samples), (n,), generator=rng, device=rng.device))


def source(dataset: Dataset, rng: torch.Generator) -> Sampler:
    """The data as a loop by hand draws it: on the device of ``rng``, without the host's having to wait for it."""
    loaded = dataset.load("train", rng)
    if isinstance(loaded, Levels):
        return _Resident(loaded.to(rng.device))
    if isinstance(loaded, Samples):
        return _Resident(Samples(loaded.x.to(rng.device)))
    modes = dataset.spec().modes
    if rng.device.type != "cpu" and modes is not None:
        return _Modes(torch.tensor(modes.centres, device=rng.device), modes.std)
    return loaded


def cell(
    dataset: Dataset, g: Generator, d: Discriminator, stack: str, batch: int, engine: str = "serial", **more: Any
) -> Cell:
    """A cell that is trained for ever."""
    return Cell(
        dataset=dataset,
        generator=g,
        discriminator=d,
        loss=NonSaturating(),
        regularizers=STACKS[stack],
        optimizer=Adam(lr_g=LR, lr_d=LR, beta1=BETAS[0], beta2=BETAS[1], eps=EPS),
        update=Alternating(),
        metrics=(SlicedWasserstein(),),
        steps=1_000_000,
        batch=batch,
        ema=EMA,
        ema_warmup=10.0,
        samples=2,
        precision="float32",
        engine=engine,
        **more,
    )


def trainer(of: Cell, device: str, seed: int = 0) -> Trainer:
    """One seed of a cell, with initial weights."""
    return Trainer(Trial(of, seed=seed), Path("unused"), Training(device=device), lambda *_: None)


class Written:
    """What loops by hand have in common: networks and draws of ``like``, optimizers, G's move, an average."""

    def __init__(self, like: Trainer, adam: dict[str, Any]) -> None:
        cell, spec = like.cell, like.spec
        self.g, self.d = (part.build(spec).to(like.device) for part in (cell.generator, cell.discriminator))
        for module, network in ((self.g, like.generator), (self.d, like.discriminator)):
            module.load_state_dict({**network.params, **network.buffers})
        self.dress()
        self.g_params, self.d_params = list(self.g.parameters()), list(self.d.parameters())
        self.average = [p.detach().clone() for p in self.g_params]
        self.opt_g, self.opt_d = (torch.optim.Adam(ps, LR, BETAS, EPS, **adam) for ps in (self.g_params, self.d_params))
        self.latent, self.device = cell.generator.latent, like.device
        self.data, self.latents, self.noise = (self._stream(name) for name in ("data", "latent", "regularizer-0"))
        self.step = 0

    def _stream(self, name: str) -> torch.Generator:
        """The named stream, where the loop's tensors are: on a CPU, its numbers are ours."""
        return torch.Generator(self.device).manual_seed(stream_seed(0, name))

    def dress(self) -> None:
        """Change the networks before the optimizers see their parameters."""

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        raise NotImplementedError

    def _move_g(self, loss: Tensor) -> None:
        """The end of a step: G moves, D is trained again, and the average follows."""
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


class ByHand(Written):
    """The same GAN as one would write it for a paper: modules, torch.optim, one backward a player, EMA by foreach.

    It starts from the weights of ``like`` and draws from the same streams. Spectral normalization is torch's own, which
    iterates in every forward pass in training; everything else does the same arithmetic as ours. Latents, noise and
    data are drawn on the device, and nothing in a step makes the host wait for it: no number is asked for, gradients
    are set to None, and Adam's count of steps lies on the device if it is fused.
    """

    def __init__(self, like: Trainer, stack: str, adam: dict[str, Any]) -> None:
        self.stack, self.penalty = stack, STACKS[stack]
        super().__init__(like, adam)
        self.batch = like.cell.batch
        self.sampler = source(like.cell.dataset, self.data)

    def dress(self) -> None:
        if self.stack == "spectral-norm":
            for module in list(self.d.modules()):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    spectral_norm(module)

    def _z(self) -> Tensor:
        return torch.randn(self.batch, self.latent, generator=self.latents, device=self.device)

    def _slope(self, scores: Tensor, x: Tensor) -> Tensor:
        """Squared norms [B] of the input gradients of ``scores``."""
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        return gradient.square().flatten(1).sum(1)

    def _step(self) -> None:
        x = self.sampler.sample(self.batch, self.data).x
        x.requires_grad_(self.stack == "r1")
        with torch.no_grad():
            fake = self.g(self._z())
        real_scores = self.d(x)
        loss = F.softplus(-real_scores).mean() + F.softplus(self.d(fake)).mean()
        if self.stack == "r1":
            loss = loss + 1.0 / 2 * self._slope(real_scores, x).mean()
        elif self.stack == "gradient-penalty":
            u = torch.rand(self.batch, *[1] * (x.dim() - 1), generator=self.noise, device=self.device)
            between = (u * x + (1 - u) * fake).requires_grad_(True)
            loss = loss + 10.0 * (self._slope(self.d(between), between).sqrt() - 1.0).square().mean()
        self.opt_d.zero_grad()
        loss.backward()
        self.opt_d.step()
        # freezing D spares the gradients of its parameters in G's turn
        self._train_d(on=False)
        loss = F.softplus(-self.d(self.g(self._z()))).mean()
        self._move_g(loss)


def assert_close(params: dict[str, Tensor], module: nn.Module) -> None:
    """Whether a network of ours is at the parameters of the loop's, but for rounding."""
    for name, p in module.named_parameters():
        # Adam's first moves are of size lr whatever the gradient, so rounding can turn a tiny one around
        torch.testing.assert_close(params[name], p.detach(), rtol=0, atol=LR / 10, msg=lambda m, n=name: f"{n}: {m}")
