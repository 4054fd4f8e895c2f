"""The role update: the order in which the players see their gradients and move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ganbench.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ganbench.state import Params, Side, State, Turn, Turns


class Game(Protocol):
    """The two objectives as pure functions of the state; an update rule is written against these alone.

    Gradients come back with the state that the turn left (running statistics, regularizer state, logs): the
    parameters in it are those that were passed in. Objectives can be differentiated, again and again, in the
    parameters of both players in ``state`` and in the latents of ``turn``; what rules make of them goes through
    ``slope`` and ``grads``, never through autograd, so that it serves every engine.
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

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """The discriminator's loss with its penalties [], and the state that the turn left."""
        ...

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """The generator's loss with its penalties [], and the state that the turn left."""
        ...

    def fake_scores(self, state: State, turn: Turn) -> Tensor:
        """D(G(z)) [B] in the discriminator's turn."""
        ...

    def grads(
        self, player: Side, objective: Callable[[State], tuple[Tensor, State]], state: State
    ) -> tuple[Params, State]:
        """The gradients of any objective in the parameters of ``player``, after ``transform_grads``."""
        ...

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        """The gradient of ``function`` at ``at``, as a differentiable function of ``at`` and all else it depends on."""
        ...


class GameVariant:
    """Another game, with what a subclass overrides in place of its own.

    A rule that only changes objectives or moves plays a variant by some other rule's ``step``. What overrides
    an objective derives from :class:`ObjectiveVariant`.
    """

    def __init__(self, game: Game) -> None:
        self.game = game

    def d_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """As in the other game."""
        return self.game.d_grads(state, turn)

    def g_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """As in the other game."""
        return self.game.g_grads(state, turn)

    def apply_d(self, state: State, grads: Params) -> State:
        """As in the other game."""
        return self.game.apply_d(state, grads)

    def apply_g(self, state: State, grads: Params) -> State:
        """As in the other game."""
        return self.game.apply_g(state, grads)

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """As in the other game."""
        return self.game.d_objective(state, turn)

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        """As in the other game."""
        return self.game.g_objective(state, turn)

    def fake_scores(self, state: State, turn: Turn) -> Tensor:
        """As in the other game."""
        return self.game.fake_scores(state, turn)

    def grads(
        self, player: Side, objective: Callable[[State], tuple[Tensor, State]], state: State
    ) -> tuple[Params, State]:
        """As in the other game."""
        return self.game.grads(player, objective, state)

    def slope(self, function: Callable[[Params], Tensor], at: Params) -> Params:
        """As in the other game."""
        return self.game.slope(function, at)


class ObjectiveVariant(GameVariant):
    """A variant whose gradients are those of its own objectives."""

    def d_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """The gradients of ``self.d_objective``."""
        return self.game.grads("d", lambda given: self.d_objective(given, turn), state)

    def g_grads(self, state: State, turn: Turn) -> tuple[Params, State]:
        """The gradients of ``self.g_objective``."""
        return self.game.grads("g", lambda given: self.g_objective(given, turn), state)


class Update(Component, role="update"):
    """One whole training iteration, from the gradients of both players to their moves."""

    @property
    def d_turns(self) -> int:
        """How many discriminator turns one step has."""
        return 1

    @property
    def period(self) -> int:
        """After how many steps the rule repeats."""
        return 1

    def init(self, state: State) -> dict[str, Params]:
        """The first ``state.update``, from a state without one: dictionaries of tensors that steps may replace."""
        del state
        return {}

    def step(self, game: Game, state: State, turns: Turns) -> State:
        """The state after one step; ``turns.d`` has ``d_turns`` entries."""
        raise NotImplementedError
