"""Fréchet distances of features: as they are, extrapolated to infinitely many samples, and corrected for copies.

Everything is computed in float64. No matrix square root is taken: tr (S_f S_r)^(1/2) is the sum of the singular values
of a product of factors, and the factor of the real covariance is made once and kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ganbench import Bank, Component, ConfigError, Measure, Metric, Samples, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell

EXACT_UP_TO = 128
"""Dimension up to which "auto" factors the samples themselves, not their covariance."""
STRIP = 512
"""Rows of a triangular matrix that are multiplied at a time, without the zeros before them."""
Method: TypeAlias = Literal["auto", "exact", "fast"]


class FrechetDistance(Metric, name="frechet-distance", source="https://arxiv.org/abs/1706.08500"):
    """fd = |mu_f - mu_r|^2 + tr(S_f + S_r - 2 (S_f S_r)^(1/2)), with covariances S of divisor n - 1.

    The squared Wasserstein-2 distance of Gaussians with the moments of the features, in squared units of them.
    tr (S_f S_r)^(1/2) is the sum of the singular values of X Y' where S_f = X'X and S_r = Y'Y: no matrix square root,
    and right where there are fewer samples than dimensions. The value is biased upwards at small n: compare only
    values of one n. It is a "FID" only on features of the Inception network.

    ``exact`` never squares a sample: X and Y are the centred samples, or the triangle of their QR decomposition.
    ``fast`` takes roots of eigenvalues of Y S_f Y', where Y is made once; it is several times faster at thousands of
    dimensions and good to about 1e-8 of the traces. ``auto`` is exact up to 128 dimensions.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("fd", "lower"),)

    method: Method = field(default="auto", doc="auto, exact or fast")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        return {"fd": frechet(fake, real, self.method)}


class FrechetInfinity(Metric, name="frechet-infinity", source="https://arxiv.org/abs/1911.07023"):
    """fd_inf = the intercept of the line that fits fd(m) over 1 / m, for ``points`` sample sizes m of the fakes.

    fd is biased by about a constant over the number of fakes, so the intercept is what infinitely many fakes would
    read; the real side stays finite. The sizes are evenly spaced from min(5000, max(n / 10, 2)) to n, and
    each takes its own random subset. A fit over sizes far below the dimension of the features is no straight line.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("fd_inf", "lower"),)

    points: int = field(default=15, ge=2, doc="sample sizes of the fit")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        n = len(fake)
        fake.need(self.points + 1, "frechet-infinity")
        least = min(5000, max(n // 10, 2))
        sizes = torch.linspace(least, n, self.points, dtype=torch.float64).long()
        rows = fake.rows
        values = []
        for size in sizes.tolist():
            chosen = torch.randperm(n, generator=rng)[:size].to(rows.device)
            values.append(frechet(Bank(Samples(rows[chosen])), real))
        x, y = 1 / sizes.double(), torch.tensor(values, dtype=torch.float64)
        away = x - x.mean()
        slope = (away @ y) / away.square().sum()
        return {"fd_inf": (y.mean() - slope * x.mean()).item()}


class MemorizationFrechet(Metric, name="mifid", source="https://arxiv.org/abs/2106.03062"):
    """mifid = fd / (m + 1e-14), m = mean_f min_t (1 - |cos(f, t)|) over training samples t, or 1 where m >= threshold.

    The Fréchet distance, made large for generators whose samples are almost copies of training samples. Rows of zeros
    have no angle and are left out of m. Its floor is of held-out samples.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("mifid", "lower"),)
    held_out: ClassVar[bool] = True

    threshold: float = field(default=0.1, gt=0.0, doc="mean distance from which nothing is corrected")

    def mismatch(self, cell: Cell) -> str | None:
        return needs_training(self, cell)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        train = training_of(fake, self)
        distance = mean_angle(fake.rows, train.rows)
        return {"mifid": frechet(fake, real) / ((distance if distance < self.threshold else 1.0) + 1e-14)}


def frechet(fake: Bank, real: Bank, method: Method = "auto") -> float:
    """The Fréchet distance of two banks."""
    fake.need(2)
    real.need(2)
    fake.same_size(real)
    shift = (fake.mean - real.mean).square().sum()
    if method == "exact" or (method == "auto" and fake.rows.shape[1] <= EXACT_UP_TO):
        x, y = triangle(fake), triangle(real)
        traces = x.square().sum() + y.square().sum()
        cross = torch.linalg.svdvals(x @ y.T if len(x) <= len(y) else y @ x.T).sum()
    else:
        traces, cross = trace(fake) + trace(real), nuclear_norm(fake, real)
    value = (shift + traces - 2 * cross).item()
    # the distance is not negative; what is lost in the difference of traces is a few units in the last place
    return 0.0 if -1e-9 * traces.item() <= value < 0.0 else value


def triangle(bank: Bank) -> Tensor:
    """R [min(n, d), d] in float64 with R'R the covariance, and nothing squared on the way."""

    def make() -> Tensor:
        x = bank.centred
        if len(x) <= x.shape[1]:
            return x
        r: Tensor = torch.linalg.qr(x, mode="r").R
        return r

    return bank.kept("frechet-1 triangle", make)


def factor(bank: Bank) -> Tensor:
    """R [r, d] in float64, upper trapezoidal, with R'R the covariance: half of what multiplies with it is zero.

    Eigenvalues of the covariance that are rounding errors are left out: their roots would not be small.
    """

    def make() -> Tensor:
        half = bank.centred
        if len(bank) > bank.rows.shape[1]:
            values, vectors = torch.linalg.eigh(bank.covariance)
            kept = values > rounding(values)
            half = values[kept].sqrt()[:, None] * vectors[:, kept].T
        r: Tensor = torch.linalg.qr(half, mode="r").R
        return r

    return bank.kept("frechet-1 factor", make)


def trace(bank: Bank) -> Tensor:
    """Tr S."""
    return bank.centred.square().sum() if len(bank) <= bank.rows.shape[1] else bank.covariance.trace()


def nuclear_norm(fake: Bank, real: Bank) -> Tensor:
    """Tr (S_f S_r)^(1/2) by eigenvalues: of n x n matrices where there are fewer samples than dimensions."""
    r = factor(real)
    few = len(fake) <= fake.rows.shape[1]
    known = fake.centred if few else fake.covariance  # what they are made of has its own threads
    with blas(r.device):
        strips = [slice(i, i + STRIP) for i in range(0, len(r), STRIP)]
        if few:
            found = (
                torch.cat([times(known[:, s.start :], r[s, s.start :].T) for s in strips], 1) if len(r) else r[:, :0]
            )
            if found.shape[0] > found.shape[1]:
                found = found.T.contiguous()
            square = times(found, found.T)
        else:
            square = r.new_zeros(len(r), len(r))
            for s in strips:
                rows = times(r[s, s.start :], known[s.start :])
                for t in strips[s.start // STRIP :]:
                    square[s, t] = times(rows[:, t.start :], r[t, t.start :].T)
        values = eigenvalues(square)
    if not len(values):  # a real covariance of zero
        return torch.zeros((), dtype=torch.float64, device=square.device)
    roots: Tensor = torch.where(values > rounding(values), values, torch.zeros_like(values)).sqrt()
    return roots.sum()


def blas(device: torch.device) -> AbstractContextManager[object]:
    """Numpy's library with as many threads as torch has, where it computes."""
    from threadpoolctl import threadpool_limits

    if device.type != "cpu":
        return contextlib.nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(torch.get_num_threads(), user_api="blas")
    return limits


def times(a: Tensor, b: Tensor) -> Tensor:
    """A b; on the CPU by numpy, which computes half of a product with its own transpose."""
    if a.device.type != "cpu":
        return a @ b
    product: Tensor = torch.from_numpy(a.numpy() @ b.numpy())
    return product


def eigenvalues(square: Tensor) -> Tensor:
    """Of a symmetric matrix whose upper triangle is given, ascending; on the CPU by numpy, whose library is faster."""
    if square.device.type != "cpu":
        found: Tensor = torch.linalg.eigvalsh(square, UPLO="U")
        return found
    return torch.from_numpy(np.linalg.eigvalsh(square.numpy(), UPLO="U"))


def rounding(values: Tensor) -> Tensor:
    """The size below which an eigenvalue, of those given in ascending order, is a rounding error."""
    limit: Tensor = values[-1] * len(values) * torch.finfo(values.dtype).eps
    return limit


def mean_angle(x: Tensor, y: Tensor) -> float:
    """mean_i min_j (1 - |cos(x_i, y_j)|), in float64 and in blocks; rows of zeros are left out."""
    unit = []
    for z in (x, y):
        some = z[z.norm(dim=1) > 0].double()
        unit.append(some / some.norm(dim=1, keepdim=True))
    if not all(len(z) for z in unit):
        return 1.0
    step = max(1, 2**22 // len(unit[1]))
    nearest = [1 - (part @ unit[1].T).abs_().max(1).values for part in torch.split(unit[0], step)]
    return torch.cat(nearest).mean().item()


def training_of(fake: Bank, metric: Metric) -> Bank:
    """The bank of the training set.

    Raises:
        ConfigError: there is none.
    """
    train = fake.train
    if train is None:
        raise ConfigError(
            f"metric {metric.name} looks for copies of training samples, and there is no finite training set",
            hint="in Python give it with train=...; in a grid choose a dataset that is a set of samples",
        )
    fake.same_size(train)
    return train


def needs_training(metric: Metric, cell: Cell) -> str | None:
    """Why ``metric`` cannot look for copies in ``cell``: the data is a distribution."""
    if cell.dataset.spec().modes is None:
        return None
    return f"metric {metric.name} looks for copies of training samples, and {cell.dataset.name} never repeats one"


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [FrechetDistance, FrechetInfinity, MemorizationFrechet]
