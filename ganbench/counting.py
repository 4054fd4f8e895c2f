"""How many samples go through a discriminator in a step, forwards and backwards."""

from __future__ import annotations

from torch import Tensor, nn

from ganbench.networks import Network
from ganbench.state import Params


class Counted(Network):
    """A discriminator that counts the samples that go through it, forwards and backwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.forwards = self.backwards = 0

    def __call__(self, params: Params, buffers: Params, *inputs: Tensor | bool | str | None) -> tuple[Tensor, Params]:
        scores, written = super().__call__(params, buffers, *inputs)
        n = scores.shape[0]
        self.forwards += n
        if scores.requires_grad:

            def entered(gradient: Tensor) -> None:
                del gradient
                self.backwards += n

            scores.register_hook(entered)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return scores, written
