"""Optimal transport: Wasserstein-2 distances along random directions, along the worst one, and exact.

All compute in float64 and use no randomness but ``rng``. Shapes: fake [n, d] and real [m, d], after flattening.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ganbench import Bank, Component, Measure, Metric, field, hookimpl

CHUNK = 64
"""Directions at a time."""
REMEMBERED = 2**24
"""Numbers up to which the sorted projections of real samples stay in memory between evaluations."""


class SlicedWasserstein(Metric, name="sliced-wasserstein", source="https://arxiv.org/abs/1902.00434"):
    """sw2 = (E_u W2(u.fake, u.real)^2)^(1/2), u uniform on the unit sphere, in units of the data.

    W2 on the line is exact for any two sample sizes: the L2 distance of the quantile functions. The expectation
    is a mean over ``projections`` directions; data on the line needs one, and then sw2 is W2 itself. The value
    is above 0 for two samples of one distribution, the more so the fewer they are.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("sw2", "lower"),)

    projections: int = field(default=200, ge=1, doc="random directions")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        directions = unit_vectors(self.projections, fake.rows.shape[1], rng)
        squares = [
            w2_sorted(sorted_along(u, fake), sorted_along(u, real, remember=directions.shape[0] * len(real)))
            for u in torch.split(directions, CHUNK)
        ]
        return {"sw2": torch.cat(squares).mean().sqrt().item()}


class MaxSlicedWasserstein(Metric, name="max-sliced-wasserstein", source="https://arxiv.org/abs/1904.05877"):
    """msw2 = max_u W2(u.fake, u.real) over unit vectors u, in units of the data: a lower bound, found by ascent.

    From the best of ``projections`` random directions, u goes to the direction of M u, where W2^2 = u'M u for the
    pairing that sorts along u; the best direction of ``steps`` such moves counts. ``steps = 0`` is the best random
    direction. Of unequal sample sizes the larger set is cut.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("msw2", "lower"),)

    projections: int = field(default=200, ge=1, doc="random directions to begin with")
    steps: int = field(default=30, ge=0, doc="moves of the ascent")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        directions = unit_vectors(self.projections, fake.rows.shape[1], rng)
        n = min(len(fake), len(real))
        x, y = fake.double[:n], real.double[:n]
        squares = torch.cat(
            [w2_sorted(ascending(u @ x.T), ascending(u @ y.T)) for u in torch.split(directions.to(x.device), CHUNK)]
        )
        best = squares.max()
        u = directions[int(squares.argmax())].to(x.device)
        for _ in range(self.steps):
            paired = x[(x @ u).argsort()] - y[(y @ u).argsort()]
            moved = paired.T @ (paired @ u)
            if not moved.any():
                break
            u = moved / moved.norm()
            best = torch.maximum(best, w2_sorted(ascending((x @ u)[None]), ascending((y @ u)[None]))[0])
        return {"msw2": best.sqrt().item()}


class Wasserstein(Metric, name="wasserstein", source="https://arxiv.org/abs/1803.00567"):
    """w2 = (min over pairings of mean |f_i - r_p(i)|^2)^(1/2), exact, in units of the data.

    The first ``limit`` samples of each side are paired, at most; on the line all are. The value is far above 0 for two
    samples of one distribution in more than a few dimensions: hold it against its floor, at one n. No entropy is
    added to the problem.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("w2", "lower"),)

    limit: int = field(default=2000, ge=1, doc="samples of each side that are paired at most")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        if fake.rows.shape[1] == 1:
            squares = w2_sorted(*(ascending(b.double.T) for b in (fake, real)))
            return {"w2": squares[0].sqrt().item()}
        n = min(self.limit, len(fake), len(real))
        for bank in (fake, real):
            if len(bank) > n:
                bank.note(f"w2 is of the first {n} of {len(bank)} {bank.side} samples")
        return {"w2": math.sqrt(assignment(fake.rows[:n].double(), real.rows[:n].double()))}


def assignment(x: Tensor, y: Tensor) -> float:
    """Min over pairings of mean_i |x_i - y_p(i)|^2, for x and y [n, d].

    What is subtracted from a row or a column of the costs is paid by every pairing, so the smallest of each goes
    first: the search for the best pairing begins nearer to its end.
    """
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square().cpu().numpy()
    reduced = cost - cost.min(axis=1, keepdims=True)
    reduced -= reduced.min(axis=0, keepdims=True)
    rows, columns = linear_sum_assignment(reduced)
    return float(cost[rows, columns].mean())


def unit_vectors(number: int, size: int, rng: torch.Generator) -> Tensor:
    """[number, size] uniform on the unit sphere; on the line one."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    directions = torch.randn(number, size, dtype=torch.float64, generator=rng)
    unit: Tensor = directions / directions.norm(dim=1, keepdim=True)
    return unit


def sorted_along(directions: Tensor, bank: Bank, *, remember: int = REMEMBERED + 1) -> Tensor:
    """The projections [p, n] on directions [p, d], each row ascending; remembered if there are few in all."""

    def make() -> Tensor:
        return ascending(directions.to(bank.rows.device) @ bank.double.T)

    if remember > REMEMBERED:
        return make()
    return bank.once(("sorted", hashlib.sha256(directions.numpy().tobytes()).digest()), make)


def ascending(x: Tensor) -> Tensor:
    """The rows of ``x [p, n]`` sorted; numpy's sort is several times faster on a CPU."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.detach().numpy(), axis=1))
    return x.sort(1).values


def w2_squared(a: Tensor, b: Tensor) -> Tensor:
    """``int_0^1 (A^-1(q) - B^-1(q))^2 dq`` [p] of the empirical distributions in each row of a [p, n] and b [p, m]."""
    return w2_sorted(ascending(a), ascending(b))


def w2_sorted(a: Tensor, b: Tensor) -> Tensor:
    """:func:`w2_squared` of rows that are sorted.

    The quantile functions are steps that change at multiples of 1/n and 1/m; the integral is a sum over the
    intervals between these, n + m at most.
    """
    n, m = a.shape[1], b.shape[1]
    if n == m:
        return (a - b).square().mean(1)
    # in units of 1 / (n m), so that equal breakpoints are equal numbers
    ends = torch.unique(torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]))
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    weights = ((ends - starts).to(a.dtype) / (n * m)).to(a.device)
    i, j = (starts // m).to(a.device), (starts // n).to(a.device)
    squares: Tensor = (a[:, i] - b[:, j]).square() @ weights
    return squares


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [SlicedWasserstein, MaxSlicedWasserstein, Wasserstein]
