"""How trials advance: one by one and plainly, all seeds of a cell in one traced step, either of them compiled."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench import compiled
from ganbench.errors import ContractError
from ganbench.feed import runs, split
from ganbench.graph import Flat, Graph, ordered, paths
from ganbench.lift import Step, Transforms, over_seeds, stack, stack_turns, unstack
from ganbench.state import State, Turns
from ganbench.timing import now
from ganbench.training import Trainer


class Engine(Protocol):
    """How the trials of a cohort advance together."""

    trainers: list[Trainer]

    def advance(self, steps: int) -> None:
        """Train ``steps`` steps of every trial."""

    def logs(self, trainer: Trainer) -> dict[str, Tensor]:
        """What the last step of ``trainer`` logged."""

    def settle(self) -> None:
        """Give every trainer its own state, for evaluations and checkpoints."""

    def drop(self, trainer: Trainer) -> None:
        """Go on without one that cannot."""


def engine_of(trainers: Sequence[Trainer]) -> Engine:
    """The engine that the cell of ``trainers`` names; one that maps nothing trains one trial."""
    kind, _, compiled = trainers[0].cell.engine.partition("+")
    if kind == "serial" and not compiled:
        (trainer,) = trainers
        return Alone(trainer)
    return Together(trainers, mapped=kind == "fused", compiled=bool(compiled))


class Alone:
    """The serial engine: one seed, plain autograd; the reference."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainers = [trainer]

    def advance(self, steps: int) -> None:
        for trainer in self.trainers:
            trainer.advance(steps)

    def logs(self, trainer: Trainer) -> dict[str, Tensor]:
        return trainer.state.logs

    def settle(self) -> None: ...

    def drop(self, trainer: Trainer) -> None:
        self.trainers.remove(trainer)


class Together:
    """Trials in one step, compiled into one graph for each kind of step if asked.

    Args:
        mapped: whether the step has a leading seed axis; without it there is one trial.
        compiled: whether it is compiled; it need not be mapped then.
    """

    def __init__(self, trainers: Sequence[Trainer], *, mapped: bool, compiled: bool) -> None:
        self.trainers = list(trainers)
        self.mapped, self.compiled = mapped, compiled
        self._begin()

    def _begin(self) -> None:
        """Stack the trainers' states; what was compiled for another number of them is of no use."""
        states = [t.state._replace(logs={}) for t in self.trainers]
        self.template = stack(states) if self.mapped else states[0]
        self.names = paths(self.template)
        self.shape = pytree.tree_structure(self.template)
        self.state: Flat = pytree.tree_leaves(self.template)
        self.last: dict[str, Tensor] = {}
        self.kinds: Kinds = {} if self.mapped else _shared(self.trainers[0].cell.id)

    @torch.no_grad()  # transforms take the gradients; nothing is recorded between steps
    def advance(self, steps: int) -> None:
        lead = self.trainers[0]
        for start, length in runs(lead.step, steps, lead.active, lead.feed.longest):
            blocks = [t.feed.block(lead.active(start), length) for t in self.trainers]
            kind = self._kind(start)
            for turns in split(stack_turns(blocks, 1) if self.mapped else blocks[0], length):
                self.state, logs = kind.run(self.state, turns)
                self.last = self.last | logs  # what a lazy regularizer logged last, too
        for trainer in self.trainers:
            trainer.step += steps

    def _kind(self, number: int) -> _Kind:
        lead = self.trainers[0]
        active = lead.active(number)
        if active not in self.kinds:
            game = dataclasses.replace(lead.game(number), derivatives=Transforms())
            update = lead.cell.update

            def step(state: State, turns: Turns) -> State:
                return game.finish(update.step(game, state, turns))

            whole = over_seeds(step) if self.mapped else step
            self.kinds[active] = _Compiled(whole, self) if self.compiled else _Traced(whole, self)
        return self.kinds[active]

    def logs(self, trainer: Trainer) -> dict[str, Tensor]:
        if not self.mapped:
            return self.last
        place = self.trainers.index(trainer)
        return {name: value[place] for name, value in self.last.items()}

    def settle(self) -> None:
        whole: State = pytree.tree_unflatten([t.clone() for t in self.state], self.shape)
        whole = whole._replace(logs=self.last)
        for trainer, state in zip(self.trainers, unstack(whole) if self.mapped else [whole], strict=True):
            trainer.state = state

    def drop(self, trainer: Trainer) -> None:
        self.settle()
        self.trainers.remove(trainer)
        if self.trainers:
            self._begin()


Kinds: TypeAlias = "dict[tuple[bool, ...], _Kind]"
"""The step for each set of regularizers that are active together."""


@functools.lru_cache(maxsize=1)
def _shared(cell: str) -> Kinds:
    """The kinds of step of a cell whose seeds train one after the other in this process: compiled once for all."""
    del cell
    return {}


def forget() -> None:
    """Compile anew, or take from the compiler's cache, what this process has compiled for single seeds."""
    _shared.cache_clear()


class _Kind:
    """One kind of step, as Python runs it."""

    def __init__(self, step: Step, engine: Together) -> None:
        self.step, self.names, self.shape = step, engine.names, engine.shape

    def run(self, state: Flat, turns: Turns) -> tuple[Flat, dict[str, Tensor]]:
        after = self.step(pytree.tree_unflatten(state, self.shape), turns)
        return ordered(after, self.names), after.logs


class _Traced(_Kind):
    """One kind of step, traced once and repeated; as Python runs it where it cannot be traced."""

    def __init__(self, step: Step, engine: Together) -> None:
        super().__init__(step, engine)
        self.graph: Graph | None = Graph(step, engine.template, compiled=False)
        self.fresh = True

    def run(self, state: Flat, turns: Turns) -> tuple[Flat, dict[str, Tensor]]:
        if self.fresh:
            return self._first(state, turns)
        return super().run(state, turns) if self.graph is None else self._repeat(self.graph, state, turns)

    def _first(self, state: Flat, turns: Turns) -> tuple[Flat, dict[str, Tensor]]:
        self.fresh = False
        try:
            if self.graph is not None:
                return self._repeat(self.graph, state, turns)
        except ContractError:
            raise
        except Exception as error:  # noqa: BLE001 # a plugin may do anything with a tensor; an error of its own comes again
            self.graph = None
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            sys.stderr.write(f"the step cannot be traced, so that Python runs it, slower: {why}\n")
        return super().run(state, turns)

    def _repeat(self, graph: Graph, state: Flat, turns: Turns) -> tuple[Flat, dict[str, Tensor]]:
        out, n = graph.run(state, turns), len(self.names)
        return out[:n], dict(zip(graph.logs, out[n:], strict=True))


class _Compiled(_Kind):
    """One kind of step, as one graph."""

    def __init__(self, step: Step, engine: Together) -> None:
        super().__init__(step, engine)
        self.graph = Graph(step, engine.template)
        self.lead, self.seeds, self.fresh = engine.trainers[0], len(engine.trainers), True

    def run(self, state: Flat, turns: Turns) -> tuple[Flat, dict[str, Tensor]]:
        begun = now()
        out = self.graph.run(state, turns)
        if self.fresh:
            self.fresh = False
            cell, device = self.lead.cell, str(self.lead.device)
            if compiled.took(cell, self.seeds, device) is None:
                compiled.note(cell, self.seeds, device, now() - begun)
        n = len(self.names)
        return out[:n], dict(zip(self.graph.logs, out[n:], strict=True))
