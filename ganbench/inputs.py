"""What many steps of one or several seeds are fed, drawn by few calls into few pieces of memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench.environment import cores
from ganbench.feed import Drawn, Feed, together
from ganbench.forms import Flat
from ganbench.state import Turns

MOST_THREADS = 8
"""That draw for seeds of a GPU: more would take cores from other processes for little."""


def block(
    feeds: Sequence[Feed], active: Sequence[bool], n: int, *, mapped: bool, room: Tensor | None = None
) -> tuple[Turns, list[Flat]]:
    """The inputs of the next ``n`` steps, in all of which the regularizers marked ``active`` take part.

    They come as the turns of the whole block, and as the tensors of each step in the order of these turns. Each tensor
    of a step has a leading seed axis if ``mapped``; its strides do not depend on ``n``. Latents may lie in ``room``
    (:func:`room_for`), from which those of the block before are gone then.
    """
    if mapped and feeds[0].device.type != "cpu":
        return _sent(feeds, active, n)
    turns = (
        _stacked(feeds, active, n, room_for(feeds) if room is None else room) if mapped else feeds[0].block(active, n)
    )
    leaves = [leaf for leaf in pytree.tree_leaves(turns) if isinstance(leaf, Tensor)]
    return turns, [list(step) for step in zip(*(leaf.unbind(int(mapped)) for leaf in leaves), strict=True)]


def _sent(feeds: Sequence[Feed], active: Sequence[bool], n: int) -> tuple[Turns, list[Flat]]:
    """As :func:`block` for many seeds on a GPU: the steps lie apart, and the seeds of each together."""
    turns = together(_drawn(feeds, active, n), feeds[0].device).turns()
    leaves = [leaf for leaf in pytree.tree_leaves(turns) if isinstance(leaf, Tensor)]
    return turns, [list(step) for step in zip(*(leaf.unbind() for leaf in leaves), strict=True)]


def _drawn(feeds: Sequence[Feed], active: Sequence[bool], n: int) -> list[Drawn]:
    """What all feeds draw, each from its own streams, so that they can draw side by side.

    For small networks the host would otherwise take longer to draw normal numbers than a GPU to use them.
    """

    @torch.no_grad()  # it is a setting of each thread
    def draw(feed: Feed) -> Drawn:
        return feed.drawn(active, n)

    return [draw(feeds[0])] if len(feeds) == 1 else list(_threads().map(draw, feeds))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(MOST_THREADS, cores()), "draws")


def room_for(feeds: Sequence[Feed]) -> Tensor | None:
    """Memory for the latents of the longest block, [seeds, n, turns, B, latent], on a CPU."""
    return feeds[0].room(len(feeds)) if feeds[0].device.type == "cpu" else None


def _stacked(feeds: Sequence[Feed], active: Sequence[bool], n: int, room: Tensor | None) -> Turns:
    """The turns of all feeds: a leading axis [seeds], then [n].

    There is room for the longest block, whatever ``n`` is, for the sake of the strides. On a CPU, latents are drawn
    where they stay.
    """
    lead = feeds[0]
    blocks = [feed.block(active, n, None if room is None else room[i]) for i, feed in enumerate(feeds)]
    made: dict[int, Tensor] = {}

    def join(*leaves: Tensor | None) -> Tensor | None:
        first = leaves[0]
        if first is None:
            return None
        if id(first) not in made:
            made[id(first)] = _in_room(room, first) if room is not None and _lies_in(room, first) else joined(leaves)
        return made[id(first)]

    def joined(leaves: Sequence[Tensor | None]) -> Tensor:
        given = [leaf for leaf in leaves if leaf is not None]
        held = given[0].new_empty(len(given), lead.longest, *given[0].shape[1:])[:, :n]
        return torch.stack(given, out=held)

    turns: Turns = pytree.tree_map(join, *blocks)
    return turns


def _lies_in(room: Tensor, leaf: Tensor) -> bool:
    return leaf.untyped_storage().data_ptr() == room.untyped_storage().data_ptr()


def _in_room(room: Tensor, first: Tensor) -> Tensor:
    """What lies in each seed's part of ``room`` as ``first`` does in the first seed's."""
    shape, strides = (room.shape[0], *first.shape), (room.stride(0), *first.stride())
    return room.as_strided(shape, strides, first.storage_offset())
