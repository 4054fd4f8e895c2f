"""What a step is fed: real batches, latents and noise, each from its own named stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ganbench.errors import ConfigError
from ganbench.regularizer import Batch
from ganbench.samples import Sampler, Samples
from ganbench.seeding import stream
from ganbench.state import Side, Slots, Turn, Turns
from ganbench.streaming import Streamed, placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganbench.networks import Network
    from ganbench.regularizer import Regularizer


class Shuffled:
    """Batches of a finite set in shuffled epochs; an epoch's remainder opens the next batch."""

    def __init__(self, samples: Samples | Streamed, rng: Generator) -> None:
        self.samples, self.rng = samples, rng
        self.order = torch.empty(0, dtype=torch.int64)

    def draw(self, n: int) -> Samples:
        """The next ``n`` samples."""
        while len(self.order) < n:
            self.order = torch.cat([self.order, torch.randperm(len(self.samples), generator=self.rng)])
        chosen, self.order = self.order[:n], self.order[n:]
        if not isinstance(self.samples, Streamed):
            return self.samples.take(chosen.to(self.samples.device))
        batch = self.samples.take(chosen)
        self.samples.expect(self.order, n)
        return batch


class Fresh:
    """Batches of an endless sampler."""

    def __init__(self, sampler: Sampler, rng: Generator) -> None:
        self.sampler, self.rng = sampler, rng
        self.order = torch.empty(0, dtype=torch.int64)

    def draw(self, n: int) -> Samples:
        """``n`` fresh samples."""
        return self.sampler.sample(n, self.rng)


class Feed:
    """The inputs of every step of one trial. Two cells with one seed get the same data and latents in the same order.

    The generator's turn reuses the last real batch of the discriminator's turns (it needs one only for paired
    losses and generator penalties), so that the order of the data does not depend on the loss.
    """

    def __init__(
        self,
        source: Samples | Sampler,
        regularizers: Sequence[Regularizer],
        *,
        seed: int,
        batch: int,
        d_turns: int,
        latent: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        discriminator: Network | None = None,
    ) -> None:
        """``discriminator`` may be left out where no part of it is random."""
        self.discriminator, self.d_noise = discriminator, stream(seed, "noise-d")
        self.regularizers, self.batch, self.d_turns, self.latent = regularizers, batch, d_turns, latent
        self.shape, self.dtype, self.device = shape, dtype, device
        self.latents = stream(seed, "latent")
        self.noise = [stream(seed, f"regularizer-{i}") for i in range(len(regularizers))]
        data = stream(seed, "data")
        if isinstance(source, Samples):
            if len(source) < batch:
                raise ConfigError(f"the training set has {len(source)} samples, a batch needs {batch}")
            self.real: Shuffled | Fresh = Shuffled(placed(source, device, dtype), data)
        else:
            self.real = Fresh(source, data)

    def turns(self, active: Sequence[bool]) -> Turns:
        """The inputs of the next step, in which the regularizers marked ``active`` take part."""
        d = tuple(self._turn("d", self._draw(), active) for _ in range(self.d_turns))
        last = d[-1]
        return Turns(d, self._turn("g", Samples(last.real, last.labels), active))

    def _draw(self) -> Samples:
        drawn = self.real.draw(self.batch)
        return Samples(drawn.x.to(self.device, self.dtype), None if drawn.y is None else drawn.y.to(self.device))

    def _turn(self, player: Side, real: Samples, active: Sequence[bool]) -> Turn:
        latents = torch.randn(self.batch, self.latent, generator=self.latents, dtype=self.dtype)
        noise: list[Slots] = []
        size, shape = self.batch, self.shape
        for r, rng, on in zip(self.regularizers, self.noise, active, strict=True):
            shapes = Batch(
                player=player, size=size, shape=shape, latent=self.latent, dtype=self.dtype, device=self.device
            )
            noise.append(r.noise(shapes, rng) if on and r.uses("noise") else {})
            size, shape = r.packed(size, shape)
        d_noise = self.discriminator.redraw(self.batch, self.d_noise) if self.discriminator else {}
        return Turn(real.x, real.y, latents.to(self.device, non_blocking=True), tuple(noise), d_noise)

    def state(self) -> dict[str, Tensor]:
        """Positions of all the streams and of the data, as tensors."""
        streams = {"latent": self.latents, "data": self.real.rng, "noise-d": self.d_noise}
        streams |= {f"regularizer-{i}": rng for i, rng in enumerate(self.noise)}
        return {f"stream.{name}": rng.get_state() for name, rng in streams.items()} | {"order": self.real.order}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state()``."""
        self.latents.set_state(state["stream.latent"])
        self.real.rng.set_state(state["stream.data"])
        self.d_noise.set_state(state["stream.noise-d"])
        for i, rng in enumerate(self.noise):
            rng.set_state(state[f"stream.regularizer-{i}"])
        self.real.order = state["order"]
