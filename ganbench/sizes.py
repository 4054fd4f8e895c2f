"""What one step of one seed is made of: what tells whether seeds are faster in one operation or in turns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from ganbench.training import Trainer

LARGE = 2**17
"""Numbers of a tensor of one seed above which a CPU trains seeds one after the other.

The tensors of several seeds leave the cache then, and what mapping saves, a call for each operation and seed, is little
against the operations.
"""
CONVOLUTIONS = {torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default}
FEW = 8
"""Seeds that smaller tensors may always have: beyond, a CPU trains as many as have ``2 * LARGE`` numbers in one."""


def widest(trainer: Trainer) -> int:
    """How many trials like ``trainer`` one step should have at once; neither the state nor a stream moves on.

    On a CPU that depends on the size of tensors. On a GPU it is as many as there are, but for convolutions: mapped over
    seeds they have groups, for which cuDNN has slower algorithms, and one of one seed can fill a GPU.
    """
    kept = trainer.feed.state()
    game = trainer.game(trainer.step)
    turns = trainer.feed.turns(game.active)
    trainer.feed.restore(kept)
    seen = _Seen()
    with seen:
        game.finish(trainer.cell.update.step(game, trainer.state, turns))
    if trainer.device.type != "cpu":
        return 1 if seen.convolved else sys.maxsize
    return 1 if seen.numbers > LARGE else max(FEW, 2 * LARGE // max(1, seen.numbers))


class _Seen(TorchDispatchMode):
    """Sees all operations and their results, those of gradients included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self.numbers: int = 0
        """Of the largest result."""
        self.convolved = False
        """Whether something was convolved."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # torch's name
        del types
        made = func(*args, **(kwargs or {}))
        self.numbers = max(self.numbers, *(t.numel() for t in pytree.tree_leaves(made) if isinstance(t, Tensor)), 0)
        self.convolved = self.convolved or func in CONVOLUTIONS
        return made
