"""Trees of tensors as the lists of tensors that graphs take and return."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench.errors import ContractError
from ganbench.state import State

Flat = list[Tensor]
Tree = TypeVar("Tree")


class Form(Generic[Tree]):
    """The tensors of trees like ``tree``, in its order; what is not a tensor is as it is there."""

    def __init__(self, tree: Tree) -> None:
        leaves, self.shape = pytree.tree_flatten(tree)
        self.leaves = [leaf.to("meta") if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    @property
    def count(self) -> int:
        """How many tensors there are."""
        return sum(isinstance(leaf, Tensor) for leaf in self.leaves)

    def closed(self, tree: Tree) -> Flat:
        """The tensors of ``tree``."""
        return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]

    def opened(self, tensors: Iterable[Tensor]) -> Tree:
        """The tree of ``tensors``; the inverse of :meth:`closed`."""
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        tree: Tree = pytree.tree_unflatten(filled, self.shape)
        return tree


class Listed(Form[State]):
    """The tensors of a state one by one, without its logs, in the memory layout of the first state's."""

    def __init__(self, state: State) -> None:
        super().__init__(state._replace(logs={}))
        self.names = _paths(state)

    def closed(self, tree: State) -> Flat:
        """The tensors of ``tree`` in the order of the first state: dictionaries may have been rebuilt in another.

        Raises:
            ContractError: a step added or dropped a tensor.
        """
        found = dict(zip(_paths(tree), super().closed(tree._replace(logs={})), strict=True))
        if found.keys() != set(self.names):
            changed = ", ".join(sorted(found.keys() ^ set(self.names)))
            raise ContractError(
                f"a step changed which tensors the state has: {changed}",
                hint="init() must have all that observe() writes",
            )
        return [_laid_out(found[name], like) for name, like in zip(self.names, self.leaves, strict=True)]


class Packed(Listed):
    """The tensors of a state in one piece of memory for each type: a graph is handed few things, and hands few back.

    Those of a multiple of 16 numbers come first, so that they lie where vectors of them are loaded fastest.
    """

    def __init__(self, state: State) -> None:
        super().__init__(state)
        kinds: dict[torch.dtype, list[int]] = {}
        for place, leaf in enumerate(self.leaves):
            kinds.setdefault(leaf.dtype, []).append(place)
        self.groups = [sorted(places, key=lambda i: self.leaves[i].numel() % 16 > 0) for places in kinds.values()]
        # the axes from the outermost in memory to the innermost, and back
        self.outward = [sorted(range(t.dim()), key=t.stride, reverse=True) for t in self.leaves]
        self.inward = [[axes.index(i) for i in range(len(axes))] for axes in self.outward]

    def closed(self, tree: State) -> Flat:
        """One vector for each type of tensor in ``tree``."""
        tensors = super().closed(tree)
        return [torch.cat([tensors[i].permute(self.outward[i]).reshape(-1) for i in g]) for g in self.groups]

    def opened(self, tensors: Iterable[Tensor]) -> State:
        """The state of these vectors, as views of them."""
        found = list(self.leaves)
        for whole, group in zip(tensors, self.groups, strict=True):
            pieces = torch.split(whole, [self.leaves[i].numel() for i in group])
            for i, piece in zip(group, pieces, strict=True):
                sizes = [self.leaves[i].shape[axis] for axis in self.outward[i]]
                found[i] = piece.view(sizes).permute(self.inward[i])
        return super().opened(found)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` with the strides of ``like``: a graph is compiled for those of its inputs, which come out of it."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _paths(state: State) -> list[str]:
    """The path of every tensor of a state, in order."""
    return [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(state._replace(logs={}))[0]]
