"""Update rules: the order in which the players see their gradients and move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ganbench import Component, Update, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Game, State, Turns


class Alternating(Update, name="alternating", source="https://arxiv.org/abs/1406.2661"):
    """D moves ``critic_steps`` times, each on fresh samples; then G moves against the D that came out."""

    critic_steps: int = field(default=1, ge=1, doc="discriminator updates for each generator update")

    @property
    def d_turns(self) -> int:
        """``critic_steps``."""
        return self.critic_steps

    def step(self, game: Game, state: State, turns: Turns) -> State:
        for turn in turns.d:
            grads, state = game.d_grads(state, turn)
            state = game.apply_d(state, grads)
        grads, state = game.g_grads(state, turns.g)
        return game.apply_g(state, grads)


class Simultaneous(Update, name="simultaneous", source="https://arxiv.org/abs/1801.04406"):
    """Both players see their gradients at the same parameters, then both move."""

    def step(self, game: Game, state: State, turns: Turns) -> State:
        (turn,) = turns.d
        d, state = game.d_grads(state, turn)
        g, state = game.g_grads(state, turns.g)
        return game.apply_g(game.apply_d(state, d), g)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every update rule of this module."""
    return [Alternating, Simultaneous]
