import numpy as np
import pytest
import scipy.stats

from ganbench.factors import interaction, within_blocks


def blocks(array):
    """[blocks, seeds] as blocks by name."""
    return {f"b{i}": dict(enumerate(map(float, row))) for i, row in enumerate(array)}


def test_a_seed_is_one_observation_however_many_blocks_it_has():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 6))
    found = within_blocks(blocks(a), blocks(b), better="lower")
    test = scipy.stats.ttest_rel(a.mean(0), b.mean(0))
    assert found.effect.n == 6
    assert found.effect.p == pytest.approx(test.pvalue)
    signs = np.sign((a - b).mean(1))
    assert (found.better, found.worse, found.cells) == ((signs < 0).sum(), (signs > 0).sum(), 9)
    assert found.effect.improved.mean == pytest.approx((a < b).mean())
    assert found.effect.improved.n == 6


def test_ratios_are_averaged_as_logarithms():
    rng = np.random.default_rng(1)
    a, b = np.exp(rng.normal(size=(2, 4, 5)))
    found = within_blocks(blocks(a), blocks(b), better="lower", scale="ratio")
    logs = np.log(a / b).mean(0)
    assert found.effect.percent.mean == pytest.approx(100 * np.expm1(logs.mean()))
    assert found.effect.p == pytest.approx(scipy.stats.ttest_1samp(logs, 0).pvalue)
    assert found.effect.difference.mean == pytest.approx((a - b).mean())


def test_a_block_with_a_failure_is_left_out_of_the_mean_and_counted():
    level = {"easy": {0: 1.0, 1: 2.0}, "hard": {0: 50.0, 1: None}, "dead": {0: None, 1: None}}
    base = {"easy": {0: 2.0, 1: 4.0}, "hard": {0: 60.0, 1: 70.0}, "dead": {0: 9.0, 1: 9.0}, "other": {0: 1.0}}
    found = within_blocks(level, base, better="lower")
    assert found.used == ("easy",)
    assert found.effect.difference.mean == -1.5
    assert (found.better, found.worse, found.cells) == (2, 1, 3)
    assert (found.failed, found.failed_baseline) == (3, 0)
    assert found.effect.improved.mean == 3 / 6


def test_without_a_complete_block_all_pairs_count():
    found = within_blocks({"b": {0: 1.0, 1: None}}, {"b": {0: 2.0, 1: 3.0}}, better="lower")
    assert found.used == ()
    assert found.effect.n == 1
    assert found.effect.pairs == 2
    assert within_blocks({"b": {}}, {"c": {}}) is None


def test_an_interaction_is_a_difference_of_effects():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 4, 6))
    a[0] += 5
    found = interaction(blocks(a), blocks(b), {"b0"})
    seeds = (a - b)[0] - (a - b)[1:].mean(0)
    assert found.mean == pytest.approx(seeds.mean())
    assert found.low > 0
    assert interaction(blocks(a), blocks(b), set()) is None
    ratio = interaction(blocks(np.exp(a)), blocks(np.exp(b)), {"b0"}, scale="ratio")
    assert ratio.mean == pytest.approx(100 * np.expm1(seeds.mean()))
