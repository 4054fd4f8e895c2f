"""Losses: pairs of functions of raw scores (no sigmoid), high on real samples; both are minimised.

In the formulas r [B] are the scores of real samples, f [B] those of fakes, sp(t) = log(1 + e^t) and E is the
mean over the batch. Terms of real and fake samples are averaged apart and added, without a factor of 1/2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Loss, Regularizer, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Cell

CRITICS = frozenset(
    {
        "wasserstein",
        "hinge",
        "least-squares",
        "relativistic-average-hinge",
        "relativistic-average-least-squares",
        "relativistic-pairing-hinge",
        "relativistic-pairing-least-squares",
        "fisher",
        "gan-qp",
        "loss-sensitive",
    }
)
"""Losses whose scores no sigmoid turns into the probability that a sample is real."""
BOUNDING = ("d_penalty", "reparameterize", "weight_penalty", "project", "score")
"""Hook points by which a regularizer can keep the discriminator's slope bounded."""
LAX = frozenset(
    {"epsilon-drift", "lecam", "consistency", "balanced-consistency", "latent-consistency", "top-k"}
    | {"historical-averaging"}
)
"""Regularizers of this package that use such a hook point for something else."""


def keeps_slope(regularizer: Regularizer) -> bool:
    """Whether a regularizer may be what keeps the discriminator Lipschitz; one that is not known has the benefit."""
    return regularizer.name not in LAX and any(
        regularizer.uses(hook) and (hook in {"d_penalty", "score"} or regularizer.acts_on("d")) for hook in BOUNDING
    )


def softplus(t: Tensor) -> Tensor:
    """log(1 + e^t), elementwise; exact to rounding in float32 and float64, finite wherever t is."""
    # torch turns linear at 20 by default, 2e-9 below the truth; beyond 40 the difference is below rounding
    return F.softplus(t, threshold=40)


class CrossEntropy(Loss):
    """The discriminator's binary cross-entropy on logits, shared by the two losses of the first GAN paper."""

    smoothing: float = field(default=0.0, ge=0.0, lt=1.0, doc="one-sided: D's target for real samples is 1 - smoothing")
    fake_smoothing: float = field(default=0.0, ge=0.0, lt=1.0, doc="the other side: D's target for fakes")

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        # sp(r) - (1 - smoothing) r, without its cancellation at large r
        on_real, on_fake = softplus(-real), softplus(fake)
        if self.smoothing:
            on_real = on_real + self.smoothing * real
        if self.fake_smoothing:
            on_fake = on_fake - self.fake_smoothing * fake
        return on_real.mean() + on_fake.mean()


class Minimax(CrossEntropy, name="minimax", source="https://arxiv.org/abs/1406.2661"):
    """D: E sp(-r) + E sp(f); G: -E sp(f) = E log(1 - sigmoid(f)), which saturates where D is sure.

    With smoothing s, D's first term is E[sp(r) - (1 - s) r] (https://arxiv.org/abs/1606.03498); G's is unchanged.
    With fake_smoothing q, its second is E[sp(f) - q f], which keeps fakes alive that D has found out: not advised.
    """

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -softplus(fake).mean()


class NonSaturating(CrossEntropy, name="non-saturating", source="https://arxiv.org/abs/1406.2661"):
    """D: E sp(-r) + E sp(f); G: E sp(-f) = -E log sigmoid(f), whose gradient stays where D is sure.

    With smoothing s, D's first term is E[sp(r) - (1 - s) r] (https://arxiv.org/abs/1606.03498); G's is unchanged.
    With fake_smoothing q, its second is E[sp(f) - q f], which keeps fakes alive that D has found out: not advised.
    """

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return softplus(-fake).mean()


class LeastSquares(Loss, name="least-squares", source="https://arxiv.org/abs/1611.04076"):
    """D: E (r - b)^2 / 2 + E (f - a)^2 / 2; G: E (f - c)^2 / 2; on raw scores, with the paper's factor 1/2.

    Where b - c = 1 and b - a = 2, such as a, b, c = -1, 1, 0, G minimises Pearson's chi-squared divergence.
    """

    a: float = field(default=0.0, doc="D's target for fakes")
    b: float = field(default=1.0, doc="D's target for real samples")
    c: float = field(default=1.0, doc="G's target for fakes")

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (real - self.b).square().mean() / 2 + (fake - self.a).square().mean() / 2

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return (fake - self.c).square().mean() / 2


class Wasserstein(Loss, name="wasserstein", source="https://arxiv.org/abs/1701.07875"):
    """D: E f - E r; G: -E f; a distance only while something keeps D Lipschitz."""

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -fake.mean()

    def advice(self, cell: Cell) -> str | None:
        if any(map(keeps_slope, cell.regularizers)):
            return None
        return f"{self.name} is no distance unless something keeps the discriminator Lipschitz, and nothing does"


class Hinge(Loss, name="hinge", source="https://arxiv.org/abs/1705.02894"):
    """D: E max(0, 1 - r) + E max(0, 1 + f); G: -E f, not hinged."""

    diagnostics = ("active",)

    def diagnose(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The fraction of samples, real and fake, on the sloped side of their hinge: the others teach D nothing."""
        sloped = (real < 1).to(real.dtype).mean() + (fake > -1).to(fake.dtype).mean()
        return {"active": sloped / 2}

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -fake.mean()


class RelativisticPairing(Loss, name="relativistic-pairing", source="https://arxiv.org/abs/1807.00734"):
    """D: E sp(-(r_i - f_i)); G: E sp(-(f_i - r_i)); sample i of one batch meets sample i of the other."""

    paired = True

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return softplus(real - fake).mean()


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [Minimax, NonSaturating, LeastSquares, Wasserstein, Hinge, RelativisticPairing]
