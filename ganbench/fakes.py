"""The generator as one turn calls it."""

from __future__ import annotations

from torch import Tensor

from ganbench.networks import Network
from ganbench.state import Params


class Fakes:
    """The generator under one set of parameters; labels default to those of the turn.

    The pass of the objective goes through :meth:`main`, which alone writes running statistics.
    """

    def __init__(
        self, network: Network, params: Params, buffers: Params, labels: Tensor | None, *, lowered: bool = False
    ) -> None:
        """With ``lowered``, the pass of the objective is in bfloat16."""
        self.network, self.params, self.buffers, self.labels, self.lowered = network, params, buffers, labels, lowered

    def main(self, z: Tensor) -> tuple[Tensor, Params]:
        """The samples of latents ``z``, and the buffers after them."""
        network = self.network.lowered if self.lowered else self.network
        return network(self.params, self.buffers, z, self.labels)

    def __call__(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.network(self.params, self.buffers, z, self.labels if labels is None else labels)[0]

    def part(self, name: str, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.network(self.params, self.buffers, x, self.labels if labels is None else labels, name)[0]
