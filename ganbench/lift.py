"""Lift a step that is written for one seed to all seeds of a cell at once, by function transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench import foreach
from ganbench.derivatives import Gradient
from ganbench.state import Params, State, Turns

Aux = TypeVar("Aux")
Tree = TypeVar("Tree")
Step: TypeAlias = Callable[[State, Turns], State]
"""A whole training step as a pure function."""


class Transforms:
    """Gradients by function transforms, which compose with ``vmap`` and with the compiler."""

    def gradients(self, objective: Callable[[Params], tuple[Tensor, Aux]], params: Params) -> tuple[Params, Aux]:
        grads, aux = torch.func.grad(objective, has_aux=True)(params)
        return grads, aux

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        gradient: Params = torch.func.grad(function)(at)
        return gradient

    def scored(
        self, score: Callable[[Tensor], tuple[Tensor, Params]], x: Tensor
    ) -> tuple[Tensor, Tensor, Params, Gradient]:
        made: Any = torch.func.vjp(score, x, has_aux=True)  # torch does not type what has_aux adds
        scores, pull = made[0], made[1]
        buffers: Params = made[-1]

        def gradient(create_graph: bool) -> Tensor:  # noqa: FBT001 # a closure with one argument
            pulled: Tensor = pull(torch.ones_like(scores))[0]
            return pulled if create_graph else pulled.detach()

        return x, scores, buffers, gradient


def over_seeds(step: Step) -> Step:
    """``step`` over states and inputs with a leading seed axis; the whole of it is mapped, optimizers included.

    Counts (of steps, and single numbers among an optimizer's slots) are the same in all seeds and have no such axis.
    ``step`` must take its gradients by :class:`Transforms`.
    """
    foreach.batch()

    def mapped(state: State, turns: Turns) -> State:
        paths, spec = pytree.tree_flatten_with_path((state, turns))
        leaves = [leaf for _, leaf in paths]
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        shared = [_is_count(paths[i][0][1:], leaves[i]) for i in places]
        rebuilt: list[Any] = []

        def flat(*tensors: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            out, out_spec = pytree.tree_flatten_with_path(step(*pytree.tree_unflatten(filled, spec)))
            counts = [_is_count(path, leaf) for path, leaf in out]
            rebuilt[:] = [out_spec, counts]
            return (
                [leaf for (_, leaf), count in zip(out, counts, strict=True) if not count],
                [leaf for (_, leaf), count in zip(out, counts, strict=True) if count],
            )

        # a seed's noise and generators are its inputs: whatever else a step draws is an error
        over: Any = torch.vmap(
            flat,
            in_dims=tuple(None if s else 0 for s in shared),
            out_dims=(0, None),  # type: ignore[arg-type] # None means not mapped, as it does in in_dims
            randomness="error",
        )
        single, counted = map(iter, over(*(leaves[i] for i in places)))
        out_spec, counts = rebuilt
        result: State = pytree.tree_unflatten([next(counted if c else single) for c in counts], out_spec)
        return result

    return mapped


def _is_count(path: tuple[Any, ...], leaf: object) -> bool:
    """Whether a leaf of a state is a number that all seeds have in common."""
    names = [getattr(key, "name", None) for key in path]
    return names[:1] == ["step"] or ("optimizer" in names and isinstance(leaf, Tensor) and leaf.dim() == 0)


def stack(states: Sequence[State]) -> State:
    """One state with a leading seed axis, from the states of several seeds that are equally far."""
    stacked: State = pytree.tree_map_with_path(
        lambda path, *leaves: leaves[0] if _is_count(path, leaves[0]) else torch.stack(leaves), *states
    )
    return stacked


def unstack(state: State) -> list[State]:
    """The states of the single seeds; the inverse of :func:`stack`."""
    seeds = next(iter(state.g.params.values())).shape[0]

    def one(i: int) -> State:
        single: State = pytree.tree_map_with_path(
            lambda path, leaf: leaf if _is_count(path, leaf) else leaf[i].clone(), state
        )
        return single

    return [one(i) for i in range(seeds)]
