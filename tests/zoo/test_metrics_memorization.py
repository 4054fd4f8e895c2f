"""Copies of training samples: against loops, scipy's rank test, and generators that copy or do not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from measuring import measured, normal

from ganbench import ConfigError
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.metrics_memorization import CT, AuthPct, rank_z


def naive_authpct(fake: np.ndarray, train: np.ndarray) -> float:
    authentic = 0
    for f in fake:
        gaps = np.linalg.norm(train - f, axis=1)
        nearest = int(gaps.argmin())
        own = np.linalg.norm(train - train[nearest], axis=1)
        own[nearest] = np.inf
        authentic += gaps[nearest] > own.min()
    return 100 * authentic / len(fake)


@pytest.mark.parametrize("d", [1, 3, 30])
def test_authpct_agrees_with_loops(d):
    fake, train = normal(40, d) * 0.9, normal(50, d, seed=1)
    found = measured(AuthPct(), fake, fake, train=train)["authpct"]
    assert found == pytest.approx(naive_authpct(fake.numpy(), train.numpy()))


def test_copies_are_not_authentic_and_held_out_samples_are_about_half_of_the_time():
    train, held = normal(1500, 5), normal(1500, 5, seed=1)
    assert measured(AuthPct(), train[:200], held, train=train)["authpct"] == 0
    assert measured(AuthPct(), train[:200] + 1e-6, held, train=train)["authpct"] == 0
    assert measured(AuthPct(), held, held, train=train)["authpct"] == pytest.approx(50, abs=8)
    assert measured(AuthPct(), held + 50, held, train=train)["authpct"] == 100


def test_the_rank_statistic_is_that_of_scipy():
    a, b = normal(40) + 0.3, normal(30, seed=1)
    b[:5] = a[:5]  # ties count one half
    u = scipy.stats.mannwhitneyu(a, b).statistic
    assert rank_z(a, b) == pytest.approx((u - 600) / np.sqrt(1200 * 71 / 12))


def ct(fake, held, train, **fields) -> float:
    return measured(CT(**fields), fake, held, train=train)["ct"]


def test_one_cell_is_the_rank_statistic_of_distances_to_the_training_set():
    train, held, fake = (normal(n, 4, seed=s) for n, s in ((90, 0), (80, 1), (70, 2)))
    gaps = [torch.cdist(x, train).min(1).values for x in (fake, held)]
    assert ct(fake, held, train, cells=1) == pytest.approx(rank_z(*gaps))


@pytest.mark.parametrize("d", [3, 80])
def test_copies_are_far_below_zero_noise_far_above_and_held_out_samples_near(d):
    train, held, fresh = (normal(300, d, seed=s) for s in (0, 1, 2))
    assert ct(train[:200] + 0.01 * normal(200, d, seed=3), held, train) < -8
    assert abs(ct(fresh, held, train)) < 3
    assert ct(3 * fresh, held, train) > 8


def test_cells_with_too_few_fakes_are_left_out_and_none_is_an_error():
    train, held = normal(100, 2), normal(100, 2, seed=1)
    with pytest.raises(ConfigError, match="no cell of ct has 20 fakes"):
        ct(normal(5, 2), held, train)
    with pytest.raises(ConfigError, match="no finite training set"):
        measured(CT(), held, held)


def test_distributions_are_never_copied():
    for metric in (AuthPct(), CT()):
        assert metric.held_out
        assert "ring never repeats one" in metric.mismatch(SimpleNamespace(dataset=Ring()))
        assert metric.mismatch(SimpleNamespace(dataset=Digits())) is None
