"""Discriminators made Lipschitz by construction, for any network: of weights, or of the scores themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ganbench import Component, InnerScore, Regularizer, field, hookimpl
from ganbench_zoo.regularizers import batch_norm_refusal, matrices, norms, weight_clipping_refusal

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Cell, Params, Slots


class Bjorck(Regularizer, name="bjorck", source="https://arxiv.org/abs/1811.05381"):
    """W <- W (I + (I - W'W) / 2), ``iterations`` times: the nearest orthonormal matrix, differentiably.

    For every parameter of two or more dimensions, seen as a matrix [first dimension, rest]; its rows become
    orthonormal if it is wide, its columns if it is tall, to first order in each step. The iteration converges where
    no singular value exceeds sqrt(3), so ``scaled`` first divides by the root of the largest sum of absolute values
    of a row times that of a column, a bound of the largest one. The authors' networks sort groups of units where
    others have a ReLU (``activation = "groupsort"`` of the mlp). A weight of zero stays zero.
    """

    iterations: int = field(default=5, ge=0, doc="steps; the authors take 5 in training, more the closer it must be")
    scaled: bool = field(default=True, doc="whether weights are made small enough first")

    def reparameterize(self, params: Params, state: Slots) -> Params:
        del state
        return params | {name: self._orthonormal(w).reshape_as(params[name]) for name, w in matrices(params).items()}

    def mismatch(self, cell: Cell) -> str | None:
        return weight_clipping_refusal(self.name, cell)

    def _orthonormal(self, w: Tensor) -> Tensor:
        if self.scaled:
            bound = w.abs().sum(1).amax() * w.abs().sum(0).amax()
            nonzero = bound > 0
            w = w / torch.where(nonzero, bound, 1.0).sqrt()
        for _ in range(self.iterations):
            # the smaller of the two products
            twice = (w @ w.mT) @ w if w.shape[0] <= w.shape[1] else w @ (w.mT @ w)
            w = 1.5 * w - 0.5 * twice
        return w


class GradientNormalization(Regularizer, name="gradient-normalization", source="https://arxiv.org/abs/2109.02235"):
    """D(x) / (||grad_x D(x)|| + |D(x)|) in place of D(x) in every call, both players' turns; within [-1, 1].

    Where D and its gradient are both 0, so is the quotient. Every score costs a gradient, and every step of a player
    a second derivative.
    """

    derives = True

    def score(self, inner: InnerScore, x: Tensor, noise: Slots, state: Slots) -> Tensor:
        del noise, state
        scores, gradient = inner.with_grad(x)
        size = norms(gradient) + scores.abs()
        return scores / torch.where(size > 0, size, 1.0)

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} normalises scores, and {cell.loss.name} asks for {cell.loss.output}"
        if self.every != 1:
            return f"{self.name} makes another discriminator, which has to be the same in every step: every = 1"
        return batch_norm_refusal(self.name, cell) or weight_clipping_refusal(self.name, cell)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [Bjorck, GradientNormalization]
