"""Optimal transport against exact fractions, pairings and analytic distances."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measured, normal

from ganbench_zoo.metrics_transport import MaxSlicedWasserstein, SlicedWasserstein, Wasserstein, w2_squared


def sw2(fake, real, **fields) -> float:
    return measured(SlicedWasserstein(**fields), fake, real)["sw2"]


def w2(fake, real, **fields) -> float:
    return measured(Wasserstein(**fields), fake, real)["w2"]


def msw2(fake, real, **fields) -> float:
    return measured(MaxSlicedWasserstein(**fields), fake, real)["msw2"]


def quantile_integral(a: list[float], b: list[float]) -> float:
    """W2^2 on the line by exact fractions: both quantile functions, interval by interval."""
    a, b = sorted(a), sorted(b)
    ends = sorted({Fraction(i, len(a)) for i in range(len(a) + 1)} | {Fraction(j, len(b)) for j in range(len(b) + 1)})
    total = Fraction(0)
    for left, right in itertools.pairwise(ends):
        x, y = Fraction(a[math.floor(left * len(a))]), Fraction(b[math.floor(left * len(b))])
        total += (right - left) * (x - y) ** 2
    return float(total)


numbers = st.lists(st.integers(-1000, 1000).map(lambda i: i / 8), min_size=1, max_size=12)


@given(numbers, numbers)
@settings(max_examples=80, deadline=None)
def test_the_line_is_exact_for_any_two_sample_sizes(a, b):
    x, y = (torch.tensor(v, dtype=torch.float64)[None] for v in (a, b))
    assert w2_squared(x, y).item() == pytest.approx(quantile_integral(a, b), rel=1e-12, abs=1e-12)
    assert sw2(x.T, y.T) == pytest.approx(math.sqrt(quantile_integral(a, b)), rel=1e-12, abs=1e-9)


def test_equal_sizes_agree_with_the_optimal_assignment():
    from scipy.optimize import linear_sum_assignment

    x, y = normal(30), 2 * normal(30, seed=1) + 1
    cost = (x[:, None] - y).square()
    rows, columns = linear_sum_assignment(cost)
    assert w2_squared(x[None], y[None]).item() == pytest.approx(cost[rows, columns].mean().item(), rel=1e-12)


@given(st.integers(2, 6), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_repeating_every_sample_changes_nothing(d, n, times):
    x, y = normal(n, d), normal(n + 3, d, seed=1) * 2
    assert sw2(x.repeat(times, 1), y) == pytest.approx(sw2(x, y), rel=1e-10)


def test_a_shift_costs_its_mean_projection():
    # W2 along u is |u.v|, and E (u.v)^2 = |v|^2 / d
    for d in (2, 5):
        x, v = normal(200, d), torch.arange(1.0, d + 1, dtype=torch.float64)
        expected = (v.square().sum() / d).sqrt().item()
        assert sw2(x + v, x, projections=20_000) == pytest.approx(expected, rel=0.02)


def test_scaling_the_space_scales_the_distance():
    x, y = normal(50, 3), normal(60, 3, seed=1)
    assert sw2(7 * x, 7 * y) == pytest.approx(7 * sw2(x, y), rel=1e-12)


def test_equal_sets_have_distance_zero_and_both_directions_agree():
    x, y = normal(50, 3), normal(60, 3, seed=1)
    assert sw2(x, x.flip(0)) < 1e-15
    assert sw2(x, y) == pytest.approx(sw2(y, x), rel=1e-12)


def test_directions_come_from_the_stream_and_many_agree():
    x, y = normal(50, 8), normal(50, 8, seed=1) + 1
    one, other = (measured(SlicedWasserstein(), x, y, seed=s)["sw2"] for s in (0, 1))
    assert one != other
    assert one == pytest.approx(other, rel=0.1)


# -- exact -------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_exact_distance_is_the_best_of_all_pairings(n, d, seed):
    x, y = normal(n, d, seed=seed), normal(n, d, seed=seed + 100) * 2
    cost = (x[:, None] - y).square().sum(2)
    best = min(sum(cost[i, j].item() for i, j in enumerate(p)) for p in itertools.permutations(range(n)))
    assert w2(x, y) == pytest.approx(math.sqrt(best / n), rel=1e-12)


def test_a_shift_costs_its_length_and_order_costs_nothing():
    x = normal(60, 5)
    assert w2(x + 3, x.flip(0)) == pytest.approx(3 * math.sqrt(5), rel=1e-12)
    assert w2(x, x.flip(0)) == 0


def test_the_line_takes_any_two_sample_sizes():
    assert w2(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.5], [1.0]])) == pytest.approx(
        math.sqrt(quantile_integral([0.0, 1.0], [0.0, 0.5, 1.0]))
    )


def test_more_samples_than_the_limit_are_cut_and_said_to_be():
    from ganbench import Bank, stream

    fake, real = Bank(normal(30, 2)), Bank(normal(40, 2, seed=1), side="real")
    found = Wasserstein(limit=20).measured(fake, real, stream(0, "eval"))["w2"]
    assert found == pytest.approx(w2(normal(30, 2)[:20], normal(40, 2, seed=1)[:20]))
    assert fake.notes == ["w2 is of the first 20 of 30 fake samples"]


# -- the worst direction -----------------------------------------------------------------------------------


def test_the_worst_direction_of_a_shift_is_the_shift():
    x, v = normal(100, 12), torch.arange(1.0, 13, dtype=torch.float64)
    assert msw2(x + v, x, steps=0) < msw2(x + v, x) == pytest.approx(v.norm().item(), rel=1e-9)


def test_the_worst_direction_is_above_the_mean_of_them_and_below_the_exact_distance():
    x, y = normal(80, 6), 1.5 * normal(80, 6, seed=1) + 0.5
    assert sw2(x, y) < msw2(x, y, steps=0) <= msw2(x, y) <= w2(x, y)


def test_a_stretch_along_one_axis_is_found():
    x = normal(3000, 4)
    y = normal(3000, 4, seed=1) * torch.tensor([1.0, 1.0, 4.0, 1.0], dtype=torch.float64)
    along = w2_squared(x[:, 2][None], y[:, 2][None]).sqrt().item()
    assert msw2(x, y, projections=50) == pytest.approx(along, rel=0.02)


def test_equal_sets_have_no_worst_direction():
    assert msw2(normal(30, 3), normal(30, 3).flip(0)) < 1e-14
