"""How the step takes gradients: in parameters, and in the inputs of passes that were made already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from ganbench.state import Params

Aux = TypeVar("Aux")
Gradient = Callable[[bool], Tensor]
"""``gradient(create_graph)``: the input gradient of a forward pass that was made already."""
Scored = Callable[[Tensor], tuple[Tensor, Params]]
"""From samples to D's scores of them and the buffers after the call."""


class Derivatives(Protocol):
    """How gradients are taken: by autograd for one seed, by function transforms where seeds are stacked."""

    def gradients(self, objective: Callable[[Params], tuple[Tensor, Aux]], params: Params) -> tuple[Params, Aux]:
        """The gradient of ``objective(params)[0]``, and what else it returned."""
        ...

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        """The gradient of ``function``, itself differentiable in whatever ``at`` and the function depend on."""
        ...

    def scored(
        self, score: Callable[[Tensor], tuple[Tensor, Params]], x: Tensor
    ) -> tuple[Tensor, Tensor, Params, Gradient]:
        """``x`` as the forward pass took it, its scores, the buffers after, and the input gradient of that pass."""
        ...


class Autograd:
    """Plain autograd, for one seed: the reference."""

    def gradients(self, objective: Callable[[Params], tuple[Tensor, Aux]], params: Params) -> tuple[Params, Aux]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        value, aux = objective(leaves)
        if not value.requires_grad:  # nothing in the objective depends on these parameters
            return {name: torch.zeros_like(p) for name, p in params.items()}, aux
        grads = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        found = zip(params.items(), grads, strict=True)
        # what `materialize_grads` does too, asking more of every tensor
        return {name: torch.zeros_like(p) if g is None else g for (name, p), g in found}, aux

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        # a view is a variable of its own: what else the function makes of `at` is constant to this derivative
        leaves = {name: p.view_as(p) if p.requires_grad else p.detach().requires_grad_() for name, p in at.items()}
        value = function(leaves)
        if not value.requires_grad:
            return {name: torch.zeros_like(p) for name, p in at.items()}
        grads = torch.autograd.grad(value, list(leaves.values()), create_graph=True, materialize_grads=True)
        return dict(zip(at, grads, strict=True))

    def scored(
        self, score: Callable[[Tensor], tuple[Tensor, Params]], x: Tensor
    ) -> tuple[Tensor, Tensor, Params, Gradient]:
        x = x if x.requires_grad else x.detach().requires_grad_()  # with a history where that is to be derived too
        scores, buffers = score(x)
        return x, scores, buffers, lambda create_graph: _gradient(scores, x, create_graph=create_graph)


def _gradient(scores: Tensor, x: Tensor, *, create_graph: bool) -> Tensor:
    if not scores.requires_grad:  # a discriminator that ignores its input
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        scores.sum(), x, create_graph=create_graph, retain_graph=True, materialize_grads=True
    )
    return gradient
