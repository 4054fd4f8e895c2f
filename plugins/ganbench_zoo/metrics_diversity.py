"""Diversity of generated samples by themselves: the Vendi score, pairwise similarity of pictures, spread of features.

A value says something only beside that of real samples, which is its floor: noise is more diverse than any data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Bank, Component, ConfigError, Measure, Metric, SampleSpec, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell

TINY = 1e-300


class Vendi(Metric, name="vendi", source="https://arxiv.org/abs/2210.02410"):
    """vendi = exp of the entropy of the eigenvalues of K / n, K_ij = cos(f_i, f_j): an effective number of samples.

    From 1 (all samples in one direction) to n. The order ``q`` is that of Hill numbers: q = 1 is Shannon's entropy,
    larger ones count common directions more. With n samples of d features the smaller of two matrices is decomposed,
    n x n or d x d: their eigenvalues are the same.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("vendi", None),)

    q: float = field(default=1.0, gt=0.0, doc="order of the entropy; inf counts the largest direction alone")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real, rng
        x = fake.rows.double()
        x = x / x.norm(dim=1, keepdim=True).clamp(min=TINY)
        square = x.T @ x if len(x) > x.shape[1] else x @ x.T
        values = torch.linalg.eigvalsh(square).clamp(min=0)
        if not values.any():
            return {"vendi": 1.0}  # all samples are 0, and so alike
        p = values / values.sum()
        if self.q == 1:
            entropy = -torch.special.xlogy(p, p).sum()
        elif math.isinf(self.q):
            entropy = -p.max().log()
        else:
            entropy = (p[p > 0] ** self.q).sum().log() / (1 - self.q)
        return {"vendi": entropy.exp().item()}


class FeatureDiversity(Metric, name="feature-diversity", source="https://arxiv.org/abs/1801.03924"):
    """spread = mean |f_i - f_j| over ``pairs`` random pairs i != j of fakes, in units of the features.

    With features of LPIPS this is the usual "LPIPS diversity".
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("spread", None),)

    pairs: int = field(default=5000, ge=1, doc="random pairs")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real
        fake.need(2, "feature-diversity")
        i, j = random_pairs(len(fake), self.pairs, rng)
        x = fake.rows
        parts = zip(torch.split(i.to(x.device), 512), torch.split(j.to(x.device), 512), strict=True)
        return {"spread": torch.cat([(x[a].double() - x[b].double()).norm(dim=1) for a, b in parts]).mean().item()}


class SSIMDiversity(Metric, name="ssim-diversity", source="https://doi.org/10.1109/TIP.2003.819861"):
    """ssim = mean SSIM(f_i, f_j) over ``pairs`` random pairs i != j of pictures; 1 where all are equal.

    SSIM = mean over places and channels of (2 m m' + c1)(2 s + c2) / ((m^2 + m'^2 + c1)(v + v' + c2)), with local
    means, variances and covariance under a Gaussian window of standard deviation 1.5, 11 x 11 or as large as the
    picture allows, inside the picture only; c1 = (0.01 L)^2, c2 = (0.03 L)^2, L the range of values. It looks at
    the pixels, whatever the extractor.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("ssim", None),)

    pairs: int = field(default=1000, ge=1, doc="random pairs")
    span: float = field(default=0.0, ge=0.0, doc="range of values; 0: that of the data")

    def mismatch(self, cell: Cell) -> str | None:
        spec = cell.dataset.spec()
        if spec.is_image and (spec.bounded or self.span):
            return None
        return f"metric ssim-diversity needs pictures of a known range, and {cell.dataset.name} has none"

    def bind(self, spec: SampleSpec) -> Self:
        if self.span or not spec.bounded:
            return self
        return dataclasses.replace(self, span=spec.high - spec.low)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real
        fake.need(2, "ssim-diversity")
        x = fake.samples.x
        if x.dim() != 4:
            raise ConfigError(f"ssim-diversity compares pictures [n, channels, height, width], not {list(x.shape)}")
        if not self.span:
            raise ConfigError("ssim-diversity does not know the range of values", hint="give it: span = 2.0")
        i, j = (index.to(x.device) for index in random_pairs(len(fake), self.pairs, rng))
        parts = zip(torch.split(i, 128), torch.split(j, 128), strict=True)
        return {"ssim": torch.cat([ssim(x[a].double(), x[b].double(), self.span) for a, b in parts]).mean().item()}


def ssim(x: Tensor, y: Tensor, span: float) -> Tensor:
    """The structural similarity of pictures x and y [n, c, h, w], for each pair: [n]."""
    channels, *sides = x.shape[1:]
    kernel = torch.ones(1, 1, dtype=x.dtype, device=x.device)
    windows = []
    for side in sides:
        size = min(11, side - 1 + side % 2)  # odd
        at = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
        window = torch.exp(-at.square() / (2 * 1.5**2))
        windows.append(window / window.sum())
    kernel = (windows[0][:, None] * windows[1]).expand(channels, 1, -1, -1)

    def local(z: Tensor) -> Tensor:
        return F.conv2d(z, kernel, groups=channels)

    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return value.flatten(1).mean(1)


def random_pairs(n: int, pairs: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """``pairs`` pairs of different indices below n, drawn independently."""
    i = torch.randint(n, (pairs,), generator=rng)
    return i, (i + torch.randint(1, n, (pairs,), generator=rng)) % n


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [Vendi, FeatureDiversity, SSIMDiversity]
