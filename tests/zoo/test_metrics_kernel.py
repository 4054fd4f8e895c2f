"""Kernel distances against loops over all pairs, torch-fidelity's subsets, and the spread of independent draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from measuring import measured, normal

from ganbench import Bank, ConfigError, Samples
from ganbench_zoo import metrics_kernel
from ganbench_zoo.metrics_kernel import (
    CMMD,
    KID,
    MMD,
    by_moment_sums,
    by_moments,
    by_pair_sums,
    cubic,
    cubic_moments,
    moment_sums,
    pair_sums,
)


def cube(x: np.ndarray, y: np.ndarray) -> float:
    return (float(x @ y) / len(x) + 1) ** 3


def discrepancy(fake, real, kernel, *, biased: bool = False) -> float:
    """E k(f, f') + E k(r, r') - 2 E k(f, r), pair by pair."""
    fake, real = fake.double().numpy(), real.double().numpy()

    def within(x) -> float:
        values = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if biased or i != j]
        return math.fsum(values) / len(values)

    across = [kernel(a, b) for a in fake for b in real]
    return within(fake) + within(real) - 2 * math.fsum(across) / len(across)


@pytest.mark.parametrize("side", [7, 2048])
@pytest.mark.parametrize("d", [1, 2, 5, 40])
def test_kid_agrees_with_all_pairs(d, side, monkeypatch):
    monkeypatch.setattr(metrics_kernel, "SIDE", side)
    fake, real = normal(33, d) + 0.4, normal(41, d, seed=1) * 1.2
    assert measured(KID(), fake, real)["kid"] == pytest.approx(discrepancy(fake, real, cube), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_moments_give_the_sums_of_pairs(d):
    x, y = normal(50, d) + 0.3, normal(60, d, seed=1)
    sums = moment_sums(Bank(x), cubic_moments(Bank(y)))
    assert torch.allclose(sums, cubic(x, y).sum(1), rtol=1e-11)
    pairs, moments = (route(Bank(x), Bank(y)) for route in (by_pair_sums, by_moment_sums))
    assert torch.allclose(pairs[0], moments[0], rtol=1e-10, atol=1e-12)
    assert torch.allclose(pairs[1], moments[1], rtol=1e-10, atol=1e-12)


def test_the_cheaper_route_is_taken():
    few, many = (Bank(Samples(normal(10_000, d))) for d in (2, 200))
    assert by_moments(few, few)
    assert not by_moments(many, many)


def test_single_precision_products_change_nothing_that_matters(monkeypatch):
    fake, real = (normal(300, 90, seed=s).float() for s in (0, 1))
    double = measured(KID(), fake, real)["kid"]
    monkeypatch.setattr(metrics_kernel, "SINGLE_FROM", 0)
    assert measured(KID(), fake, real)["kid"] == pytest.approx(double, abs=1e-7)
    far = measured(KID(), fake + 1000, real + 1000)["kid"]  # float32 would leave no digit
    assert far == pytest.approx(measured(KID(), (fake + 1000).double(), (real + 1000).double())["kid"], rel=1e-6)


def test_both_halves_of_a_symmetric_sum_are_the_whole():
    x = normal(30, 4)
    rows, columns = pair_sums(x, x, cubic, symmetric=True)
    assert torch.allclose(rows + columns, cubic(x, x).sum(1))


def test_the_standard_error_is_the_spread_of_independent_draws():
    n, d, draws = 150, 3, 150
    found = [measured(KID(), normal(n, d, seed=2 * s) + 0.5, normal(n, d, seed=2 * s + 1)) for s in range(draws)]
    spread = float(np.std([f["kid"] for f in found], ddof=1))
    claimed = math.sqrt(float(np.mean([f["kid_se"] ** 2 for f in found])))
    # the spread of 150 draws is itself known to 6 %
    assert claimed == pytest.approx(spread, rel=0.2)


def test_subsets_are_those_of_the_reference_generator():
    fake, real = normal(60, 5), normal(70, 5, seed=1)
    choose = np.random.RandomState(2020)
    values = []
    for _ in range(4):
        x, y = (z[torch.from_numpy(choose.choice(len(z), 20, replace=False))] for z in (fake, real))
        values.append(discrepancy(x, y, cube))
    found = measured(KID(subsets=4, subset_size=20), fake, real)
    assert found == {"kid": pytest.approx(np.mean(values)), "kid_se": pytest.approx(np.std(values))}
    with pytest.raises(ConfigError, match="a subset needs at least 1000 fake samples, not 60"):
        measured(KID(subsets=4), fake, real)


def gaussian(sigma: float):
    return lambda x, y: math.exp(-float(((x - y) ** 2).sum()) / (2 * sigma**2))


@pytest.mark.parametrize("unbiased", [False, True])
def test_cmmd_agrees_with_all_pairs_of_unit_rows(unbiased):
    fake, real = normal(20, 6) + 1, normal(25, 6, seed=1)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (fake, real)]
    expected = 1000 * discrepancy(*unit, gaussian(10.0), biased=not unbiased)
    assert measured(CMMD(unbiased=unbiased), fake, real)["cmmd"] == pytest.approx(expected, rel=1e-6)
    raw = 1000 * discrepancy(fake, real, gaussian(10.0), biased=not unbiased)
    assert measured(CMMD(unbiased=unbiased, normalize=False), fake, real)["cmmd"] == pytest.approx(raw, rel=1e-8)


def test_mmd_agrees_with_all_pairs_and_its_bandwidth_is_of_the_real_samples():
    fake, real = normal(20, 3) + 100, normal(26, 3, seed=1) + 100
    gaps = [float(np.linalg.norm(a - b)) for i, a in enumerate(real.numpy()) for b in real.numpy()[:i]]
    sigma = sorted(gaps)[(len(gaps) - 1) // 2]
    expected = discrepancy(fake, real, gaussian(sigma))
    assert measured(MMD(), fake, real)["mmd2"] == pytest.approx(expected, rel=1e-9)
    assert measured(MMD(sigma=sigma), fake, real)["mmd2"] == pytest.approx(expected, rel=1e-9)
    assert measured(MMD(sigma=1.0), fake, real)["mmd2"] == pytest.approx(discrepancy(fake, real, gaussian(1.0)))


@pytest.mark.parametrize("metric", [KID(), MMD(), CMMD(unbiased=True)])
def test_unbiased_estimates_are_negative_about_as_often_as_not(metric):
    sets = [(normal(40, 4, seed=2 * s), normal(40, 4, seed=2 * s + 1)) for s in range(60)]
    values = [measured(metric, *pair)[metric.measures[0].name] for pair in sets]
    assert 10 <= sum(v < 0 for v in values) <= 50
