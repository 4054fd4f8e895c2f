import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ganbench import stats

# thousandths: scipy's own reference overflows on subnormal spreads
values = st.lists(st.integers(-(10**9), 10**9).map(lambda k: k / 1000), min_size=2, max_size=20, unique=True)


@given(values)
def test_the_mean_and_its_interval_are_those_of_scipy(xs):
    ours = stats.mean(xs)
    n = len(xs)
    low, high = scipy.stats.t.interval(0.95, n - 1, loc=np.mean(xs), scale=scipy.stats.sem(xs))
    scale = max(map(abs, xs))
    assert ours.n == n
    assert ours.mean == pytest.approx(np.mean(xs), abs=1e-12 * scale)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_mean_of_normal_data_as_often_as_it_says(n):
    draws = np.random.default_rng(n).normal(3.0, 2.0, size=(4_000, n)).tolist()
    covered = np.mean([e.low <= 3.0 <= e.high for e in map(stats.mean, draws)])
    assert 0.94 <= covered <= 0.96  # 0.95 with a standard error of 0.0035


def test_one_seed_gives_no_interval_and_none_gives_no_mean():
    one = stats.mean([2.5])
    assert (one.mean, one.low, one.high, one.half, one.n) == (2.5, None, None, None, 1)
    assert stats.mean([]) is None
    assert stats.mean([math.nan, math.inf]) is None


def test_equal_values_have_exactly_their_mean():
    assert stats.mean([0.1, 0.1, 0.1]) == stats.Estimate(0.1, 0.1, 0.1, 3)


def test_values_that_are_not_finite_are_left_out_and_not_counted():
    assert stats.mean([1.0, math.nan, 3.0, math.inf]) == stats.mean([1.0, 3.0])


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=10, unique=True))
def test_the_geometric_mean_is_that_of_scipy_and_its_interval_is_positive(xs):
    ours = stats.geometric_mean(xs)
    assert ours.mean == pytest.approx(scipy.stats.gmean(xs))
    assert 0 < ours.low <= ours.mean * (1 + 1e-9)


@given(values, st.floats(-100, 100))
def test_the_paired_difference_ignores_what_the_seeds_share(xs, shift):
    base = dict(enumerate(xs))
    moved = {seed: x + shift for seed, x in base.items()}
    difference = stats.difference(moved, base)
    assert difference.mean == pytest.approx(shift, abs=1e-6)
    assert difference.half == pytest.approx(0, abs=1e-6)


def test_the_paired_difference_has_the_interval_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7))
    low, high = scipy.stats.ttest_rel(a, b).confidence_interval()
    ours = stats.difference(dict(enumerate(a)), dict(enumerate(b)) | {99: 1e9})
    assert (ours.low, ours.high, ours.n) == (pytest.approx(low), pytest.approx(high), 7)


def test_a_ratio_is_paired_on_the_log_scale():
    base = {0: 1.0, 1: 10.0, 2: 100.0}
    slower = {0: 2.0, 1: 21.0, 2: 190.0, 7: 5.0}
    ours = stats.ratio(slower, base)
    logs = np.log([2.0, 2.1, 1.9])
    low, high = scipy.stats.t.interval(0.95, 2, loc=logs.mean(), scale=scipy.stats.sem(logs))
    assert ours.mean == pytest.approx(math.exp(logs.mean()))
    assert (ours.low, ours.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert ours.n == 3
    inverse = stats.ratio(base, slower)
    assert (inverse.mean, inverse.low) == pytest.approx((1 / ours.mean, 1 / ours.high))


def test_a_ratio_without_a_common_seed_has_no_interval():
    assert stats.ratio({0: 6.0}, {1: 2.0, 2: 4.5}) == stats.Estimate(pytest.approx(2.0), None, None, 1)
    assert stats.ratio({}, {1: 2.0}) is None
    assert stats.ratio({0: 1.0}, {0: 0.0}) is None


def test_seeds_that_were_timed_together_count_as_one_measurement():
    assert stats.once({0: 1.5, 1: 1.5, 2: 1.5}) == {0: 1.5}
    assert stats.once({0: 1.5, 1: 1.5, 2: 1.6}) == {0: 1.5, 1: 1.5, 2: 1.6}
    fused = stats.ratio({0: 3.0, 1: 3.0}, {0: 2.0, 1: 2.0})
    assert (fused.mean, fused.low, fused.n) == (pytest.approx(1.5), None, 1)


def test_values_that_are_wild_but_finite_have_finite_intervals() -> None:
    above, below = {0: 1e38, 1: 1.0}, {0: 1e-3, 1: 1e30}
    for estimate in (stats.ratio(above, below), stats.geometric_mean([1e-300, 1e300])):
        assert estimate is not None
        assert estimate.high is not None
        assert 1e300 < estimate.high < math.inf
