"""Penalties on the discriminator's scores themselves: no gradient of D, so they cost next to nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, ConfigError, DStep, GStep, Regularizer, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Cell, Params, Slots


class LeCam(Regularizer, name="lecam", source="https://arxiv.org/abs/2104.03310"):
    """weight {E (D(x) - a_F)^2 over real x + E (D(x) - a_R)^2 over fakes}; a_R, a_F are running means of the scores.

    ``gated``, as in the authors' code, counts only real scores above a_F and fake scores below a_R:
    E max(0, D(x) - a_F)^2 + E max(0, a_R - D(x))^2. As there, the means include the present batch, are those of the
    present batch alone up to step ``start``, and the penalty begins after it.
    """

    weight: float = field(default=0.3, ge=0.0, doc="coefficient")
    decay: float = field(default=0.99, ge=0.0, lt=1.0, doc="weight of the past in the running means")
    start: int = field(default=1000, ge=0, doc="the step after which means run and the penalty counts")
    variant: Literal["paper", "gated"] = "paper"

    def validate(self) -> None:
        discriminators_turn(self)

    def init(self, params: Params) -> Slots:
        like = next(iter(params.values()))
        return {"real": like.new_zeros(()), "fake": like.new_zeros(())}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        assert isinstance(at, DStep)  # it acts on D alone
        return self._means(at, state)

    def d_penalty(self, at: DStep) -> Tensor:
        mean = self._means(at, at.state)
        real, fake = at.real_scores - mean["fake"], mean["real"] - at.fake_scores
        if self.variant == "gated":
            real, fake = F.relu(real), F.relu(fake)
        penalty = real.square().mean() + fake.square().mean()
        return self.weight * torch.where(at.step > self.start, penalty, 0.0)

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} anchors scores, and {cell.loss.name} asks for {cell.loss.output}"
        return None

    def _means(self, at: DStep, state: Slots) -> Slots:
        now = {"real": at.real_scores.detach().mean(), "fake": at.fake_scores.detach().mean()}
        runs = at.step >= self.start
        return {
            side: torch.where(runs, self.decay * old + (1 - self.decay) * now[side], now[side])
            for side, old in state.items()
        }


class EpsilonDrift(Regularizer, name="epsilon-drift", source="https://arxiv.org/abs/1710.10196"):
    """weight E D(x)^2 over real x: keeps a critic's scores, which only differences fix, from drifting away."""

    weight: float = field(default=0.001, ge=0.0, doc="coefficient")

    def d_penalty(self, at: DStep) -> Tensor:
        return self.weight * at.real_scores.square().mean()


def discriminators_turn(regularizer: Regularizer) -> None:
    """Raise :class:`ConfigError` unless a regularizer that observes real scores acts on D, which alone has them."""
    if regularizer.on != "d":
        raise ConfigError(f"{regularizer.name} acts on the discriminator only", place=".on", hint="write on = 'd'")


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [LeCam, EpsilonDrift]
