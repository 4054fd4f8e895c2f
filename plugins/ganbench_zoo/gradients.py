"""What is done to gradients layer by layer, before the optimizer sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ganbench import Component, Regularizer, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Params, Slots


class AdaptiveGradientClipping(
    Regularizer, name="adaptive-gradient-clipping", source="https://arxiv.org/abs/2102.06171"
):
    """g_i <- g_i min(1, ratio max(||w_i||, eps) / ||g_i||) for each unit i: a row of a weight, a whole vector.

    Norms are Euclidean, over all dimensions of a parameter but the first; a parameter of one dimension is one unit.
    The bound grows with the weights, so that a step changes none of them by more than a share of its size. The
    paper clips no gradient of the last layer; here every parameter is clipped.
    """

    ratio: float = field(default=0.01, gt=0.0, doc="longest gradient of a unit, in lengths of its weights")
    eps: float = field(default=1e-3, gt=0.0, doc="length that stands in for that of weights near 0")

    def transform_grads(self, grads: Params, params: Params, state: Slots) -> Params:
        del state
        return {name: self._clipped(g, params[name]) for name, g in grads.items()}

    def _clipped(self, g: Tensor, w: Tensor) -> Tensor:
        length = unit_norm(g)
        bound = self.ratio * unit_norm(w).clamp(min=self.eps)
        long = length > bound
        return torch.where(long, g * bound / torch.where(long, length, 1.0), g)


class GradientCentralization(Regularizer, name="gradient-centralization", source="https://arxiv.org/abs/2004.01461"):
    """g <- g - mean of g over all dimensions but the first, for every parameter of two or more dimensions."""

    def transform_grads(self, grads: Params, params: Params, state: Slots) -> Params:
        del params, state
        return {
            name: g - g.flatten(1).mean(1).view(-1, *[1] * (g.dim() - 1)) if g.dim() > 1 else g
            for name, g in grads.items()
        }


def unit_norm(x: Tensor) -> Tensor:
    """The norm of each unit of ``x``, in a shape that broadcasts against it."""
    if x.dim() <= 1:
        return x.square().sum().sqrt()
    return x.flatten(1).square().sum(1).sqrt().view(-1, *[1] * (x.dim() - 1))


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The gradient transforms of this module."""
    return [AdaptiveGradientClipping, GradientCentralization]
