"""The role optimizer: elementwise rules over dictionaries of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganbench.component import Component, field

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench.state import Params, Side


def is_plain(tensor: Tensor) -> bool:
    """Whether ``tensor`` is one of numbers: neither stacked over seeds, nor without numbers or watched, for tracing.

    In-place kernels of their own, such as ``torch._fused_adam_``, serve plain tensors alone.
    """
    import torch

    watched = torch._C._len_torch_dispatch_stack()  # noqa: SLF001 # nothing public tells
    return type(tensor) is torch.Tensor and not watched and not torch._C._functorch.is_batchedtensor(tensor)  # noqa: SLF001 # as above


class Optimizer(Component, role="optimizer"):
    """A rule that is elementwise in the parameters, written for one seed."""

    lr_g: float = field(default=2e-4, ge=0.0, doc="learning rate of the generator")
    lr_d: float = field(default=2e-4, ge=0.0, doc="learning rate of the discriminator")

    def rate(self, player: Side) -> float:
        """The learning rate of ``player``."""
        return self.lr_g if player == "g" else self.lr_d

    def slowed(self, share: float) -> Optimizer:
        """This optimizer for a player of whose moves others' code would spend but ``share`` on the loss.

        There, lazy penalties are moves of their own. Here they are parts of a step, so that nothing needs to change;
        some optimizers offer the correction that such code makes.
        """
        del share
        return self

    def init(self, params: Params) -> dict[str, Params]:
        """The first slots: dictionaries shaped like ``params``, or single tensors in a dictionary."""
        del params
        return {}

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        """New parameters and new slots; nothing is written in place.

        In a step of several cells, ``lr`` and fields that are a float may be tensors [] of float64.
        """
        raise NotImplementedError
