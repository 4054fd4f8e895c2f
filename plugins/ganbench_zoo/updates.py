"""Update rules: the order in which the players see their gradients and move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ganbench import Component, ConfigError, Update, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell, Game, Params, State, Turns


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


class Composed(Update):
    """A rule that plays another rule, ``inner``, in a changed game, or goes over what it has done."""

    inner: Update = field(default=Alternating(), doc="the rule it changes")

    @property
    def d_turns(self) -> int:
        """Those of ``inner``."""
        return self.inner.d_turns

    @property
    def period(self) -> int:
        """That of ``inner``."""
        return self.inner.period

    def init(self, state: State) -> dict[str, Params]:
        return self.inner.init(state)

    def validate(self) -> None:
        within = self.inner
        while isinstance(within, Composed):
            if isinstance(within, type(self)):
                raise ConfigError(f"{self.name} is within {self.name}", place=".inner")
            within = within.inner

    def mismatch(self, cell: Cell) -> str | None:
        return self.inner.mismatch(cell)

    def advice(self, cell: Cell) -> str | None:
        return self.inner.advice(cell)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every update rule of this module."""
    return [Alternating, Simultaneous]
