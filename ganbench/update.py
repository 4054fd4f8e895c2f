"""The role update: the order in which the players see their gradients and move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ganbench.component import Component

if TYPE_CHECKING:
    from ganbench.state import Params, State, Turn, Turns


class Game(Protocol):
    """The two objectives as pure functions of the state; an update rule is written against these alone.

    Gradients come back with the state that the turn left (running statistics, regularizer state, logs): the
    parameters in it are those that were passed in.
    """

    def d_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """The gradients of the discriminator's loss with its penalties, after ``transform_grads``."""
        ...

    def g_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """The gradients of the generator's loss with its penalties, after ``transform_grads``."""
        ...

    def apply_d(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the discriminator and ``project`` was applied."""
        ...

    def apply_g(self, state: State, grads: Params) -> State:
        """The state after the optimizer moved the generator and ``project`` was applied."""
        ...


class Update(Component, role="update"):
    """One whole training iteration, from the gradients of both players to their moves."""

    @property
    def d_turns(self) -> int:
        """How many discriminator turns one step has."""
        return 1

    def step(self, game: Game, state: State, turns: Turns) -> State:
        """The state after one step; ``turns.d`` has ``d_turns`` entries."""
        raise NotImplementedError
