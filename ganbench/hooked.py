"""The regularizers of a step at its hook points, folded in the order of their list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ganbench.errors import ContractError
from ganbench.regularizer import HOOK_POINTS, DStep, GStep, Regularizer
from ganbench.state import SIDES, Params, Side, Slots, State, Turn

AllSlots = tuple[dict[str, Slots], ...]
Placed = tuple[tuple[int, Regularizer], ...]
"""Regularizers with their positions in the stack."""


@dataclass(frozen=True)
class Hooked:
    """What a stack of regularizers does in one kind of step.

    Methods named by a participle return what the active regularizers make of their argument. ``slots`` are the
    states of the whole stack, as in ``State.regularizers``.

    Args:
        regularizers: the stack.
        active: for each of them, whether ``step % every == 0``; the host decides, so no tensor is asked.
    """

    regularizers: Sequence[Regularizer]
    active: Sequence[bool]
    _at: dict[str, Placed] = field(init=False)
    """For each hook point, the active regularizers that use it."""
    _acting: dict[tuple[str, Side], Placed] = field(init=False)
    """Those of them that act on a player."""

    def __post_init__(self) -> None:
        active = [(i, r) for i, (r, on) in enumerate(zip(self.regularizers, self.active, strict=True)) if on]
        at = {hook: tuple((i, r) for i, r in active if r.uses(hook)) for hook in HOOK_POINTS}
        acting = {(hook, p): tuple((i, r) for i, r in at[hook] if r.acts_on(p)) for hook in at for p in SIDES}
        # the only writes to a frozen value
        object.__setattr__(self, "_at", at)
        object.__setattr__(self, "_acting", acting)

    def uses(self, hook: str) -> bool:
        """Whether any active regularizer has the hook point ``hook``."""
        return bool(self._at[hook])

    def own(self, i: int, player: Side, slots: AllSlots) -> Slots:
        """The state of the i-th regularizer in ``player``'s turn: one for each network it acts on."""
        on = self.regularizers[i].on
        return slots[i][player if on == "both" else on]

    def prepared(self, player: Side, params: Params, slots: AllSlots) -> AllSlots:
        """``slots`` before the forward pass of ``player``'s turn."""
        for i, r in self._acting["prepare", player]:
            with torch.no_grad():
                slots = _put(slots, i, player, r.prepare(params, slots[i][player]))
        return slots

    def effective(self, player: Side, params: Params, slots: AllSlots) -> Params:
        """The parameters the network is called with. Not lazy: a network is the same function in every step."""
        return effective(player, params, self.regularizers, slots)

    def mixed(self, real: Tensor, fake: Tensor, turn: Turn, slots: AllSlots) -> tuple[Tensor, Tensor]:
        """What D is shown as ``real`` and as ``fake`` in its own turn, before augmentation."""
        for i, r in self._at["mix"]:
            real, fake = r.mix(real, fake, turn.noise[i], self.own(i, "d", slots))
        return real, fake

    def augmented(self, x: Tensor, side: Literal["real", "fake"], turn: Turn, slots: AllSlots) -> Tensor:
        """What D sees instead of ``x``."""
        for i, r in self._at["augment"]:
            x = r.augment(x, side, turn.noise[i], self.own(i, "d", slots))
        return x

    def wrappers(self, turn: Turn, slots: AllSlots) -> list[tuple[Regularizer, Slots, Slots]]:
        """The regularizers with a ``score``, each with its noise and its state."""
        return [(r, turn.noise[i], self.own(i, "d", slots)) for i, r in self._at["score"]]

    def penalized(
        self, player: Side, loss: Tensor, at: Callable[[int], Any], params: Params, slots: AllSlots
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``loss`` with ``every`` times each penalty of ``player``'s turn, and the penalties for the logs.

        ``at(i)`` is what the i-th regularizer sees of the turn; ``params`` are those that ``player`` trains.
        """
        hook: Literal["d_penalty", "g_penalty"] = "d_penalty" if player == "d" else "g_penalty"
        logs = {}
        for i, r in self._at[hook]:
            penalty = scalar(getattr(r, hook)(at(i)), r, hook)
            loss = loss + r.every * penalty
            logs[f"{hook}-{i}"] = penalty.detach()
        for i, r in self._acting["weight_penalty", player]:
            penalty = scalar(r.weight_penalty(params, slots[i][player]), r, "weight_penalty")
            loss = loss + r.every * penalty
            logs[f"{player}_weight_penalty-{i}"] = penalty.detach()
        return loss, logs

    def observed(self, player: Side, at: Callable[[int], DStep | GStep], slots: AllSlots) -> AllSlots:
        """``slots`` after the forward pass of ``player``'s turn, of which the i-th regularizer sees ``at(i)``."""
        for i, r in self._acting["observe", player]:
            with torch.no_grad():
                slots = _put(slots, i, player, r.observe(at(i), slots[i][player]))
        return slots

    def transformed(self, player: Side, grads: Params, state: State) -> tuple[Params, State]:
        """The gradients that the optimizer gets, and ``state`` with the diagnostics tallied."""
        params = getattr(state, player).params
        for i, r in self._acting["transform_grads", player]:
            own = state.regularizers[i][player]
            with torch.no_grad():
                if r.diagnostics:
                    told = r.diagnose(grads, params, own)
                    state = state.tallied({f"{player}_{name}-{i}": told[name] for name in r.diagnostics})
                grads = r.transform_grads(grads, params, own)
        return grads, state

    def projected(self, player: Side, params: Params, slots: AllSlots) -> Params:
        """The parameters of ``player`` after the optimizer's update."""
        for i, r in self._acting["project", player]:
            params = r.project(params, slots[i][player])
        return params


def effective(player: Side, params: Params, regularizers: Sequence[Regularizer], slots: AllSlots) -> Params:
    """The parameters that the network of ``player`` is called with, in training and wherever it is sampled."""
    for i, r in enumerate(regularizers):
        if r.acts_on(player) and r.uses("reparameterize"):
            params = r.reparameterize(params, slots[i][player])
    return params


def lazy_share(player: Side, regularizers: Sequence[Regularizer]) -> float:
    """1 / (1 + sum of 1 / every), over the penalties of ``player`` that are not in every step; k / (k + 1) for one."""
    own = [r for r in regularizers if r.every > 1 and _penalizes(r, player)]
    return 1 / (1 + sum(1 / r.every for r in own))


def _penalizes(regularizer: Regularizer, player: Side) -> bool:
    on_weights = regularizer.uses("weight_penalty") and regularizer.acts_on(player)
    return on_weights or regularizer.uses(f"{player}_penalty")


def scalar(value: Tensor, regularizer: Regularizer, hook: str) -> Tensor:
    """``value``, which a penalty returned, if it is a single number.

    Raises:
        ContractError: it has dimensions.
    """
    if value.dim() != 0:
        raise ContractError(
            f"{regularizer.name}.{hook} returned a tensor of shape {list(value.shape)}, expected a single number []",
            hint="average it over the batch with .mean()",
        )
    return value


def _put(slots: AllSlots, i: int, player: Side, new: Slots) -> AllSlots:
    return (*slots[:i], {**slots[i], player: new}, *slots[i + 1 :])
