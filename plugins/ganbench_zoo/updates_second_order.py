"""Update rules that derive gradients: in each, the players descend other objectives than their own.

In the formulas theta and psi are the parameters of G and D, L_G and L_D their losses with all penalties, and
v = (grad_theta L_G, grad_psi L_D). Derivatives are exact. Where a term of an objective of D needs the gradient of
G's, it is that on the samples of G's turn, and the other way round on D's last turn. A regularizer's state (singular
vectors, running means) is a constant to every derivative, as in a plain step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ganbench import Component, ObjectiveVariant, Update, field, hookimpl
from ganbench_zoo.updates import Composed, Simultaneous

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Cell, Game, Params, State, Turn, Turns


class SecondOrder(Composed):
    """A rule that needs second derivatives, which it asks of every part of both objectives."""

    def mismatch(self, cell: Cell) -> str | None:
        for part in (cell.generator, cell.discriminator, cell.loss, *cell.regularizers):
            if not part.twice_differentiable:
                return f"{self.name} derives gradients, and those of {part.role} {part.name} cannot be derived"
        return super().mismatch(cell)

    def advice(self, cell: Cell) -> str | None:
        costly = [r.name for r in cell.regularizers if r.derives]
        if costly:
            return (
                f"{self.name} derives {costly[0]}, which has derivatives of its own: of third order, exact and costly"
            )
        return super().advice(cell)


class Consensus(SecondOrder, name="consensus", source="https://arxiv.org/abs/1705.10461"):
    """Both players descend their loss + (gamma / 2) |v|^2, whose gradient draws the game to where v = 0.

    Each derives |v|^2 in its own parameters; the norm is over the gradients of both.
    """

    inner: Update = field(default=Simultaneous(), doc="the rule by which the players move")
    gamma: float = field(default=10.0, ge=0.0, doc="coefficient; the term has half of it")

    def step(self, game: Game, state: State, turns: Turns) -> State:
        return self.inner.step(_Consensus(game, self.gamma, turns), state, turns)


class _Consensus(ObjectiveVariant):
    def __init__(self, game: Game, gamma: float, turns: Turns) -> None:
        super().__init__(game)
        self.gamma, self.turns = gamma, turns

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        value, after = self.game.d_objective(state, turn)
        return value + self.gamma / 2 * self._energy(state, turn, self.turns.g), after

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        value, after = self.game.g_objective(state, turn)
        return value + self.gamma / 2 * self._energy(state, self.turns.d[-1], turn), after

    def _energy(self, state: State, d: Turn, g: Turn) -> Tensor:
        return squared(d_slope(self.game, state, d)) + squared(g_slope(self.game, state, g))


class JARE(SecondOrder, name="jare", source="https://arxiv.org/abs/1806.09235"):
    """D: L_D + (gamma / 2) |grad_theta L_G|^2; G: L_G + (gamma / 2) |grad_psi L_D|^2.

    Of the two halves of consensus, each player has the one that its opponent's gradient is.
    """

    inner: Update = field(default=Simultaneous(), doc="the rule by which the players move")
    gamma: float = field(default=10.0, ge=0.0, doc="coefficient; the term has half of it")

    def step(self, game: Game, state: State, turns: Turns) -> State:
        return self.inner.step(_JARE(game, self.gamma, turns), state, turns)


class _JARE(ObjectiveVariant):
    def __init__(self, game: Game, gamma: float, turns: Turns) -> None:
        super().__init__(game)
        self.gamma, self.turns = gamma, turns

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        value, after = self.game.d_objective(state, turn)
        return value + self.gamma / 2 * squared(g_slope(self.game, state, self.turns.g)), after

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        value, after = self.game.g_objective(state, turn)
        return value + self.gamma / 2 * squared(d_slope(self.game, state, self.turns.d[-1])), after


class Unrolled(SecondOrder, name="unrolled", source="https://arxiv.org/abs/1611.02163"):
    """G descends L_G(theta, psi_k(theta)), with psi_{j+1} = psi_j - rate grad_psi L_D(theta, psi_j), psi_0 = psi.

    G's gradient passes through all k foreseen moves of D; D itself descends L_D as ever. The foreseen moves are
    those of plain gradient descent on the samples of D's last turn, whatever the optimizer.
    """

    k: int = field(default=5, ge=0, doc="moves of D that G foresees")
    rate: float = field(default=0.01, ge=0.0, doc="learning rate of the foreseen moves")

    def step(self, game: Game, state: State, turns: Turns) -> State:
        return self.inner.step(_Unrolled(game, self.k, self.rate, turns.d[-1]), state, turns)

    def mismatch(self, cell: Cell) -> str | None:
        for r in cell.regularizers:
            if r.uses("project") and r.acts_on("d"):
                return f"{self.name} foresees moves of the discriminator, and {r.name} would undo part of them"
        return super().mismatch(cell)


class _Unrolled(ObjectiveVariant):
    def __init__(self, game: Game, k: int, rate: float, turn: Turn) -> None:
        super().__init__(game)
        self.k, self.rate, self.turn = k, rate, turn

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        for _ in range(self.k):
            slope = d_slope(self.game, state, self.turn)
            state = state.with_params("d", {name: p - self.rate * slope[name] for name, p in state.d.params.items()})
        return self.game.g_objective(state, turn)


class LatentOptimization(SecondOrder, name="latent-optimization", source="https://arxiv.org/abs/1912.00953"):
    """Both players see G(z + alpha g / (beta + |g|^2)), g = grad_z D(G(z)) of each sample, and derive through g.

    LOGAN's natural gradient step. The paper's clipping of z and its penalty on the length of the step, made for
    its uniform latents, are not part of it. Evaluation samples G(z) without the step, as the paper does.
    """

    alpha: float = field(default=0.9, ge=0.0, doc="size of the step in z")
    beta: float = field(default=5.0, gt=0.0, doc="damping: |g|^2 up to which the step grows with g")

    def step(self, game: Game, state: State, turns: Turns) -> State:
        return self.inner.step(_Latents(game, self.alpha, self.beta), state, turns)

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} climbs the discriminator's score, and {cell.loss.name} asks for {cell.loss.output}"
        return super().mismatch(cell)


class _Latents(ObjectiveVariant):
    def __init__(self, game: Game, alpha: float, beta: float) -> None:
        super().__init__(game)
        self.alpha, self.beta = alpha, beta

    def d_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        return self.game.d_objective(state, self._optimized(state, turn))

    def g_objective(self, state: State, turn: Turn) -> tuple[Tensor, State]:
        return self.game.g_objective(state, self._optimized(state, turn))

    def _optimized(self, state: State, turn: Turn) -> Turn:
        def score(at: Params) -> Tensor:
            return self.game.fake_scores(state, turn._replace(latents=at["z"])).sum()

        g = self.slope(score, {"z": turn.latents})["z"]
        return turn._replace(latents=turn.latents + self.alpha * g / (self.beta + g.square().sum(1, keepdim=True)))


def d_slope(game: Game, state: State, turn: Turn) -> Params:
    """grad_psi L_D, differentiable in theta and psi."""
    return game.slope(lambda params: game.d_objective(state.with_params("d", params), turn)[0], state.d.params)


def g_slope(game: Game, state: State, turn: Turn) -> Params:
    """grad_theta L_G, differentiable in theta and psi."""
    return game.slope(lambda params: game.g_objective(state.with_params("g", params), turn)[0], state.g.params)


def squared(gradient: Params) -> Tensor:
    """The squared norm over all entries []."""
    first, *rest = [g.square().sum() for g in gradient.values()]
    return sum(rest, first)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every update rule of this module."""
    return [Consensus, JARE, Unrolled, LatentOptimization]
