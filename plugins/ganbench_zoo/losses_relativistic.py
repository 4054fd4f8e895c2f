"""Losses of differences of scores: each sample is judged against samples of the other kind.

In the formulas r [B] are the scores of real samples, f [B] those of fakes, sp(t) = log(1 + e^t) and E is the mean
over the batch. "Average" compares a score with the mean of the other batch, "pairing" sample i with sample i. Both
terms of an average loss are added, without a factor of 1/2, and the generator minimises both of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Loss, hookimpl
from ganbench_zoo.losses import softplus

if TYPE_CHECKING:
    from torch import Tensor

AVERAGE, PAIRING = "https://arxiv.org/abs/1807.00734", "https://arxiv.org/abs/1901.02474"


class Swapped(Loss):
    """A loss whose generator minimises what its discriminator does, with real and fake in each other's place."""

    paired = True

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return self.d_loss(fake, real)


class RelativisticAverage(Swapped, name="relativistic-average", source=AVERAGE):
    """D: E sp(-(r - E f)) + E sp(f - E r); G: the same with r and f swapped."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake.mean() - real).mean() + softplus(fake - real.mean()).mean()


class RelativisticAverageLeastSquares(Swapped, name="relativistic-average-least-squares", source=AVERAGE):
    """D: E (r - E f - 1)^2 + E (f - E r + 1)^2; G: the same with r and f swapped; no factor 1/2."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real - fake.mean() - 1).square().mean() + (fake - real.mean() + 1).square().mean()


class RelativisticAverageHinge(Swapped, name="relativistic-average-hinge", source=AVERAGE):
    """D: E max(0, 1 - (r - E f)) + E max(0, 1 + (f - E r)); G: the same with r and f swapped, hinged too."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - (real - fake.mean())).mean() + F.relu(1 + (fake - real.mean())).mean()


class RelativisticPairingLeastSquares(Swapped, name="relativistic-pairing-least-squares", source=PAIRING):
    """D: E (r_i - f_i - 1)^2; G: E (f_i - r_i - 1)^2; no factor 1/2."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real - fake - 1).square().mean()


class RelativisticPairingHinge(Swapped, name="relativistic-pairing-hinge", source=PAIRING):
    """D: E max(0, 1 - (r_i - f_i)); G: E max(0, 1 - (f_i - r_i)), hinged too."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - (real - fake)).mean()


class DualContrastive(Loss, name="dual-contrastive", source="https://arxiv.org/abs/2103.09742"):
    """D: -E_i log(e^r_i / (e^r_i + sum_j e^f_j)) - E_i log(e^-f_i / (e^-f_i + sum_j e^-r_j)); G: minus that.

    One real sample must be told from all the fakes of the batch, and one fake from all its real samples.
    """

    paired = True

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        # -log(e^a / (e^a + sum_j e^b_j)) = sp(log sum_j e^b_j - a)
        return softplus(torch.logsumexp(fake, 0) - real).mean() + softplus(fake + torch.logsumexp(-real, 0)).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return -self.d_loss(real, fake)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [
        RelativisticAverage,
        RelativisticAverageLeastSquares,
        RelativisticAverageHinge,
        RelativisticPairingLeastSquares,
        RelativisticPairingHinge,
        DualContrastive,
    ]
