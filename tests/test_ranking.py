import numpy as np
import pytest
import scipy.stats

from ganbench import ranking


def test_ranks_are_those_of_scipy_and_failures_rank_worst():
    scores = np.random.default_rng(0).integers(5, size=(6, 8)).astype(float)
    assert ranking.ranked(scores) == pytest.approx(scipy.stats.rankdata(scores, axis=0))
    assert ranking.ranked(np.array([np.nan, 3.0, np.inf, 1.0])).tolist() == [3.5, 2, 3.5, 1]


def test_friedmans_test_is_that_of_scipy():
    scores = np.random.default_rng(1).integers(4, size=(3, 12, 1)).astype(float)
    found = ranking.mean_ranks(scores)
    wanted = scipy.stats.friedmanchisquare(*scores[:, :, 0])
    assert (found.statistic, found.p) == pytest.approx((wanted.statistic, wanted.pvalue))
    assert found.blocks == 12
    assert sum(m.mean for m in found.means) == pytest.approx(6)
    turned = ranking.mean_ranks(-scores, better="higher")
    assert turned == found


def test_few_blocks_have_ranks_without_intervals():
    found = ranking.mean_ranks(np.array([[[1.0]], [[2.0]]]))
    assert [(m.mean, m.low) for m in found.means] == [(1, None), (2, None)]
    assert found.p is None
    assert ranking.mean_ranks(np.ones((2, 7, 1))).statistic is None


def test_the_interquartile_mean_is_the_trimmed_mean():
    values = np.random.default_rng(2).normal(size=(5, 9))
    assert ranking.iqm(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=None))
    values[0, :3] = np.nan
    assert np.isfinite(ranking.iqm(values))


def test_resampling_keeps_what_the_seeds_of_methods_share():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=(1, 10, 4))
    scores = np.concatenate([shared, shared - 1])
    differences = ranking.joint(scores, lambda x: x[:, 0].mean((1, 2)) - x[:, 1].mean((1, 2)), draws=50)
    assert differences == pytest.approx(np.ones(50))
    first, second = ranking.iqms(scores, draws=100)
    assert first.mean - second.mean == pytest.approx(1)
    assert first.low - second.low == pytest.approx(1)
    assert ranking.iqms(scores[:, :4])[0].low is None  # sixteen values
    assert ranking.iqms(rng.normal(size=(2, 30, 1)))[0].low is None  # one seed says nothing of seeds
    none, less = ranking.iqms(scores, base=0, draws=100)
    assert (none.low, none.mean, none.high) == (0, 0, 0)
    assert (less.low, less.mean, less.high) == pytest.approx((-1, -1, -1))


def test_a_profile_falls_short_of_one_by_the_failures():
    scores = np.arange(20.0).reshape(1, 5, 4).copy()
    scores[0, 0, 0] = np.nan
    shares, low, high = ranking.profile(scores, np.array([-1.0, 9.0, 1e9]), draws=200)
    assert shares.tolist() == [[0, 0.45, 0.95]]
    assert (low <= shares).all()
    assert (shares <= high).all()
    assert ranking.profile(scores[:, :2], np.array([1.0]))[1] is None
