import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ganbench import effects, stats
from ganbench.effects import effect
from ganbench.stats import Estimate

drawn = st.lists(st.integers(1, 10**6), min_size=20, max_size=20, unique=True)


def seeds(xs):
    return dict(enumerate(xs))


@given(drawn, st.integers(3, 10))
def test_the_effect_is_that_of_scipy(numbers, n):
    xs, ys = np.array(numbers[: 2 * n], dtype=float).reshape(2, n)
    assume(np.ptp(xs - ys) > 1e-3)
    found = effect(seeds(xs), seeds(ys), better="lower")
    test = scipy.stats.ttest_rel(xs, ys)
    assert found.p == pytest.approx(test.pvalue, rel=1e-5, abs=1e-12)
    low, high = test.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    u = scipy.stats.mannwhitneyu(ys, xs).statistic
    assert found.a12 == pytest.approx(u / len(xs) ** 2)
    assert found.correlation == pytest.approx(np.corrcoef(xs, ys)[0, 1], abs=1e-6)
    logs = scipy.stats.ttest_rel(np.log(xs), np.log(ys))
    assert effect(seeds(xs), seeds(ys), scale="ratio").p == pytest.approx(logs.pvalue, rel=1e-6, abs=1e-12)


@settings(max_examples=10)
@given(st.lists(st.integers(-1000, 1000), min_size=6, max_size=10))
def test_sign_flips_are_counted_as_scipy_counts_them(differences):
    exact = scipy.stats.permutation_test(
        (np.array(differences, dtype=float),), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert effects.sign_flip(differences) == pytest.approx(exact.pvalue)


def test_sign_flips_need_six_seeds_and_are_drawn_for_many():
    assert effects.sign_flip([1.0] * 5) is None
    assert effects.sign_flip([1.0] * 6) == 2 / 2**6
    assert effects.sign_flip([1.0 + i / 99 for i in range(30)]) == pytest.approx(2**-14)


@given(st.integers(0, 30), st.integers(1, 30))
def test_shares_have_wilsons_interval(k, n):
    k = min(k, n)
    found = effects.wilson(k, n)
    low, high = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_stepwise_rule_rejects(ps):
    adjusted = effects.holm(ps)
    rejected = set()
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        if ps[i] * (len(ps) - rank) > 0.05:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(adjusted) if p <= 0.05} == rejected
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted, strict=True))


def test_the_least_number_of_seeds_is_that_with_which_holm_can_reject():
    assert [effects.least_n(m) for m in (1, 3, 5, 10, 15, 45)] == [6, 7, 8, 9, 10, 11]
    for m in range(1, 200):
        n = effects.least_n(m)
        assert 2 ** (1 - n) <= 0.05 / m < 2 ** (2 - n)


def test_failures_are_worse_than_any_number_and_are_counted():
    found = effect({0: 1.0, 1: None, 2: 1.0, 3: None}, {0: 2.0, 1: 1e9, 2: None, 3: None}, better="lower")
    assert (found.n, found.pairs) == (1, 4)
    assert found.difference == Estimate(-1.0, None, None, 1)
    assert found.improved.mean == (1 + 0 + 1 + 0.5) / 4
    assert found.a12 == (2 * 4 + 2 * (0 + 0 + 0.5 + 0.5)) / 16
    assert found.p is None


def test_an_effect_of_nothing_in_common_says_nothing():
    found = effect({0: 1.0}, {1: 2.0}, better="higher")
    assert (found.n, found.difference, found.p, found.improved, found.a12) == (0, None, None, None, 0.0)
    assert found.better("higher") is None


def test_percentages_are_on_the_log_scale_and_only_of_positive_values():
    found = effect({0: 2.0, 1: 8.0}, {0: 1.0, 1: 1.0}, better="lower", scale="ratio")
    assert found.percent.mean == pytest.approx(300)  # four times as much
    assert found.scale == "ratio"
    assert found.better("lower") is False
    assert found.better("higher") is True
    fallen = effect({0: 0.0, 1: 8.0}, {0: 1.0, 1: 1.0}, scale="ratio")
    assert (fallen.percent, fallen.scale) == (None, "difference")


def test_pairing_saves_the_share_of_variance_that_the_correlation_says():
    rng = np.random.default_rng(1)
    common = rng.normal(size=20_000)
    xs, ys = (common * math.sqrt(0.6) + rng.normal(size=20_000) * math.sqrt(0.4) for _ in range(2))
    both = list(zip(xs.tolist(), ys.tolist(), strict=True))
    assert effects.correlation(both) == pytest.approx(0.6, abs=0.02)
    assert effects.saved(both) == pytest.approx(0.6, abs=0.02)
    assert effects.saved([(1.0, 1.0)] * 3) is None
    assert effects.correlation([(1.0, 1.0)] * 3) is None


def test_equivalence_is_two_one_sided_tests():
    rng = np.random.default_rng(2)
    for _ in range(20):
        xs = rng.normal(0.1, 1.0, size=8)
        wanted = max(
            scipy.stats.ttest_1samp(xs, 0.7, alternative="less").pvalue,
            scipy.stats.ttest_1samp(xs, -0.7, alternative="greater").pvalue,
        )
        assert effects.equivalence(stats.mean(xs), 0.7) == pytest.approx(wanted)
    assert effects.equivalence(stats.mean([0.1, 0.1]), 0.2) == 0.0
    assert effects.equivalence(stats.mean([0.1, 0.1]), 0.05) == 1.0
    assert effects.equivalence(stats.mean([0.1]), 0.2) is None


def test_repeated_measurements_differ_by_less_than_the_repeatability_limit_nineteen_times_in_twenty():
    rng = np.random.default_rng(3)
    limit = effects.repeatability(rng.normal(size=100_000))
    first, second = rng.normal(size=(2, 100_000))
    assert np.mean(np.abs(first - second) < limit) == pytest.approx(0.95, abs=0.005)
    assert effects.repeatability([1.0]) is None
    assert effects.repeatability([1.0, 1.0]) is None


def test_differences_that_are_all_one_number_have_the_p_of_sign_flips():
    for n in (2, 3, 6):
        assert effects.paired_t([-1.0] * n) == 2.0 ** (1 - n)
    assert effects.paired_t([-1.0] * 6) == effects.sign_flip([-1.0] * 6)
    assert effects.paired_t([0.0] * 3) == 1.0


def test_a_difference_is_beyond_the_margin_if_its_whole_interval_is():
    assert effects.beyond(Estimate(3.0, 2.0, 4.0, 3), 1.9)
    assert effects.beyond(Estimate(-3.0, -4.0, -2.0, 3), 1.9)
    assert not effects.beyond(Estimate(3.0, 1.0, 5.0, 3), 1.9)
    assert not effects.beyond(Estimate(3.0, None, None, 1), 1.9)
    assert not effects.beyond(Estimate(3.0, 2.0, 4.0, 3), None)
