"""The role loss: what discriminator and generator minimise, as functions of scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ganbench.component import Component
from ganbench.errors import ContractError

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Component, role="loss"):
    """A pair of functions of scores, both minimised; scores are raw (no sigmoid) and high on real samples.

    Shapes are checked exactly before either is called: [B, 1] against [B] would broadcast to [B, B] without
    a word, so it is a :class:`ContractError`.
    """

    paired: ClassVar[bool] = False
    """True if :meth:`g_loss` needs the scores of real samples, and sample i of one batch meets sample i of the other."""
    output: ClassVar[Literal["scores", "embedding", "energy"]] = "scores"
    """What it asks of the discriminator."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for method in ("d_loss", "g_loss"):
            if method in cls.__dict__:
                setattr(cls, method, _checked(cls.__dict__[method]))

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss [] from ``real [B]`` and ``fake [B]`` scores."""
        raise NotImplementedError

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        """The generator's loss [] from ``fake [B]`` scores, and ``real [B]`` scores if the loss is paired."""
        raise NotImplementedError


def _checked(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(method)
    def call(self: Loss, first: Tensor, second: Tensor | None = None) -> Tensor:
        dim = 2 if self.output == "embedding" else 1
        for tensor in (first, second):
            if tensor is not None and tensor.dim() != dim:
                wanted = "[B, d]" if dim == 2 else "[B]"
                raise ContractError(
                    f"{self.name}.{method.__name__} got scores of shape {list(tensor.shape)}, expected {wanted}",
                    hint="squeeze the last dimension" if tensor.shape[-1:] == (1,) else "",
                )
        if self.paired:
            if second is None:
                raise ContractError(f"{self.name} is paired: its generator loss needs the scores of real samples")
            if first.shape != second.shape:
                raise ContractError(
                    f"{self.name} pairs samples by index: {list(first.shape)} and {list(second.shape)} do not match"
                )
        return method(self, first, second)

    return call
