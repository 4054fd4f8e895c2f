"""Losses of embeddings: the discriminator maps a sample to a point, and the batches of points are compared.

In the formulas r [B, d] are the embeddings of real samples, f [B, d] those of fakes, |.| is the Euclidean norm, and
E is a mean over samples; over pairs of one batch it leaves out the pairs of a sample with itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Component, Loss, field, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


def norm(v: Tensor) -> Tensor:
    """|v| over the last dimension, with the gradient 0 where v is 0 and the root has none."""
    squared = v.square().sum(-1)
    nonzero = squared > 0
    return torch.where(nonzero, torch.where(nonzero, squared, 1.0).sqrt(), 0.0)


def differences(a: Tensor, b: Tensor) -> Tensor:
    """a_i - b_j [n, m, d] of ``a [n, d]`` and ``b [m, d]``."""
    return a[:, None] - b[None]


def mean_of_others(square: Tensor) -> Tensor:
    """The mean [] of ``square [n, n]`` without its diagonal."""
    n = square.shape[0]
    return (square.sum() - square.diagonal().sum()) / (n * (n - 1))


class KernelLoss(Loss):
    """Losses of a kernel k(a, b), the sum over ``scales`` s of exp(-|a - b|^2 / (2 s^2)), or of another kind."""

    paired = True
    output = "embedding"

    kernel: Literal["gaussian", "rational-quadratic"] = field(
        default="gaussian", doc="exp(-|a - b|^2 / (2 s^2)), or (1 + |a - b|^2 / (2 s))^-s"
    )
    scales: tuple[float, ...] = field(default=(1.0, 2.0, 4.0, 8.0, 16.0), gt=0.0, doc="s; the kernels are added")

    def k(self, a: Tensor, b: Tensor) -> Tensor:
        """The kernel [n, m] of every row of ``a [n, d]`` with every row of ``b [m, d]``."""
        squared = differences(a, b).square().sum(-1)
        if self.kernel == "gaussian":
            terms = [torch.exp(-squared / (2 * s**2)) for s in self.scales]
        else:
            terms = [torch.exp(-s * torch.log1p(squared / (2 * s))) for s in self.scales]
        return torch.stack(terms).sum(0)

    def discrepancy(self, real: Tensor, fake: Tensor) -> Tensor:
        """MMD^2 [], unbiased: it may be negative."""
        within = mean_of_others(self.k(real, real)) + mean_of_others(self.k(fake, fake))
        return within - 2 * self.k(real, fake).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return self.discrepancy(real, fake)

    def score(self, output: Tensor, real: Tensor | None, fake: Tensor) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return self.k(output, real).mean(1) - self.k(output, fake).mean(1)


class MMD(KernelLoss, name="mmd", source="https://arxiv.org/abs/1705.08584"):
    """D: -MMD^2; G: MMD^2 = E k(r, r') + E k(f, f') - 2 E k(r, f), the unbiased estimate, which may be negative.

    k is a sum of kernels, not their mean. The paper clips D's weights (``weight-clipping``); its autoencoding term
    is left out. Gradient penalties see the witness E k(., r) - E k(., f) (https://arxiv.org/abs/1801.01401).
    """

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.discrepancy(real, fake)


class MMDRepulsive(KernelLoss, name="mmd-repulsive", source="https://arxiv.org/abs/1812.09916"):
    """D: E k(r, r') - E k(f, f'); G: MMD^2 = E k(r, r') + E k(f, f') - 2 E k(r, f), unbiased.

    D pushes real samples apart, where that of ``mmd`` pulls them together. k is a sum of kernels.
    """

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return mean_of_others(self.k(real, real)) - mean_of_others(self.k(fake, fake))


class Cramer(Loss, name="cramer", source="https://arxiv.org/abs/1705.10743"):
    """D: E F(f) - E F(r), F(h) = E |h - f'| - |h|; G: 2 E |r - f| - E |f - f'|, f' being other fakes.

    G's is the energy distance less its constant E |r - r'|. The paper's f' is one more fake a sample; here it is
    every other fake of the batch. Its gradient penalty is not in the loss: add ``gradient-penalty``, which sees F.
    """

    paired = True
    output = "embedding"

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        on_real = norm(differences(real, fake)).mean() - norm(real).mean()
        on_fake = mean_of_others(norm(differences(fake, fake))) - norm(fake).mean()
        return on_fake - on_real

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        assert real is not None  # the core sees to it for a paired loss
        return 2 * norm(differences(real, fake)).mean() - mean_of_others(norm(differences(fake, fake)))

    def score(self, output: Tensor, real: Tensor | None, fake: Tensor) -> Tensor:
        del real
        return norm(differences(output, fake)).mean(1) - norm(output)


class Sphere(
    Loss,
    name="sphere",
    source="https://openaccess.thecvf.com/content_CVPR_2019/html/"
    "Park_Sphere_Generative_Adversarial_Network_Based_on_Geometric_Moment_Matching_CVPR_2019_paper.html",
):
    """D: -sum_k (E a(r)^k - E a(f)^k); G: -sum_k E a(f)^k, k = 1..moments, a(q) the angle to the north pole.

    An embedding q is projected to the sphere, where its angle is arccos((|q|^2 - 1) / (|q|^2 + 1)), in radians:
    pi at the origin, 0 at infinity. It is computed as 2 arctan(1 / |q|), whose gradient is finite at the pole.
    """

    output = "embedding"

    moments: int = field(default=3, ge=1, doc="the largest power of the angle")

    def angles(self, q: Tensor) -> Tensor:
        """The sum [B] of the powers of the angles of ``q [B, d]``."""
        size = norm(q)
        angle = 2 * torch.atan2(torch.ones_like(size), size)
        return torch.stack([angle**k for k in range(1, self.moments + 1)]).sum(0)

    def d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.angles(fake).mean() - self.angles(real).mean()

    def g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        del real
        return -self.angles(fake).mean()

    def score(self, output: Tensor, real: Tensor | None, fake: Tensor) -> Tensor:
        del real, fake
        return self.angles(output)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every loss of this module."""
    return [MMD, MMDRepulsive, Cramer, Sphere]
