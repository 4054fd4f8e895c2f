"""What one training step reads and writes: dictionaries of tensors, and nothing else.

Shapes: B is the batch size. Every tuple here is a pytree, so a step over it can be stacked over seeds and compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Params: TypeAlias = dict[str, Tensor]
"""Parameters, gradients or buffers of one network by their dotted names."""
Slots: TypeAlias = dict[str, Tensor]
"""State of a loss, or state or noise of one regularizer, by names of its own choosing."""
Side: TypeAlias = Literal["g", "d"]
SIDES: tuple[Side, ...] = ("g", "d")


class Player(NamedTuple):
    """One network in training: parameters, buffers (running statistics) and the optimizer's slots."""

    params: Params
    buffers: Params
    optimizer: dict[str, Params]


class State(NamedTuple):
    """Everything that a step changes, for one seed.

    ``regularizers[i]["d"]`` is the state of the i-th regularizer for the discriminator, ``loss`` that of the loss.
    ``ema`` holds the generator's averaged parameters and its latest buffers. ``update`` is what the update rule
    remembers. ``step [] int64`` counts finished steps. ``tallies`` are [2], sum and number, of each diagnostic so
    far. ``logs`` are scalars of the last step, and the means of the tallies, left on the device until somebody asks.
    """

    g: Player
    d: Player
    ema: Params
    regularizers: tuple[dict[str, Slots], ...]
    loss: Slots
    update: dict[str, Params]
    step: Tensor
    tallies: dict[str, Tensor]
    logs: dict[str, Tensor]

    def tallied(self, values: Mapping[str, Tensor]) -> State:
        """This state after one more of each of ``values`` [], whose means so far are logged under their names."""
        tallies = dict(self.tallies)
        for name, value in values.items():
            once = torch.stack([value, torch.ones_like(value)])
            tallies[name] = tallies[name] + once if name in tallies else once
        logs = {name: tallies[name][0] / tallies[name][1] for name in values}
        return self._replace(tallies=tallies, logs=self.logs | logs)

    def with_params(self, player: Side, params: Params) -> State:
        """This state with other parameters of ``player``."""
        if player == "g":
            return self._replace(g=self.g._replace(params=params))
        return self._replace(d=self.d._replace(params=params))


class Turn(NamedTuple):
    """The inputs of one player's turn, drawn on the host before the step.

    ``real [B, *shape]``, ``labels [B]`` or None (they condition the fakes too), ``latents [B, latent]``,
    ``noise[i]``, what the i-th regularizer drew from its own stream, and ``d_noise``, the buffers of D that were
    drawn anew.
    """

    real: Tensor
    labels: Tensor | None
    latents: Tensor
    noise: tuple[Slots, ...]
    d_noise: Params = {}  # noqa: RUF012 # nobody writes to it


class Turns(NamedTuple):
    """The inputs of one step: a turn for each discriminator update, one for the generator, and numbers.

    ``numbers`` are those [] of the components' fields that are inputs of the step and no constants, because trials
    that train together differ in them.
    """

    d: tuple[Turn, ...]
    g: Turn
    numbers: Slots = {}  # noqa: RUF012 # nobody writes to it
