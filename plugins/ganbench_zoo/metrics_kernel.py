"""Kernel distances: KID, CMMD and the squared maximum mean discrepancy of a Gaussian kernel.

Sums over pairs are taken in blocks and in float64. For few dimensions the cubic kernel needs no pairs at all: its sums
are those of moments of order one, two and three.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ganbench import Bank, Component, ConfigError, Measure, Metric, field, hookimpl

SIDE = 2048
"""Rows and columns of a block of pairs."""
SINGLE_FROM = 2**30
"""Multiplications (n m d) from which float32 features have float32 products; sums are always float64."""
SAMPLED = 1000
"""Real samples among which the median distance is looked up."""


class KID(Metric, name="kid", source="https://arxiv.org/abs/1801.01401"):
    """kid = E k(f, f') + E k(r, r') - 2 E k(f, r), k(x, y) = (x.y / d + 1)^3: the unbiased estimate over all pairs.

    It may be negative, and is so in half of all cases where both distributions are equal. kid_se is its standard
    error, from the variance of the row sums (the projection of the U-statistic). The usual mean over subsets has the
    same expectation and adds the noise of the choice; ``subsets = 100`` gives it, with the choice of
    torch-fidelity, and then kid_se is the standard deviation over subsets that it prints.

    The cubic kernel depends on the origin and the scale of the features: values compare for one extractor only.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("kid", "lower"), Measure("kid_se", None))

    subsets: int = field(default=0, ge=0, doc="number of random subsets; 0 takes all pairs")
    subset_size: int = field(default=1000, ge=2, doc="samples in a subset")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake.need(2)
        real.need(2)
        if self.subsets:
            return self._by_subsets(fake, real)
        fake.same_size(real)
        f, r = by_moment_sums(fake, real) if by_moments(fake, real) else by_pair_sums(fake, real)
        variance = 4 * f.var() / len(fake) + 4 * r.var() / len(real)
        return {"kid": (f.mean() + r.mean()).item(), "kid_se": variance.sqrt().item()}

    def _by_subsets(self, fake: Bank, real: Bank) -> Mapping[str, float]:
        m = self.subset_size
        fake.need(m, "a subset")
        real.need(m, "a subset")
        # the generator and its seed are those of torch-fidelity, so that the subsets are
        choose = np.random.RandomState(2020)
        values = []
        for _ in range(self.subsets):
            x, y = (b.rows[torch.from_numpy(choose.choice(len(b), m, replace=False))].double() for b in (fake, real))
            xx, yy, xy = (cubic(a, b) for a, b in ((x, x), (y, y), (x, y)))
            own = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (m * (m - 1))
            values.append((own - 2 * xy.mean()).item())
        return {"kid": float(np.mean(values)), "kid_se": float(np.std(values))}


class CMMD(Metric, name="cmmd", source="https://arxiv.org/abs/2401.09603"):
    """cmmd = 1000 (E k(f, f') + E k(r, r') - 2 E k(f, r)), k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), rows of norm 1.

    Expectations are over all pairs, those of a sample with itself included, as the authors' code has it (a biased
    estimate, never negative); ``unbiased`` leaves these out, as the paper's text has it. Meant for CLIP embeddings.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("cmmd", "lower"),)

    sigma: float = field(default=10.0, gt=0.0, doc="bandwidth")
    unbiased: bool = field(default=False, doc="leave out pairs of a sample with itself")
    normalize: bool = field(default=True, doc="scale rows to norm 1")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake.need(2)
        real.need(2)
        fake.same_size(real)

        def unit(bank: Bank) -> Tensor:
            x = bank.double
            return x / x.norm(dim=1, keepdim=True).clamp(min=1e-300) if self.normalize else x

        x, y = unit(fake), unit(real)
        name = f"cmmd-1 {self.sigma} {self.normalize}"
        within = [own_mean(fake, x, name, self.sigma), own_mean(real, y, name, self.sigma)]
        if not self.unbiased:
            within = [value * (len(z) - 1) / len(z) for value, z in zip(within, (x, y), strict=True)]
        return {"cmmd": 1000 * (sum(within) - 2 * cross_mean(x, y, self.sigma))}


class MMD(Metric, name="mmd", source="https://jmlr.org/papers/v13/gretton12a.html"):
    """mmd2 = E k(f, f') + E k(r, r') - 2 E k(f, r), k(x, y) = exp(-|x - y|^2 / (2 sigma^2)): unbiased, over all pairs.

    ``sigma = 0`` takes the median distance between real samples (the first 1000), which is the same for all
    fakes that are held against them. The value may be negative.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("mmd2", "lower"),)

    sigma: float = field(default=0.0, ge=0.0, doc="bandwidth; 0: the median distance of real samples")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        fake.need(2)
        real.need(2)
        fake.same_size(real)
        sigma = self.sigma or median_distance(real)
        if not sigma:
            raise ConfigError("the median distance of real samples is 0", hint="give metric mmd its sigma")
        name = f"mmd-1 {sigma}"
        within = own_mean(fake, fake.double, name, sigma) + own_mean(real, real.double, name, sigma)
        return {"mmd2": within - 2 * cross_mean(fake.double, real.double, sigma)}


# -- the cubic kernel -----------------------------------------------------------------------------------------


def cubic(x: Tensor, y: Tensor) -> Tensor:
    """(x_i . y_j / d + 1)^3 [n, m]."""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base * base * base


def by_pair_sums(fake: Bank, real: Bank) -> tuple[Tensor, Tensor]:
    """For each f_i its mean kernel with the other fakes less that with real samples [n]; and back for each r_j [m]."""
    cross_f, cross_r = pair_sums(*_precise(fake, real), cubic)
    own_f, own_r = (cubic_self(bank) / (len(bank) - 1) for bank in (fake, real))
    return own_f - cross_f / len(real), own_r - cross_r / len(fake)


def cubic_self(bank: Bank) -> Tensor:
    """sum_{j != i} k(x_i, x_j) [n], in float64."""

    def make() -> Tensor:
        rows, columns = pair_sums(*_precise(bank, bank), cubic, symmetric=True)
        return rows + columns - _diagonal(bank)

    return bank.kept("kid-1 own", make)


def _diagonal(bank: Bank) -> Tensor:
    """k(x_i, x_i) [n]."""
    squares = torch.cat([part.double().square().sum(1) for part in torch.split(bank.rows, SIDE)])
    return (squares / bank.rows.shape[1] + 1) ** 3


def by_moments(x: Bank, y: Bank) -> bool:
    """Whether moments of order three are fewer operations than pairs."""
    d = x.rows.shape[1]
    return d * d * (len(x) + len(y)) < len(x) * len(y)


@dataclasses.dataclass(frozen=True)
class CubicMoments:
    """Sums over the rows y / d^(1/2) of a set: their number, y, the products y_a y_b (a <= b), and these times y."""

    n: float
    first: Tensor
    second: Tensor
    third: Tensor

    def combined(self, a: float, b: float, other: CubicMoments) -> CubicMoments:
        """A times these moments and b times the others."""
        return CubicMoments(
            a * self.n + b * other.n,
            a * self.first + b * other.first,
            a * self.second + b * other.second,
            a * self.third + b * other.third,
        )


def _products(bank: Bank) -> list[tuple[Tensor, Tensor]]:
    """The rows x / d^(1/2) [k, d] in parts, and their products x_a x_b for a <= b [k, d (d + 1) / 2]; kept if small."""
    size = bank.rows.shape[1]
    a, b = torch.triu_indices(size, size, device=bank.rows.device)
    step = max(1, 2**20 // len(a))

    def make() -> Iterable[tuple[Tensor, Tensor]]:
        for part in torch.split(bank.rows, step):
            # coordinates as rows: what is gathered then lies together
            x = (part.double() / math.sqrt(size)).T.contiguous()
            yield x, x[a] * x[b]

    if len(bank) * len(a) <= 2**24:
        return bank.once("kid products", lambda: list(make()))
    return make()  # type: ignore[return-value] # it is gone through once


def cubic_moments(bank: Bank) -> CubicMoments:
    """The moments of a bank, once."""

    def make() -> CubicMoments:
        first = second = third = torch.zeros((), dtype=torch.float64, device=bank.rows.device)
        for x, products in _products(bank):
            first, second, third = first + x.sum(1), second + products.sum(1), third + products @ x.T
        return CubicMoments(len(bank), first, second, third)

    return bank.once("kid moments", make)


def moment_sums(bank: Bank, moments: CubicMoments) -> Tensor:
    """sum_j k(x_i, y_j) [n] = m + 3 x.s1 + 3 x'S2 x + S3[x, x, x], with the moments of y."""
    size = bank.rows.shape[1]
    a, b = torch.triu_indices(size, size, device=bank.rows.device)
    twice = torch.where(a == b, 1.0, 2.0).double()  # a product of different coordinates stands for two
    second, third = moments.second * twice, (moments.third * twice[:, None]).T.contiguous()
    sums = []
    for x, products in _products(bank):
        sums.append(moments.n + 3 * (moments.first @ x + second @ products) + (third @ products * x).sum(0))
    return torch.cat(sums)


def by_moment_sums(fake: Bank, real: Bank) -> tuple[Tensor, Tensor]:
    """:func:`by_pair_sums` without pairs: a difference of sums is a sum with a difference of moments."""
    found = []
    for bank, other in ((fake, real), (real, fake)):
        less = cubic_moments(bank).combined(1 / (len(bank) - 1), -1 / len(other), cubic_moments(other))
        found.append(moment_sums(bank, less) - _diagonal(bank) / (len(bank) - 1))
    return found[0], found[1]


# -- pairs --------------------------------------------------------------------------------------------------


def pair_sums(
    x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], *, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    """Sums of a kernel over rows [n] and columns [m] of all pairs of x [n, d] and y [m, d], in float64 and in blocks.

    With ``symmetric``, y is x, and the two results add up to the sum over all pairs of a row.
    """
    rows, columns = (torch.zeros(len(z), dtype=torch.float64, device=x.device) for z in (x, y))
    for i in range(0, len(x), SIDE):
        for j in range(i if symmetric else 0, len(y), SIDE):
            block = kernel(x[i : i + SIDE], y[j : j + SIDE])
            rows[i : i + SIDE] += block.sum(1, dtype=torch.float64)
            if not (symmetric and i == j):
                columns[j : j + SIDE] += block.sum(0, dtype=torch.float64)
    return rows, columns


def _precise(x: Bank, y: Bank) -> tuple[Tensor, Tensor]:
    """The rows in float32 where that saves much and costs no digit that matters, else in float64."""
    d = x.rows.shape[1]
    much = len(x) * len(y) * d >= SINGLE_FROM and x.rows.dtype == y.rows.dtype == torch.float32
    # the cube of a large product has no digits to lose
    if much and max(z.mean.square().sum().item() for z in (x, y)) <= 100 * d:
        return x.rows, y.rows
    return x.double, y.double


def _gaussian(sigma: float, centre: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """exp(-|x - y|^2 / (2 sigma^2)) - 1: the constant cancels in a discrepancy, and takes the digits with it."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        x, y = x - centre, y - centre
        squares = (x @ y.T).mul_(-2).add_(y.square().sum(1)).add_(x.square().sum(1)[:, None]).clamp_(min=0)
        return squares.mul_(-1 / (2 * sigma**2)).expm1_()

    return kernel


def own_mean(bank: Bank, x: Tensor, name: str, sigma: float) -> float:
    """mean_{i != j} k(x_i, x_j) - 1, once for each bank."""

    def make() -> Tensor:
        rows, columns = pair_sums(x, x, _gaussian(sigma, x.mean(0)), symmetric=True)
        return (rows + columns).sum() / (len(x) * (len(x) - 1))

    return bank.kept(f"{name} own", make).item()


def cross_mean(x: Tensor, y: Tensor, sigma: float) -> float:
    """mean_ij k(x_i, y_j) - 1."""
    rows, _ = pair_sums(x, y, _gaussian(sigma, y.mean(0)))
    return rows.sum().item() / (len(x) * len(y))


def median_distance(real: Bank) -> float:
    """The median distance among the first real samples."""
    return real.once("median distance", lambda: torch.pdist(real.rows[:SAMPLED].double()).median().item())


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [KID, CMMD, MMD]
