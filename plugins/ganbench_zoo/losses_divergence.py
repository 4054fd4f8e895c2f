"""f-GAN: the variational bound of eight divergences between the data and the generator's samples.

In the formulas r [B] are the scores of real samples, f [B] those of fakes, sp(t) = log(1 + e^t) and E is the mean
over the batch. An activation g maps a score v into the domain of the divergence's conjugate f*, so that a large
score means real for every divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Component, Loss, field, hookimpl
from ganbench_zoo.losses import softplus

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal[
    "kl", "reverse-kl", "pearson", "neyman", "squared-hellinger", "jensen-shannon", "gan", "total-variation"
]
LAST = 30.0  # e^30 is 1e13: its square, which Adam keeps, still is a float32


def exponential(t: Tensor) -> Tensor:
    """e^t up to t = 30 and its tangent beyond, elementwise: increasing, convex and finite wherever t is."""
    return t.clamp(max=LAST).exp() * (1 + torch.relu(t - LAST))


FORMULAS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # name: g(v), and f*(g(v)) in a form that does not overflow on the way
    "kl": (lambda v: v, lambda v: exponential(v - 1)),
    "reverse-kl": (lambda v: -exponential(-v), lambda v: v - 1),
    "pearson": (lambda v: v, lambda v: v.square() / 4 + v),
    "neyman": (lambda v: 1 - exponential(-v), lambda v: 2 - 2 * exponential(-v / 2)),
    "squared-hellinger": (lambda v: 1 - exponential(-v), lambda v: exponential(v) - 1),
    "jensen-shannon": (lambda v: math.log(2) - softplus(-v), lambda v: softplus(v) - math.log(2)),
    "gan": (lambda v: -softplus(-v), softplus),
    "total-variation": (lambda v: torch.tanh(v) / 2, lambda v: torch.tanh(v) / 2),
}


class FGAN(Loss, name="f-gan", source="https://arxiv.org/abs/1606.00709"):
    """D: -E g(r) + E f*(g(f)); G: -E f*(g(f)), or with ``alternative`` -E g(f), whose gradient stays where D is sure.

    In the order kl, reverse-kl, pearson, neyman, squared-hellinger, jensen-shannon, gan, total-variation,
    g(v) is v, -e^-v, v, 1 - e^-v, 1 - e^-v, log 2 - sp(-v), -sp(-v), tanh(v)/2, and
    f*(g(v)) is e^(v-1), v - 1, v^2/4 + v, 2 - 2 e^(-v/2), e^v - 1, sp(v) - log 2, sp(v), tanh(v)/2.
    Beyond e^30 the exponential goes on as its tangent, so that a score of hundreds does not end the training.
    With gan this is ``minimax``, and with gan and alternative ``non-saturating``.
    """

    divergence: Divergence = field(default="jensen-shannon", doc="the divergence whose lower bound D maximises")
    alternative: bool = field(default=False, doc="whether G minimises -E g(f), as section 3.2 of the paper advises")

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        g, conjugate = FORMULAS[self.divergence]
        return conjugate(fake).mean() - g(real).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        g, conjugate = FORMULAS[self.divergence]
        return -(g(fake) if self.alternative else conjugate(fake)).mean()


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [FGAN]
