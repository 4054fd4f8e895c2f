"""AdamW: Adam whose weight decay does not pass through its moments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ganbench import Component, field, hookimpl
from ganbench_zoo.optimizers import Adam, named

if TYPE_CHECKING:
    from ganbench import Params


class AdamW(Adam, name="adamw", source="https://arxiv.org/abs/1711.05101"):
    """p <- (1 - lr weight_decay) p, then Adam's step from there by the gradients of before.

    For every parameter, biases included, and for both players; the default is that of torch. ``weight-decay`` adds
    the decay to the loss instead, where the second moment divides it away.
    """

    weight_decay: float = field(default=0.01, ge=0.0, doc="share of a parameter that goes in a step of rate 1")

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        shrunk = torch._foreach_mul(list(params.values()), 1 - lr * self.weight_decay)  # noqa: SLF001 # as torch.optim does
        return super().update(named(params, shrunk), grads, slots, lr)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The optimizer of this module."""
    return [AdamW]
