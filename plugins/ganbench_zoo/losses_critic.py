"""Losses that bound their critic themselves: by distances between samples, or by its second moment.

In the formulas r [B] are the scores of real samples x, f [B] those of fakes y, and E is the mean over the batch;
sample i of one batch meets sample i of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, ContractError, Loss, LossStep, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Slots

Distance = Literal["absolute", "root-mean-square"]
CLOSEST = 1e-6  # what a distance of less counts as: two equal samples would be divided by
DISTANCE = "mean absolute or root-mean-square difference over the values of a sample"


def distances(kind: Distance, x: Tensor, y: Tensor) -> Tensor:
    """d(x_i, y_i) [B] of ``x`` and ``y`` [B, *shape], at least 1e-6."""
    if x.shape != y.shape:
        raise ContractError(f"samples of shape {list(x.shape)} and {list(y.shape)} have no distances")
    difference = (x - y).flatten(1)
    if kind == "absolute":
        return difference.abs().mean(1).clamp(min=CLOSEST)
    return difference.square().mean(1).clamp(min=CLOSEST**2).sqrt()  # the root of 0 has no gradient


class GANQP(Loss, name="gan-qp", source="https://arxiv.org/abs/1811.07296"):
    """D: E [-(r_i - f_i) + (r_i - f_i)^2 / (2 lambda d(x_i, y_i))]; G: -E f, the paper's E (r_i - f_i) less E r.

    What G leaves out does not depend on it, and costs a pass. No other bound on D is needed. The scale is lambda.
    """

    scale: float = field(default=10.0, gt=0.0, doc="lambda, the factor of the distance")
    distance: Distance = field(default="absolute", doc=DISTANCE)

    def d_loss_at(self, real: Tensor, fake: Tensor, at: LossStep) -> Tensor:
        rise = real - fake
        return (rise.square() / (2 * self.scale * distances(self.distance, at.real, at.fake)) - rise).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -fake.mean()


class LossSensitive(Loss, name="loss-sensitive", source="https://arxiv.org/abs/1701.06264"):
    """D: -real_weight E r + E max(0, scale d(x_i, y_i) - (r_i - f_i)); G: -E f.

    The paper's loss function is minus the score here, and its lambda is 1 / real_weight. A score has no least
    value, so that any real_weight above 0 lets D raise it for ever; the authors' code has 0. Their margin is 0.0002
    of the summed absolute difference, which at 64x64 in three colours is 2.4576 of the mean.
    """

    scale: float = field(default=2.4576, ge=0.0, doc="margin for a distance of 1")
    real_weight: float = field(default=0.0, ge=0.0, doc="coefficient of the term that raises real scores")
    distance: Distance = field(default="absolute", doc=DISTANCE)

    def d_loss_at(self, real: Tensor, fake: Tensor, at: LossStep) -> Tensor:
        margin = self.scale * distances(self.distance, at.real, at.fake)
        return F.relu(margin - (real - fake)).mean() - self.real_weight * real.mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -fake.mean()


class Fisher(Loss, name="fisher", source="https://arxiv.org/abs/1705.09675"):
    """D: -(E r - E f) + l (W - 1) + (rho / 2) (W - 1)^2, W = E r^2 / 2 + E f^2 / 2; G: -E f; l <- l + rho (W - 1).

    The multiplier l begins at 0 and moves once in each discriminator turn, uphill, so that W comes to 1.
    """

    rho: float = field(default=1e-6, ge=0.0, doc="coefficient of the squared excess, and step of the multiplier")

    def init(self, like: Tensor) -> Slots:
        return {"multiplier": like.new_zeros(())}

    def observe(self, real: Tensor, fake: Tensor, state: Slots) -> Slots:
        return {"multiplier": state["multiplier"] + self.rho * excess(real, fake)}

    def d_loss_at(self, real: Tensor, fake: Tensor, at: LossStep) -> Tensor:
        above = excess(real, fake)
        return fake.mean() - real.mean() + at.state["multiplier"] * above + self.rho / 2 * above.square()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -fake.mean()


def excess(real: Tensor, fake: Tensor) -> Tensor:
    """How far the second moment [] of the scores of both batches is above 1."""
    return real.square().mean() / 2 + fake.square().mean() / 2 - 1


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [GANQP, LossSensitive, Fisher]
