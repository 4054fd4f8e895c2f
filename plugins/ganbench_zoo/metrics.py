"""Metrics: modes of a mixture, sliced Wasserstein distance, Fréchet distance, density and coverage.

All compute in float64 and use no randomness but ``rng``. Where a sample is not finite, every measure is nan.
Shapes: fake [n, d] and real [m, d], after flattening.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from ganbench import Component, ConfigError, ContractError, Measure, Metric, SampleSpec, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell

EXACT_UP_TO = 512
"""Dimension up to which the Fréchet distance factors the samples themselves, not their covariance."""
DIRECT_UP_TO = 16
"""Dimension up to which distances are sums of squared differences, not matrix products."""
BLOCK = 2**22
"""Distances held at a time, in numbers (32 MiB)."""


class MixtureModes(Metric, name="mixture-modes", source="https://arxiv.org/abs/1705.07761"):
    """modes20 = |{k: c_k >= min_count}|, hq = sum_k c_k / n, rkl = KL(c / sum c || uniform); c_k: see below.

    c_k counts the high-quality samples of mode k: nearest to its centre, and within 3 std of it (Euclidean).
    Read the three together: a structureless Gaussian reaches many modes with hq near 0, and a point at one
    centre has hq 1. True samples in two dimensions score hq = 1 - exp(-9/2) = 0.98889, and rkl = (K - 1) / (2 n)
    in expectation. rkl is log K at one mode; where no sample is of high quality it has no value, and that largest
    one stands in, so that a failure is not left out of a mean.

    The literature counts a mode from its first sample of 2500 (``min_count = 1``); 20 asks for more than chance.
    """

    version: ClassVar[int] = 2
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("modes20", "higher", "modes"),
        Measure("hq", "higher"),
        Measure("rkl", "lower", "nats"),
    )

    min_count: int = field(default=20, ge=1, doc="high-quality samples that make a mode count")
    centres: tuple[tuple[float, ...], ...] = field(default=(), doc="centres of the modes; empty: those of the data")
    std: float = field(default=0.0, ge=0.0, doc="standard deviation of a mode; 0: that of the data")

    def mismatch(self, cell: Cell) -> str | None:
        if self.centres or cell.dataset.spec().modes is not None:
            return None
        return f"metric mixture-modes needs a mixture of known modes, and {cell.dataset.name} has none"

    def bind(self, spec: SampleSpec) -> Self:
        if self.centres or spec.modes is None:
            return self
        return dataclasses.replace(self, centres=spec.modes.centres, std=self.std or spec.modes.std)

    def compute(self, fake: Tensor, real: Tensor, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake, _ = rows(fake, real)
        if not self.centres or not self.std:
            raise ConfigError(
                "metric mixture-modes does not know the modes",
                hint="bind it to the data's spec, or give it centres and std",
            )
        if not fake.isfinite().all():
            return unknown(self)
        centres = torch.tensor(self.centres, dtype=fake.dtype, device=fake.device)
        if centres.shape[1] != fake.shape[1]:
            raise ConfigError(f"the modes have {centres.shape[1]} coordinates and the samples {fake.shape[1]}")
        distance, nearest = (fake[:, None] - centres).square().sum(2).min(1)
        hq = distance <= (3 * self.std) ** 2
        counts = nearest[hq].bincount(minlength=len(centres)).to(fake.dtype)
        share = counts / counts.sum()
        divergence = torch.special.xlogy(share, share * len(centres)).sum().item()
        return {
            "modes20": float((counts >= self.min_count).sum()),
            "hq": hq.to(fake.dtype).mean().item(),
            "rkl": divergence if counts.any() else math.log(len(centres)),
        }


class SlicedWasserstein(Metric, name="sliced-wasserstein", source="https://arxiv.org/abs/1902.00434"):
    """sw2 = (E_u W2(u.fake, u.real)^2)^(1/2), u uniform on the unit sphere, in units of the data.

    W2 on the line is exact for any two sample sizes: the L2 distance of the quantile functions. The expectation
    is a mean over ``projections`` directions; data on the line needs one, and then sw2 is W2 itself. The value
    is above 0 for two samples of one distribution, the more so the fewer they are.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("sw2", "lower"),)

    projections: int = field(default=200, ge=1, doc="random directions")

    def compute(self, fake: Tensor, real: Tensor, rng: torch.Generator) -> Mapping[str, float]:
        fake, real = rows(fake, real, least=1)
        if not (fake.isfinite().all() and real.isfinite().all()):
            return unknown(self)
        size = fake.shape[1]
        directions = torch.ones(1, 1, dtype=torch.float64)
        if size > 1:
            directions = torch.randn(self.projections, size, dtype=torch.float64, generator=rng)
            directions = directions / directions.norm(dim=1, keepdim=True)
        squares = [w2_squared(u @ fake.T, u @ real.T) for u in torch.split(directions.to(fake.device), 64)]
        return {"sw2": torch.cat(squares).mean().sqrt().item()}


def w2_squared(a: Tensor, b: Tensor) -> Tensor:
    """``int_0^1 (A^-1(q) - B^-1(q))^2 dq`` of the empirical distributions of a [p, n] and b [p, m], for each row: [p].

    The quantile functions are steps that change at multiples of 1/n and 1/m; the integral is a sum over the
    intervals between these, n + m at most.
    """
    n, m = a.shape[1], b.shape[1]
    a, b = a.sort(1).values, b.sort(1).values
    if n == m:
        return (a - b).square().mean(1)
    # in units of 1 / (n m), so that equal breakpoints are equal numbers
    ends = torch.unique(torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]))
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    weights = ((ends - starts).to(a.dtype) / (n * m)).to(a.device)
    i, j = (starts // m).to(a.device), (starts // n).to(a.device)
    squares: Tensor = (a[:, i] - b[:, j]).square() @ weights
    return squares


class FrechetDistance(Metric, name="frechet-distance", source="https://arxiv.org/abs/1706.08500"):
    """fd = |mu_f - mu_r|^2 + tr(S_f + S_r - 2 (S_f S_r)^(1/2)), with covariances S of divisor n - 1.

    The squared Wasserstein-2 distance of Gaussians with the moments of the features, in squared units of them.
    tr (S_f S_r)^(1/2) is the sum of the singular values of X Y' where S_f = X'X and S_r = Y'Y: no matrix square root,
    and exact where there are fewer samples than dimensions. The value is biased upwards at small n: compare only
    values of one n. It is a "FID" only on features of the Inception network.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("fd", "lower"),)

    def compute(self, fake: Tensor, real: Tensor, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake, real = rows(fake, real, least=2)
        if not (fake.isfinite().all() and real.isfinite().all()):
            return unknown(self)
        shift = (fake.mean(0) - real.mean(0)).square().sum()
        x, y = centred(fake), centred(real)
        traces = x.square().sum() + y.square().sum()
        value = (shift + traces - 2 * nuclear_norm(x, y)).item()
        # the distance is not negative; what is lost in the difference of traces is a few units in the last place
        return {"fd": 0.0 if -1e-9 * traces.item() <= value < 0.0 else value}


def centred(x: Tensor) -> Tensor:
    """X [n, d] with X'X the covariance of ``x [n, d]``, of divisor n - 1."""
    return (x - x.mean(0)) / math.sqrt(len(x) - 1)


def nuclear_norm(x: Tensor, y: Tensor) -> Tensor:
    """The sum of the singular values of ``x y'`` for x [n, d] and y [m, d], which is tr (X'X Y'Y)^(1/2).

    First each factor of more than d rows gives way to one of d rows with the same X'X. Up to d = 512 that is
    the triangle of its QR decomposition, and nothing is ever squared. Above, it is made from the eigenvectors of
    X'X, and the singular values are roots of eigenvalues: several times faster, and good to about 1e-8 of the traces.
    """
    exact = x.shape[1] <= EXACT_UP_TO
    x, y = (f if len(f) <= f.shape[1] else _triangle(f) if exact else _half(f) for f in (x, y))
    product = x @ y.T if len(x) <= len(y) else y @ x.T
    if len(product) <= EXACT_UP_TO:
        values: Tensor = torch.linalg.svdvals(product)
    else:
        values = _positive(torch.linalg.eigvalsh(product @ product.T)).sqrt()
    return values.sum()


def _triangle(x: Tensor) -> Tensor:
    """R [d, d] with R'R = x'x."""
    r: Tensor = torch.linalg.qr(x, mode="r").R
    return r


def _half(x: Tensor) -> Tensor:
    """H [d, d] with H'H = x'x, of the eigenvectors."""
    values, vectors = torch.linalg.eigh(x.T @ x)
    half: Tensor = _positive(values).sqrt()[:, None] * vectors.T
    return half


def _positive(values: Tensor) -> Tensor:
    """Eigenvalues, ascending, with those set to 0 that are rounding errors: their roots would not be small."""
    floor = values[-1] * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > floor, values, torch.zeros_like(values))


class DensityCoverage(Metric, name="density-coverage", source="https://arxiv.org/abs/2002.09797"):
    """density = sum_ij 1[|f_j - r_i| < R_i] / (k n), coverage = mean_i 1[min_j |f_j - r_i| < R_i].

    R_i is the distance from the real sample r_i to its k-th nearest other real sample. Where both distributions
    are equal and n = m, E density = 1 and E coverage = 1 - prod_{i=1..k} (n - i) / (2 n - i), about 1 - 2^-k = 0.969
    for k = 5. Density exceeds 1 where fakes crowd among the real samples. No matrix of n x m is ever held.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("density", None), Measure("coverage", "higher"))

    k: int = field(default=5, ge=1, doc="which nearest neighbour gives the radius")

    def compute(self, fake: Tensor, real: Tensor, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake, real = rows(fake, real, least=1)
        if not (fake.isfinite().all() and real.isfinite().all()):
            return unknown(self)
        if len(real) <= self.k:
            raise ConfigError(
                f"density-coverage with k = {self.k} needs {self.k + 1} real samples, not {len(real)}",
                hint="evaluate on more samples or lower k",
            )
        centre = real.mean(0)  # products lose fewer digits around the origin
        fake, real = fake - centre, real - centre
        inside = covered = 0
        start = 0
        for block in torch.split(real, max(1, BLOCK // max(len(real), len(fake)))):
            among = distances(block, real)
            own = torch.arange(len(block), device=real.device)
            among[own, start + own] = math.inf
            radii = among.topk(self.k, dim=1, largest=False).values[:, -1:]
            hits = distances(block, fake) < radii
            inside += int(hits.sum())
            covered += int(hits.any(1).sum())
            start += len(block)
        return {"density": inside / (self.k * len(fake)), "coverage": covered / len(real)}


def distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j| [n, m] for x [n, d] and y [m, d].

    Up to 16 dimensions from the differences, so that equal distances compare as equal. Above, from
    |x|^2 + |y|^2 - 2 x.y, where what is too small to tell from rounding counts as 0.
    """
    if x.shape[1] <= DIRECT_UP_TO:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    squares = torch.addmm(norms, x, y.T, alpha=-2)
    return squares.masked_fill(squares < 64 * torch.finfo(x.dtype).eps * norms, 0.0).sqrt()


def unknown(metric: Metric) -> dict[str, float]:
    """Not a number for every measure: what a sample that is not finite deserves."""
    return {measure.name: math.nan for measure in metric.measures}


def rows(fake: Tensor, real: Tensor, *, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both as [n, d] in float64, on the device of ``fake``.

    Raises:
        ContractError: they have different numbers of values in a sample.
        ConfigError: there are fewer than ``least`` samples of a side.
    """
    # Apple's devices have no float64
    device = torch.device("cpu") if fake.device.type == "mps" else fake.device
    for side, x in (("fake", fake), ("real", real)):
        if len(x) < least:
            raise ConfigError(
                f"the metric needs at least {least} {side} samples, not {len(x)}", hint="evaluate on more samples"
            )
    fake, real = (x.detach().to(device).to(torch.float64).reshape(len(x), -1) for x in (fake, real))
    if fake.shape[1] != real.shape[1]:
        raise ContractError(f"a fake sample has {fake.shape[1]} values and a real one {real.shape[1]}")
    return fake, real


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [MixtureModes, SlicedWasserstein, FrechetDistance, DensityCoverage]
