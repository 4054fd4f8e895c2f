"""What a step is fed: real batches, latents and noise, each from its own named stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Generator, Tensor

from ganbench.errors import ConfigError
from ganbench.regularizer import Batch
from ganbench.samples import Sampler, Samples
from ganbench.seeding import stream
from ganbench.state import Side, Slots, Turn, Turns
from ganbench.streaming import Streamed, placed
from ganbench.transfer import moved, stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ganbench.networks import Network
    from ganbench.regularizer import Regularizer

CHUNK = 16
"""torch draws normal numbers in chunks of 16: several draws of a multiple of it are one draw of their total."""
BLOCK_STEPS, BLOCK_BYTES = 32, 4 * 2**20
"""Limits of what is drawn at once for one seed: enough that calls do not count, and not more than caches hold."""
GPU_BLOCK_BYTES = 4 * BLOCK_BYTES
"""The same for a GPU, whose caches it passes by: a block is drawn while the device is at the one before."""
AHEAD = 16
"""Batches of endless data that are one draw, if they are no more than ``BLOCK_BYTES``: numbers depend on it."""
PLAYERS: tuple[Side, Side] = ("d", "g")
HOST = torch.device("cpu")


class Shuffled:
    """Batches of a finite set in shuffled epochs; an epoch's remainder opens the next batch."""

    def __init__(self, samples: Samples | Streamed, rng: Generator, size: int) -> None:
        self.samples, self.rng, self.size = samples, rng, size
        self.order = torch.empty(0, dtype=torch.int64)

    def batches(self, n: int) -> Samples:
        """The next ``n`` batches, [n, size, ...]."""
        drawn = self.draw(n * self.size)
        labels = None if drawn.y is None else drawn.y.view(n, self.size)
        return Samples(drawn.x.view(n, self.size, *drawn.x.shape[1:]), labels)

    def draw(self, n: int) -> Samples:
        """The next ``n`` samples."""
        while len(self.order) < n:
            self.order = torch.cat([self.order, torch.randperm(len(self.samples), generator=self.rng)])
        chosen, self.order = self.order[:n], self.order[n:]
        if not isinstance(self.samples, Streamed):
            return self.samples.take(moved(chosen, self.samples.device))
        batch = self.samples.take(chosen)
        self.samples.expect(self.order, n)
        return batch

    def state(self) -> dict[str, Tensor]:
        """The position of the stream, and what is left of the epoch."""
        return {"stream": self.rng.get_state(), "order": self.order}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from ``state()``."""
        self.rng.set_state(state["stream"])
        self.order = state["order"]


class Fresh:
    """Batches of an endless sampler, of which always the same ``ahead`` are drawn by one call.

    They are counted from the first batch, so that neither where training is cut nor how much is asked for at once
    changes a number.
    """

    def __init__(self, sampler: Sampler, rng: Generator, size: int, ahead: int) -> None:
        self.sampler, self.rng, self.size, self.ahead = sampler, rng, size, ahead
        self.taken = 0
        """Batches of the block in hand that are given out."""
        self._block: Samples | None = None
        self._begun = rng.get_state()

    def batches(self, n: int) -> Samples:
        """The next ``n`` batches, [n, size, ...]."""
        parts = []
        while n:
            block = self._drawn()
            end = min(self.taken + n, self.ahead)
            part = slice(self.taken, end)
            parts.append(Samples(block.x[part], None if block.y is None else block.y[part]))
            n, self.taken = n - (end - self.taken), end
            if end == self.ahead:
                self._block, self.taken = None, 0
        if len(parts) == 1:
            return parts[0]
        labels = [part.y for part in parts if part.y is not None]
        return Samples(torch.cat([part.x for part in parts]), torch.cat(labels) if labels else None)

    def _drawn(self) -> Samples:
        """The block in hand, [ahead, size, ...]."""
        if self._block is None:
            self._begun = self.rng.get_state()
            drawn = self.sampler.sample(self.ahead * self.size, self.rng)
            labels = None if drawn.y is None else drawn.y.view(self.ahead, self.size)
            self._block = Samples(drawn.x.view(self.ahead, self.size, *drawn.x.shape[1:]), labels)
        return self._block

    def state(self) -> dict[str, Tensor]:
        """The position of the stream where the block in hand begins, and how many of its batches are given out."""
        begun = self.rng.get_state() if self._block is None else self._begun
        return {"stream": begun, "taken": torch.tensor(self.taken)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from ``state()``."""
        self.rng.set_state(state["stream"])
        self.taken, self._block = int(state["taken"]), None


class Latents:
    """Standard normal latents for batches of ``size``, drawn on the CPU."""

    def __init__(self, rng: Generator, size: int, latent: int, dtype: torch.dtype) -> None:
        self.rng, self.shape, self.dtype = rng, (size, latent), dtype
        self._blocks = None if size * latent % CHUNK == 0 else Fresh(_Normal(latent, dtype), rng, size, CHUNK)

    def batches(self, n: int, into: Tensor | None = None) -> Tensor:
        """The latents of the next ``n`` turns, [n, B, latent]; ``into`` is memory for them."""
        if self._blocks is None:
            return torch.randn(n, *self.shape, generator=self.rng, dtype=self.dtype, out=into)
        drawn = self._blocks.batches(n).x
        return drawn if into is None else into.copy_(drawn)

    def state(self) -> dict[str, Tensor]:
        """The position of the stream."""
        return {"stream": self.rng.get_state()} if self._blocks is None else self._blocks.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from ``state()``."""
        if self._blocks is None:
            self.rng.set_state(state["stream"])
        else:
            self._blocks.restore(state)


@dataclass(frozen=True)
class _Normal:
    """Latents as an endless sampler, for sizes of which several draws are not one draw of their total."""

    latent: int
    dtype: torch.dtype

    def sample(self, n: int, rng: Generator) -> Samples:
        return Samples(torch.randn(n, self.latent, generator=rng, dtype=self.dtype))


class Drawn(NamedTuple):
    """The inputs of ``n`` steps of one seed before they are dealt out to turns.

    Args:
        real: [n, turns of D, B, *shape].
        labels: [n, turns of D, B], or None.
        latents: [n, turns, B, latent], the generator's last.
        noise: for each turn of a step, the noise of each regularizer with a leading axis [n].
        redrawn: for each turn of a step, the buffers of D that were drawn anew, with a leading axis [n].
    """

    real: Tensor
    labels: Tensor | None
    latents: Tensor
    noise: list[tuple[Slots, ...]]
    redrawn: list[Slots]

    def turns(self) -> Turns:
        """The turns, with a leading axis [n]."""
        real, labels, latents, noise, redrawn = self
        turns = [
            Turn(real[:, i], None if labels is None else labels[:, i], latents[:, i], noise[i], redrawn[i])
            for i in range(real.shape[1])
        ]
        last = turns[-1]
        return Turns(tuple(turns), Turn(last.real, last.labels, latents[:, -1], noise[-1], redrawn[-1]))


def together(drawn: Sequence[Drawn], device: torch.device) -> Drawn:
    """What several seeds are fed, on ``device``: a seed axis before that of the batch, each piece in one copy.

    The tensors of a turn of a step are contiguous.
    """

    def slots(dicts: Sequence[Slots]) -> Slots:
        return {name: stacked([d[name] for d in dicts], 1, device) for name in dicts[0]}

    labels = [d.labels for d in drawn if d.labels is not None]
    return Drawn(
        stacked([d.real for d in drawn], 2, device),
        stacked(labels, 2, device) if labels else None,
        stacked([d.latents for d in drawn], 2, device),
        [tuple(map(slots, zip(*turn, strict=True))) for turn in zip(*(d.noise for d in drawn), strict=True)],
        [slots(turn) for turn in zip(*(d.redrawn for d in drawn), strict=True)],
    )


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
        self.latents = Latents(stream(seed, "latent"), batch, latent, dtype)
        self.noise = [stream(seed, f"regularizer-{i}") for i in range(len(regularizers))]
        data = stream(seed, "data")
        if isinstance(source, Samples):
            if len(source) < batch:
                raise ConfigError(f"the training set has {len(source)} samples, a batch needs {batch}")
            self.real: Shuffled | Fresh = Shuffled(placed(source, device, dtype), data, batch)
        else:
            # of the data alone: cells that differ in anything else have the same numbers
            ahead = BLOCK_BYTES // (batch * math.prod(shape) * torch.float32.itemsize)
            self.real = Fresh(source, data, batch, max(1, min(AHEAD, ahead)))

    @property
    def samples(self) -> Samples | None:
        """The training set, as it was placed; None for a distribution."""
        if isinstance(self.real, Fresh):
            return None
        placed_as = self.real.samples
        return placed_as.samples if isinstance(placed_as, Streamed) else placed_as

    @property
    def longest(self) -> int:
        """How many steps are drawn at once: what fits into ``BLOCK_BYTES``, on a GPU ``GPU_BLOCK_BYTES``."""
        values = self.batch * (self.latent + math.prod(self.shape)) * (self.d_turns + 1)
        most = BLOCK_BYTES if self.device.type == "cpu" else GPU_BLOCK_BYTES
        return max(1, min(BLOCK_STEPS, most // (values * self.dtype.itemsize)))

    def turns(self, active: Sequence[bool]) -> Turns:
        """The inputs of the next step, in which the regularizers marked ``active`` take part."""
        return split(self.block(active, 1), 1)[0]

    def room(self, seeds: int) -> Tensor:
        """Memory for the latents of the longest block of so many seeds, [seeds, n, turns, B, latent]."""
        return torch.empty(seeds, self.longest, self.d_turns + 1, self.batch, self.latent, dtype=self.dtype)

    def block(self, active: Sequence[bool], n: int, room: Tensor | None = None) -> Turns:
        """The inputs of the next ``n`` steps, in all of which the same regularizers take part: a leading axis [n].

        They are the numbers that ``n`` calls for one step draw. Latents are drawn into ``room``, one seed's, if given.
        """
        real, labels, latents, noise, redrawn = self.drawn(active, n, room)
        to = self.device
        whole = Drawn(
            moved(real, to),
            None if labels is None else moved(labels, to),
            moved(latents, to),
            [tuple(_moved(slots, to) for slots in turn) for turn in noise],
            [_moved(slots, to) for slots in redrawn],
        )
        return whole.turns()

    def drawn(self, active: Sequence[bool], n: int, room: Tensor | None = None) -> Drawn:
        """As :meth:`block`, on the host, but for real samples that lie on the device."""
        drawn = self.real.batches(n * self.d_turns)
        x = drawn.x.to(self.dtype).view(n, self.d_turns, *drawn.x.shape[1:])
        y = None if drawn.y is None else drawn.y.view(n, self.d_turns, self.batch)
        into = None if room is None else room[:n].flatten(0, 1)
        latents = self.latents.batches(n * (self.d_turns + 1), into)
        latents = latents.view(n, self.d_turns + 1, self.batch, self.latent)
        return Drawn(x, y, latents, self._noise(active, n), self._redrawn(n))

    def _noise(self, active: Sequence[bool], n: int) -> list[tuple[Slots, ...]]:
        """For each turn of a step, the noise of each regularizer with a leading axis [n]."""
        turns: list[list[Slots]] = [[] for _ in range(self.d_turns + 1)]
        size, shape = self.batch, self.shape
        for r, rng, on in zip(self.regularizers, self.noise, active, strict=True):
            drawn: list[list[Slots]] = []
            if on and r.uses("noise"):
                batches = [
                    Batch(player=p, size=size, shape=shape, latent=self.latent, dtype=self.dtype, device=HOST)
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
        found = {"stream.noise-d": self.d_noise.get_state()}
        found |= {f"stream.regularizer-{i}": rng.get_state() for i, rng in enumerate(self.noise)}
        for part, source in (("latent", self.latents), ("data", self.real)):
            found |= {f"{name}.{part}": value for name, value in source.state().items()}
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state()``."""
        self.d_noise.set_state(state["stream.noise-d"])
        for i, rng in enumerate(self.noise):
            rng.set_state(state[f"stream.regularizer-{i}"])
        for part, source in (("latent", self.latents), ("data", self.real)):
            own = f".{part}"
            source.restore({name.removesuffix(own): value for name, value in state.items() if name.endswith(own)})


def _joined(steps: Sequence[Slots]) -> Slots:
    """The tensors of several steps, with a leading axis."""
    return {name: torch.stack([step[name] for step in steps]) for name in (steps[0] if steps else {})}


def _moved(slots: Slots, device: torch.device) -> Slots:
    return {name: moved(value, device) for name, value in slots.items()}


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
