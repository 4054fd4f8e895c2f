"""How trials advance: one by one and plainly, all seeds of a cell in one traced step, either of them compiled."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import sys
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from ganbench import compiled, family
from ganbench.component import digest
from ganbench.devices import beside
from ganbench.errors import ContractError
from ganbench.feed import runs
from ganbench.forms import Flat, Form, Listed, Packed
from ganbench.graph import Graph
from ganbench.inputs import block, room_for
from ganbench.lift import Step, Transforms, over_seeds, stack, unstack
from ganbench.memory import lacked
from ganbench.sizes import widest
from ganbench.state import Slots, State, Turns
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


def engine_of(trainers: Sequence[Trainer], numbers: Sequence[str] = ()) -> Engine:
    """The engine that the cell of ``trainers`` names; one that maps nothing trains one trial.

    Args:
        trainers: of one family.
        numbers: names of those of its numbers that are inputs of the step; cells may differ in no others.
    """
    kind, _, compiled = trainers[0].cell.engine.partition("+")
    if kind == "serial" and not compiled:
        (trainer,) = trainers
        return Alone(trainer)
    mapped, width = kind == "fused", len(trainers)
    if mapped:
        width = min(width, widest(trainers[0]))
        mapped = width > 1
    left, pieces = iter(trainers), -(-len(trainers) // width)
    groups = [list(itertools.islice(left, n)) for n in family.dealt(len(trainers), pieces)]
    engines = [
        Together(group, mapped=mapped, compiled=bool(compiled), numbers=numbers, place=place)
        for place, group in enumerate(groups)
    ]
    return engines[0] if len(engines) == 1 else Apart(engines)


def by_python(trainers: Sequence[Trainer], numbers: Sequence[str] = ()) -> Engine:
    """As :func:`engine_of`, where nothing is traced or compiled: soon tells whether a step can be mapped."""
    if trainers[0].cell.engine == "serial":
        return engine_of(trainers)
    return Together(trainers, mapped=True, compiled=False, numbers=numbers, traced=False)


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


class Apart:
    """Trials in groups that take turns in one traced step: for tensors that would leave a core's cache together.

    On a GPU, each group has a stream of its own, so that one fills what another leaves idle.
    """

    def __init__(self, engines: Sequence[Together]) -> None:
        self.engines = {trainer: engine for engine in engines for trainer in engine.trainers}
        self.trainers = list(self.engines)

    def advance(self, steps: int) -> None:
        engines, lead = list(dict.fromkeys(self.engines.values())), self.trainers[0]
        # a block of each in turn, since a GPU's queue does not take any number of steps
        most = steps if lead.device.type == "cpu" else lead.feed.longest
        with beside([engine.place for engine in engines], lead.device) as streams:
            for start in range(0, steps, most):
                for engine, stream in zip(engines, streams, strict=True):
                    with stream:
                        engine.advance(min(most, steps - start))

    def logs(self, trainer: Trainer) -> dict[str, Tensor]:
        return self.engines[trainer].logs(trainer)

    def settle(self) -> None:
        for engine in dict.fromkeys(self.engines.values()):
            engine.settle()

    def drop(self, trainer: Trainer) -> None:
        self.engines.pop(trainer).drop(trainer)
        self.trainers.remove(trainer)


class Together:
    """Trials in one step, compiled into one graph for each kind of step if asked.

    Args:
        mapped: whether the step has a leading seed axis; without it there is one trial.
        compiled: whether it is compiled; it need not be mapped then.
        numbers: names of fields that are inputs of the step, with a value for each trial.
        traced: whether it is traced; Python runs it otherwise, unless it is compiled.
        place: its own among those that a GPU runs side by side.
    """

    def __init__(
        self,
        trainers: Sequence[Trainer],
        *,
        mapped: bool,
        compiled: bool,
        numbers: Sequence[str] = (),
        traced: bool = True,
        place: int = 0,
    ) -> None:
        self.trainers, self.place = list(trainers), place
        self.mapped, self.compiled, self.traced = mapped, compiled, traced
        self.varying = tuple(numbers)
        self._begin()

    def _begin(self) -> None:
        """Stack the trainers' states; what was compiled for another number of them is of no use."""
        states = [t.state._replace(logs={}) for t in self.trainers]
        whole = stack(states) if self.mapped else states[0]
        on_gpu = self.trainers[0].device.type == "cuda"  # where each tensor costs a launch to move
        self.form = Packed(whole) if self.compiled or on_gpu else Listed(whole)
        self.state = self.form.closed(whole)
        self.last: dict[str, Tensor] = {}
        self.feeds = [t.feed for t in self.trainers]
        # what a packed state is made of is copied, so that nothing of it lies where the next block is drawn
        self.room = room_for(self.feeds) if self.mapped and self.compiled else None
        numbers = stack_numbers(self.trainers, self.varying)
        self.numbers = numbers if self.mapped else {name: value[0] for name, value in numbers.items()}
        self.kinds: Kinds = _shared(self._key())

    def _key(self) -> str:
        """What the kinds of step depend on: all that the trials have in common, and how many of them there are."""
        lead = self.trainers[0]
        common = family.masked(lead.cell, self.varying)
        how = {"mapped": self.mapped, "compiled": self.compiled, "traced": self.traced, "on": str(lead.device)}
        return digest({"cell": common, "numbers": self.varying, "trials": len(self.trainers)} | how)

    @torch.no_grad()  # transforms take the gradients; nothing is recorded between steps
    def advance(self, steps: int) -> None:
        lead = self.trainers[0]
        for start, length in runs(lead.step, steps, lead.active, lead.feed.longest):
            active = lead.active(start)
            turns, inputs = block(self.feeds, active, length, mapped=self.mapped, room=self.room)
            if self.numbers:
                turns, own = turns._replace(numbers=self.numbers), list(self.numbers.values())
                inputs = [[*step, *own] for step in inputs]
            self.state, logs = self._kind(start, turns).advance(self.state, inputs, self.place)
            self.last = self.last | logs  # what a lazy regularizer logged last, too
        for trainer in self.trainers:
            trainer.step += steps

    def _kind(self, number: int, turns: Turns) -> _Kind:
        lead = self.trainers[0]
        active = lead.active(number)
        if active not in self.kinds:
            game = dataclasses.replace(lead.game(number), derivatives=Transforms())
            update = lead.cell.update

            def step(state: State, turns: Turns) -> State:
                played = game.given(turns.numbers)
                return played.finish(update.step(played, state, turns))

            whole = over_seeds(step) if self.mapped else step
            self.kinds[active] = (_Compiled if self.compiled else _Traced if self.traced else _Kind)(
                whole, self, Form(turns)
            )
        return self.kinds[active]

    def logs(self, trainer: Trainer) -> dict[str, Tensor]:
        if not self.mapped:
            return self.last
        place = self.trainers.index(trainer)
        return {name: value[place] for name, value in self.last.items()}

    def settle(self) -> None:
        whole = self.form.opened([t.clone() for t in self.state])._replace(logs=self.last)
        for trainer, state in zip(self.trainers, unstack(whole) if self.mapped else [whole], strict=True):
            trainer.state = state

    def drop(self, trainer: Trainer) -> None:
        self.settle()
        self.trainers.remove(trainer)
        if self.trainers:
            self._begin()


Kinds: TypeAlias = "dict[tuple[bool, ...], _Kind]"
"""The step for each set of regularizers that are active together."""


def stack_numbers(trainers: Sequence[Trainer], names: Sequence[str]) -> Slots:
    """The values [trials] of the numbers ``names`` of each trainer's cell.

    Those of losses and regularizers have the type of the weights, as all that they meet in a step; those of optimizers
    are float64, since 1 - 0.999 in float32 is wrong in the fifth digit.
    """
    lead = trainers[0]
    values = [family.numbers(t.cell) for t in trainers]
    types = {n: torch.float64 if n.startswith("optimizer.") else lead.dtype for n in names}
    return {n: torch.tensor([v[n] for v in values], dtype=types[n], device=lead.device) for n in names}


@functools.lru_cache(maxsize=1)
def _shared(key: str) -> Kinds:
    """The kinds of step that trials one after the other have in common in this process: compiled once for all."""
    del key
    return {}


def forget() -> None:
    """Compile anew, or take from the compiler's cache, what this process has compiled."""
    _shared.cache_clear()


class _Kind:
    """One kind of step, as Python runs it."""

    def __init__(self, step: Step, engine: Together, turns: Form[Turns]) -> None:
        self.step, self.state, self.turns = step, engine.form, turns

    def advance(self, state: Flat, steps: Sequence[Flat], place: int) -> tuple[Flat, dict[str, Tensor]]:
        """The tensors of the state after steps with these inputs, and what the last of them logged."""
        del place
        logs: dict[str, Tensor] = {}
        for inputs in steps:
            after = self.step(self.state.opened(state), self.turns.opened(inputs))
            state, logs = self.state.closed(after), after.logs
        return state, logs


class _Traced(_Kind):
    """One kind of step, traced once and repeated; as Python runs it where it cannot be traced."""

    def __init__(self, step: Step, engine: Together, turns: Form[Turns]) -> None:
        super().__init__(step, engine, turns)
        self.graph: Graph | None = Graph(step, engine.form, turns, compiled=False)
        self.fresh, self.needed = True, bool(engine.varying) and not engine.mapped

    def advance(self, state: Flat, steps: Sequence[Flat], place: int) -> tuple[Flat, dict[str, Tensor]]:
        if self.fresh:
            self._try(state, steps[:1], place)
        return super().advance(state, steps, place) if self.graph is None else self.graph.advance(state, steps, place)

    def _try(self, state: Flat, steps: Sequence[Flat], place: int) -> None:
        """Trace the step, and give the graph up if that cannot be done."""
        assert self.graph is not None
        self.fresh = False
        try:
            self.graph.advance(state, steps, place)
        except ContractError:
            raise
        except Exception as error:  # a plugin may do anything with a tensor; an error of its own comes again
            # Python would find numbers in what is needed, and no reason to complain; and it takes more memory
            if self.needed or lacked(error):
                raise
            self.graph = None
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            sys.stderr.write(f"the step cannot be traced, so that Python runs it, slower: {why}\n")


class _Compiled(_Kind):
    """One kind of step, as one graph."""

    def __init__(self, step: Step, engine: Together, turns: Form[Turns]) -> None:
        super().__init__(step, engine, turns)
        self.graph = Graph(step, engine.form, turns)
        self.lead, self.trials, self.numbers = engine.trainers[0], len(engine.trainers), engine.varying
        self.fresh = True

    def advance(self, state: Flat, steps: Sequence[Flat], place: int) -> tuple[Flat, dict[str, Tensor]]:
        if self.fresh:
            begun = now()
            self.graph.advance(state, steps[:1], place)
            self._compiled_in(now() - begun)
        return self.graph.advance(state, steps, place)

    def _compiled_in(self, seconds: float) -> None:
        self.fresh = False
        cell, device = self.lead.cell, str(self.lead.device)
        if compiled.took(cell, self.trials, device, self.numbers) is None:
            compiled.note(cell, self.trials, device, seconds, self.numbers)
