"""Update rules that ask for gradients only: they extrapolate, remember or average, and any optimizer moves.

In the formulas w = (theta, psi) are the parameters of both players, v(w) is the pair of their gradients, and
w - lr v stands for a move of whatever optimizer is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from ganbench import Component, GameVariant, Update, field, hookimpl
from ganbench_zoo.updates import Composed, Simultaneous

if TYPE_CHECKING:
    from ganbench import Game, Params, Side, State, Turns


class Extragradient(Update, name="extragradient", source="https://arxiv.org/abs/1802.10551"):
    """w' = w - lr v(w); w <- w - lr v(w'): both players move from w by the gradients of a foreseen place.

    Both gradients are taken on the same samples. The optimizer's slots move with each of the two moves, as in the
    paper's ExtraAdam. A step costs two simultaneous ones.
    """

    def step(self, game: Game, state: State, turns: Turns) -> State:
        (turn,) = turns.d
        foreseen = Simultaneous().step(game, state, turns)
        d, back = game.d_grads(foreseen, turn)
        g, back = game.g_grads(back, turns.g)
        back = back.with_params("d", state.d.params).with_params("g", state.g.params)
        return game.apply_g(game.apply_d(back, d), g)


class Optimistic(Composed, name="optimistic", source="https://arxiv.org/abs/1711.00141"):
    """w <- w - lr (2 v_t - v_{t-1}), from v_{-1} = 0: the next gradient is guessed from the last two.

    Whatever optimizer is chosen gets 2 v_t - v_{t-1}, after clipping, as if it were the gradient. With sgd this is
    the paper's rule; its Optimistic Adam extrapolates the normalised moves instead of the gradients.
    """

    inner: Update = field(default=Simultaneous(), doc="the rule whose gradients are extrapolated")

    def init(self, state: State) -> dict[str, Params]:
        zero = {f"past-{player}": _zeros(params) for player, params in _both(state).items()}
        return self.inner.init(state) | zero

    def step(self, game: Game, state: State, turns: Turns) -> State:
        return self.inner.step(_Extrapolated(game), state, turns)


class _Extrapolated(GameVariant):
    """Moves by 2 v_t - v_{t-1}."""

    def apply_d(self, state: State, grads: Params) -> State:
        guess, state = self._guess("past-d", state, grads)
        return self.game.apply_d(state, guess)

    def apply_g(self, state: State, grads: Params) -> State:
        guess, state = self._guess("past-g", state, grads)
        return self.game.apply_g(state, guess)

    def _guess(self, slot: str, state: State, grads: Params) -> tuple[Params, State]:
        past = state.update[slot]
        guess = {name: 2 * g - past[name] for name, g in grads.items()}
        return guess, state._replace(update=state.update | {slot: grads})


class Lookahead(Composed, name="lookahead", source="https://arxiv.org/abs/2006.14567"):
    """After every k-th step of ``inner``: slow <- slow + alpha (w - slow), w <- slow, for both players together.

    The optimizer's slots are those of the fast weights w and stay as they are.
    """

    k: int = field(default=5, ge=1, doc="steps of the fast weights between two of the slow ones")
    alpha: float = field(default=0.5, gt=0.0, le=1.0, doc="how far the slow weights follow; 1 is no lookahead")

    @property
    def period(self) -> int:
        """The least common multiple of ``k`` and the period of ``inner``."""
        return math.lcm(self.k, self.inner.period)

    def init(self, state: State) -> dict[str, Params]:
        return self.inner.init(state) | {f"slow-{player}": dict(params) for player, params in _both(state).items()}

    def step(self, game: Game, state: State, turns: Turns) -> State:
        state = self.inner.step(game, state, turns)
        due = (state.step + 1) % self.k == 0  # a tensor, so that the step is the same one whether or not it is due
        slow = dict(state.update)
        for player, fast in _both(state).items():
            old = slow[f"slow-{player}"]
            follow = {name: torch.where(due, p + self.alpha * (fast[name] - p), p) for name, p in old.items()}
            slow[f"slow-{player}"] = follow
            state = state.with_params(player, {name: torch.where(due, follow[name], p) for name, p in fast.items()})
        return state._replace(update=slow)


def _both(state: State) -> dict[Side, Params]:
    """The parameters of the two players."""
    return {"g": state.g.params, "d": state.d.params}


def _zeros(params: Params) -> Params:
    return {name: torch.zeros_like(p) for name, p in params.items()}


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every update rule of this module."""
    return [Extragradient, Optimistic, Lookahead]
