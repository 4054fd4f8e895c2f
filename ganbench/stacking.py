"""What becomes of trials whose step fails with numbers of their components as inputs: found out by trying."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench import family
from ganbench.engines import Together
from ganbench.memory import lacked
from ganbench.training import Trainer


def apart(trainers: Sequence[Trainer], numbers: Sequence[str]) -> list[tuple[list[Trainer], tuple[str, ...]]]:
    """``trainers`` in stacks that may do better, each with the numbers that are inputs of its step.

    A number without which the step runs, and with which it does not, becomes a constant: trials that differ in it
    part. So do trials whose states or inputs have other tensors. Where neither is the reason, each cell is on its own,
    without inputs, and fails for itself if it must.
    """
    kinds = _by(trainers, _layout)
    wrong = {n for n in numbers if not _runs(trainers[0], [n])} if _runs(trainers[0], []) else set()
    if len(kinds) == 1 and not wrong:
        return [(members, ()) for members in _by(trainers, lambda t: t.cell.id)]
    left = tuple(n for n in numbers if n not in wrong)
    return [
        (members, left)
        for alike in kinds
        for members in _by(alike, lambda t: tuple(v for n, v in family.numbers(t.cell).items() if n in wrong))
    ]


def _by(trainers: Sequence[Trainer], key: Callable[[Trainer], Hashable]) -> list[list[Trainer]]:
    groups: dict[Hashable, list[Trainer]] = {}
    for trainer in trainers:
        groups.setdefault(key(trainer), []).append(trainer)
    return list(groups.values())


def _layout(trainer: Trainer) -> Hashable:
    """The names, shapes and types of all tensors that a step has as inputs."""
    kept = trainer.feed.state()
    turns = trainer.feed.turns(trainer.active(trainer.step))
    trainer.feed.restore(kept)
    leaves = pytree.tree_flatten_with_path((trainer.state._replace(logs={}), turns))[0]
    return tuple((pytree.keystr(path), t.shape, t.dtype) for path, t in leaves if isinstance(t, Tensor))


def _runs(trainer: Trainer, numbers: Sequence[str]) -> bool:
    """Whether a mapped step of ``trainer`` alone runs with these numbers as inputs; it is forgotten."""
    kept, step = trainer.feed.state(), trainer.step
    try:
        Together([trainer], mapped=True, compiled=False, numbers=numbers, traced=False).advance(1)
    except Exception as error:  # a plugin may do anything with a tensor
        if lacked(error):  # which says nothing of numbers
            raise
        return False
    finally:
        trainer.feed.restore(kept)
        trainer.step = step
    return True
