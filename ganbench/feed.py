"""What a step is fed: real batches, latents and noise, each from its own named stream."""

from __future__ import annotations

import math
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
    from collections.abc import Callable, Iterator, Sequence

    from ganbench.networks import Network
    from ganbench.regularizer import Regularizer

CHUNK = 16
"""torch draws normal numbers in chunks of 16: several draws of a multiple of it are one draw of their total."""
BLOCK_STEPS, BLOCK_BYTES = 16, 4 * 2**20
"""Limits of what is drawn at once for one seed: enough that calls do not count, and not more than caches hold."""
PLAYERS: tuple[Side, Side] = ("d", "g")


class Shuffled:
    """Batches of a finite set in shuffled epochs; an epoch's remainder opens the next batch."""

    def __init__(self, samples: Samples | Streamed, rng: Generator) -> None:
        self.samples, self.rng = samples, rng
        self.order = torch.empty(0, dtype=torch.int64)

    def batches(self, n: int, size: int) -> Samples:
        """The next ``n`` batches, [n, size, ...]."""
        drawn = self.draw(n * size)
        labels = None if drawn.y is None else drawn.y.view(n, size)
        return Samples(drawn.x.view(n, size, *drawn.x.shape[1:]), labels)

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

    def batches(self, n: int, size: int) -> Samples:
        """``n`` fresh batches, [n, size, ...]."""
        drawn = [self.sampler.sample(size, self.rng) for _ in range(n)]
        labels = [d.y for d in drawn if d.y is not None]
        return Samples(torch.stack([d.x for d in drawn]), torch.stack(labels) if labels else None)


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

    @property
    def longest(self) -> int:
        """How many steps are drawn at once: what fits into ``BLOCK_BYTES``."""
        values = self.batch * (self.latent + math.prod(self.shape)) * (self.d_turns + 1)
        return max(1, min(BLOCK_STEPS, BLOCK_BYTES // (values * self.dtype.itemsize)))

    def turns(self, active: Sequence[bool]) -> Turns:
        """The inputs of the next step, in which the regularizers marked ``active`` take part."""
        return split(self.block(active, 1), 1)[0]

    def block(self, active: Sequence[bool], n: int) -> Turns:
        """The inputs of the next ``n`` steps, in all of which the same regularizers take part: a leading axis [n].

        They are the numbers that ``n`` calls for one step draw.
        """
        drawn = self.real.batches(n * self.d_turns, self.batch)
        x = drawn.x.to(self.device, self.dtype).view(n, self.d_turns, *drawn.x.shape[1:])
        y = None if drawn.y is None else drawn.y.to(self.device).view(n, self.d_turns, self.batch)
        latents = self._latents(n * (self.d_turns + 1)).to(self.device, non_blocking=True)
        latents = latents.view(n, self.d_turns + 1, self.batch, self.latent)
        noise = self._noise(active, n)
        redrawn = self._redrawn(n)
        turns = [
            Turn(x[:, i], None if y is None else y[:, i], latents[:, i], noise[i], redrawn[i])
            for i in range(self.d_turns)
        ]
        last = turns[-1]
        return Turns(tuple(turns), Turn(last.real, last.labels, latents[:, -1], noise[-1], redrawn[-1]))

    def _latents(self, n: int) -> Tensor:
        """Latents of the next ``n`` turns, [n, B, latent]."""
        shape = self.batch, self.latent
        if self.batch * self.latent % CHUNK == 0:
            return torch.randn(n, *shape, generator=self.latents, dtype=self.dtype)
        return torch.stack([torch.randn(shape, generator=self.latents, dtype=self.dtype) for _ in range(n)])

    def _noise(self, active: Sequence[bool], n: int) -> list[tuple[Slots, ...]]:
        """For each turn of a step, the noise of each regularizer with a leading axis [n]."""
        turns: list[list[Slots]] = [[] for _ in range(self.d_turns + 1)]
        size, shape = self.batch, self.shape
        for r, rng, on in zip(self.regularizers, self.noise, active, strict=True):
            drawn: list[list[Slots]] = []
            if on and r.uses("noise"):
                batches = [
                    Batch(player=p, size=size, shape=shape, latent=self.latent, dtype=self.dtype, device=self.device)
                    for p in PLAYERS
                ]
                order = [batches[0]] * self.d_turns + [batches[1]]
                drawn = [[r.noise(batch, rng) for batch in order] for _ in range(n)]
            for i, turn in enumerate(turns):
                turn.append(_joined([step[i] for step in drawn]))
            size, shape = r.packed(size, shape)
        return [tuple(turn) for turn in turns]

    def _redrawn(self, n: int) -> list[Slots]:
        """For each turn of a step, the buffers of D that are drawn anew, with a leading axis [n]."""
        turns = self.d_turns + 1
        if self.discriminator is None or not self.discriminator.random:
            return [{}] * turns
        drawn = [self.discriminator.redraw(self.batch, self.d_noise) for _ in range(n * turns)]
        return [_joined(drawn[i::turns]) for i in range(turns)]

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


def _joined(steps: Sequence[Slots]) -> Slots:
    """The tensors of several steps, with a leading axis."""
    return {name: torch.stack([step[name] for step in steps]) for name in (steps[0] if steps else {})}


def split(block: Turns, n: int) -> list[Turns]:
    """The inputs of each of the ``n`` steps of a block, which lie along the first axis."""

    def each(values: Slots) -> list[Slots]:
        unbound = {name: value.unbind() for name, value in values.items()}
        return [{name: value[k] for name, value in unbound.items()} for k in range(n)]

    def of_one(turn: Turn) -> list[Turn]:
        labels = [None] * n if turn.labels is None else turn.labels.unbind()
        noise = zip(*(each(slots) for slots in turn.noise), strict=True) if turn.noise else [()] * n
        inputs = zip(turn.real.unbind(), labels, turn.latents.unbind(), noise, each(turn.d_noise), strict=True)
        return [Turn(*given) for given in inputs]

    d_turns = zip(*(of_one(turn) for turn in block.d), strict=True)
    return [Turns(d, g) for d, g in zip(d_turns, of_one(block.g), strict=True)]


def runs(first: int, steps: int, kind: Callable[[int], tuple[bool, ...]], longest: int) -> Iterator[tuple[int, int]]:
    """(start, length) of the runs of steps of one kind, none longer than ``longest``, from step ``first`` on."""
    start, end = first, first + steps
    while start < end:
        length = 1
        while length < min(longest, end - start) and kind(start + length) == kind(start):
            length += 1
        yield start, length
        start += length
