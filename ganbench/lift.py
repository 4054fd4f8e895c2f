"""Stack the seeds of a cell: one game over tensors with a leading seed axis, by function transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench.derivatives import Gradient
from ganbench.state import Params, Player, Side, State, Turn, Turns
from ganbench.step import Game

Aux = TypeVar("Aux")
Tree = TypeVar("Tree")


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


@dataclass(frozen=True)
class Stacked:
    """The game of all seeds of a cell at once: every tensor has a leading seed axis, but the counts of steps.

    Rules of first order (what needs only gradients and moves) play it as they play a game of one seed. ``game``
    must take its gradients by :class:`Transforms`. Optimizers are elementwise, so they see the stacked tensors
    themselves; everything else is written for one seed and mapped over the axis.
    """

    game: Game

    def d_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        return self._mapped(self.game.d_grads, state, turn)

    def g_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        return self._mapped(self.game.g_grads, state, turn)

    def apply_d(self, state: State, grads: Params) -> State:
        return state._replace(d=self._moved("d", state.d, grads, state))

    def apply_g(self, state: State, grads: Params) -> State:
        return state._replace(g=self._moved("g", state.g, grads, state))

    def finish(self, state: State) -> State:
        return self.game.finish(state)

    def _mapped(
        self, turn_of: Callable[[State, Turn], tuple[Params, State]], state: State, turn: Turn
    ) -> tuple[Params, State]:
        bare = _bare(state)

        def single(one: State, its: Turn) -> tuple[Params, State]:
            grads, after = turn_of(one._replace(step=state.step), its)
            return grads, _bare(after)

        grads, after = vmap(single)(bare, turn)
        return grads, after._replace(
            g=after.g._replace(optimizer=state.g.optimizer),
            d=after.d._replace(optimizer=state.d.optimizer),
            step=state.step,
        )

    def _moved(self, player: Side, net: Player, grads: Params, state: State) -> Player:
        mover = self.game.movers[player]
        params, slots = mover.update(net.params, grads, net.optimizer, mover.rate(player))
        if self.game.projects(player):
            params = vmap(lambda one, own: self.game.project(player, one, own))(params, state.regularizers)
        return net._replace(params=params, optimizer=slots)


def _bare(state: State) -> State:
    """A state without what has no seed axis: optimizers' slots and the count of steps."""
    return state._replace(g=state.g._replace(optimizer={}), d=state.d._replace(optimizer={}), step=torch.empty(0))


def vmap(function: Callable[..., Tree]) -> Callable[..., Tree]:
    """``torch.vmap`` over every tensor of the arguments, which may hold None and empty dictionaries."""

    def mapped(*args: Any) -> Tree:
        leaves, spec = pytree.tree_flatten(args)
        places = [
            i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.numel() > 0
        ]
        rebuilt: list[Any] = []

        def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
            filled = list(leaves)
            for place, tensor in zip(places, tensors, strict=True):
                filled[place] = tensor
            out, out_spec = pytree.tree_flatten(function(*pytree.tree_unflatten(filled, spec)))
            rebuilt[:] = [out_spec, out]
            return tuple(leaf for leaf in out if isinstance(leaf, Tensor) and leaf.numel() > 0)

        outputs = iter(torch.vmap(flat)(*(leaves[i] for i in places)))
        out_spec, out = rebuilt
        full = [next(outputs) if isinstance(leaf, Tensor) and leaf.numel() > 0 else leaf for leaf in out]
        result: Tree = pytree.tree_unflatten(full, out_spec)
        return result

    return mapped


def _mapped_over(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.numel() > 0


def stack(states: Sequence[State]) -> State:
    """One state with a leading seed axis, from the states of several seeds that are equally far.

    Counts of optimizers (single tensors in a dictionary of slots) and of steps stay as they are: they are the same
    in all seeds.
    """
    first = states[0]

    def joined(path: tuple[Any, ...], *leaves: Tensor) -> Tensor:
        counts = any(getattr(key, "name", None) == "optimizer" for key in path) and leaves[0].dim() == 0
        return leaves[0] if counts else torch.stack(leaves)

    stacked: State = pytree.tree_map_with_path(joined, *(s._replace(step=torch.empty(0)) for s in states))
    return stacked._replace(step=first.step)


def unstack(state: State) -> list[State]:
    """The states of the single seeds; the inverse of :func:`stack`."""
    seeds = next(iter(state.g.params.values())).shape[0]

    def one(i: int) -> State:
        def taken(path: tuple[Any, ...], leaf: Tensor) -> Tensor:
            counts = any(getattr(key, "name", None) == "optimizer" for key in path) and leaf.dim() == 0
            return leaf if counts else leaf[i].clone()

        single: State = pytree.tree_map_with_path(taken, state._replace(step=torch.empty(seeds, 0)))
        return single._replace(step=state.step)

    return [one(i) for i in range(seeds)]


def stack_turns(turns: Sequence[Turns]) -> Turns:
    """The inputs of one step for several seeds, with a leading seed axis."""
    stacked: Turns = pytree.tree_map(lambda *leaves: None if leaves[0] is None else torch.stack(leaves), *turns)
    return stacked
