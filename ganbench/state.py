"""What one training step reads and writes: dictionaries of tensors, and nothing else.

Shapes: B is the batch size. Every tuple here is a pytree, so a step over it can be stacked over seeds and compiled.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

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
    remembers. ``step [] int64`` counts finished steps. ``logs`` are scalars of the last step, left on the device
    until somebody asks.
    """

    g: Player
    d: Player
    ema: Params
    regularizers: tuple[dict[str, Slots], ...]
    loss: Slots
    update: dict[str, Params]
    step: Tensor
    logs: dict[str, Tensor]

    def with_params(self, player: Side, params: Params) -> State:
        """This state with other parameters of ``player``."""
        if player == "g":
            return self._replace(g=self.g._replace(params=params))
        return self._replace(d=self.d._replace(params=params))


class Turn(NamedTuple):
    """The inputs of one player's turn, drawn on the host before the step.

    ``real [B, *shape]``, ``labels [B]`` or None (they condition the fakes too), ``latents [B, latent]``, and
    ``noise[i]``, what the i-th regularizer drew from its own stream.
    """

    real: Tensor
    labels: Tensor | None
    latents: Tensor
    noise: tuple[Slots, ...]


class Turns(NamedTuple):
    """The inputs of one step: a turn for each discriminator update, and one for the generator."""

    d: tuple[Turn, ...]
    g: Turn
