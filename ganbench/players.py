"""The two networks of a trial as they are built, and its generator as it is sampled."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from ganbench.cell import Cell
from ganbench.hooked import effective
from ganbench.networks import Discriminator, Generator, Network
from ganbench.samples import SampleSpec
from ganbench.seeding import global_stream, stream
from ganbench.state import Params, State

Which: TypeAlias = Literal["last", "ema"]
"""The last iterate of the generator, or its running average."""
WHICH: tuple[Which, ...] = ("last", "ema")


def build(cell: Cell, seed: int, device: torch.device) -> tuple[Network, Network]:
    """Generator and discriminator of ``cell`` with the initial weights of ``seed``."""
    spec = cell.dataset.spec()
    seen = spec.shape
    for r in cell.regularizers:
        _, seen = r.packed(cell.batch, seen)
    dtype: torch.dtype = getattr(torch, cell.dtype)

    def network(name: str, component: Generator | Discriminator, spec: SampleSpec) -> Network:
        # the weights depend on the seed and the network's own specification, and on nothing else
        about = f"{name}/{component.fingerprint}/{spec.shape}/{spec.classes}"
        with global_stream(seed, about):
            module = component.build(spec)
        module = module.to(device, dtype)
        return Network(module.to(memory_format=torch.channels_last) if cell.channels_last else module)  # type: ignore[call-overload] # torch types it for tensors

    generator = network("init-g", cell.generator, spec)
    return generator, network("init-d", cell.discriminator, dataclasses.replace(spec, shape=seen))


def weights(cell: Cell, generator: Network, state: State, which: Which) -> Params:
    """The generator's weights and buffers as it is sampled with."""
    chosen = state.ema if which == "ema" else state.g.params | state.g.buffers
    params = {name: chosen[name] for name in generator.params}
    return {**chosen, **effective("g", params, cell.regularizers, state.regularizers)}


def latents(cell: Cell, n: int, rng: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """``n`` latents drawn with ``rng``, and labels that go through the classes in turn; None without classes."""
    dtype: torch.dtype = getattr(torch, cell.dtype)
    classes = cell.dataset.spec().classes
    drawn = torch.randn(n, cell.generator.latent, generator=rng, dtype=dtype)
    labels = torch.arange(n) % classes if classes else None
    return drawn.to(device), None if labels is None else labels.to(device)


def evaluated(cell: Cell, seed: int, n: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Latents and labels for evaluation: the same in every cell, for one seed."""
    return latents(cell, n, stream(seed, "eval"), device)
