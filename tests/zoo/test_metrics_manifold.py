"""Precision, recall, density, coverage and PRD against loops and expectations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from measuring import measured, normal

from ganbench import ConfigError, neighbours, stream
from ganbench_zoo.metrics_manifold import PRD, DensityCoverage, PrecisionRecall, best_f, curve

RNG = stream(0, "tests")


def naive_precision_recall(fake: np.ndarray, real: np.ndarray, k: int, *, strict: bool) -> tuple[float, float]:
    """The definitions, in loops over differences."""

    def within(points, balls) -> float:
        gaps = [[((b - c) ** 2).sum() for j, c in enumerate(balls) if j != i] for i, b in enumerate(balls)]
        radii = [sorted(g)[k - 1] for g in gaps]
        held = 0
        for p in points:
            gaps = [((p - b) ** 2).sum() for b in balls]
            held += any(g < r if strict else g <= r for g, r in zip(gaps, radii, strict=True))
        return held / len(points)

    return within(fake, real), within(real, fake)


@pytest.mark.parametrize("d", [1, 3, 17, 100])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("strict", [False, True])
def test_precision_and_recall_agree_with_loops(d, k, strict):
    fake, real = normal(23, d) * 0.8 + 0.1, normal(31, d, seed=1)
    fake[3], fake[9], real[8] = real[5], fake[4], real[7]  # duplicates within and across
    values = measured(PrecisionRecall(k=k, strict=strict), fake, real)
    expected = naive_precision_recall(fake.numpy(), real.numpy(), k, strict=strict)
    assert (values["precision"], values["recall"]) == pytest.approx(expected, rel=1e-12)


def test_a_collapsed_generator_has_precision_and_no_recall():
    real = normal(300, 2)
    values = measured(PrecisionRecall(), real[:1].expand(300, 2), real)
    assert values["precision"] == 1
    assert values["recall"] <= 1 / 300


# -- density and coverage ------------------------------------------------------------------------------------


def naive_density_coverage(fake: np.ndarray, real: np.ndarray, k: int) -> tuple[float, float]:
    """The definitions, in loops over differences."""
    radii = []
    for i, r in enumerate(real):
        others = sorted(np.linalg.norm(r - s) for j, s in enumerate(real) if j != i)
        radii.append(others[k - 1])
    near = np.array([[np.linalg.norm(f - r) < radius for r, radius in zip(real, radii, strict=True)] for f in fake])
    return near.sum() / (k * len(fake)), near.any(axis=0).mean()


@pytest.mark.parametrize("d", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("block", [1, 2**22], ids=["row by row", "at once"])
def test_density_and_coverage_agree_with_loops(d, k, block, monkeypatch):
    monkeypatch.setattr(neighbours, "TILE", block)
    fake, real = normal(23, d) * 0.8 + 0.1, normal(31, d, seed=1)
    for offset in (0.0, 1000.0):
        values = measured(DensityCoverage(k=k), fake + offset, real + offset)
        expected = naive_density_coverage(fake.numpy(), real.numpy(), k)
        assert (values["density"], values["coverage"]) == pytest.approx(expected, rel=1e-12)


def test_true_samples_score_the_expected_density_and_coverage():
    n, k = 1500, 5
    values = measured(DensityCoverage(), normal(n, 4), normal(n, 4, seed=1))
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    # about n independent balls for coverage; neighbours share balls, so density spreads more
    assert values["coverage"] == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / n) + 0.005)
    assert values["density"] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("d", [3, 100])
def test_equal_sets_are_covered_and_constant_ones_are_not(d):
    x = normal(40, d)
    values = measured(DensityCoverage(), x, x)
    # each real sample lies in its own ball, and its k - 1 nearest others do
    assert values == {"density": pytest.approx(1.0), "coverage": 1.0}
    constant = torch.full((20, d), 0.3, dtype=torch.float64)
    assert measured(DensityCoverage(), constant, constant) == {"density": 0.0, "coverage": 0.0}


def test_a_collapsed_generator_has_density_and_no_coverage():
    real = normal(400, 2)
    fake = real.mean(0, keepdim=True).expand(400, 2)
    values = measured(DensityCoverage(), fake, real)
    assert values["coverage"] < 0.1
    assert values["density"] > 0.5


def test_density_needs_more_real_samples_than_neighbours():
    assert measured(DensityCoverage(k=4), normal(3, 2), normal(5, 2))
    with pytest.raises(ConfigError, match="needs at least 6 real samples, not 5"):
        DensityCoverage(k=5).compute(normal(9, 2), normal(5, 2), RNG)


# -- PRD -----------------------------------------------------------------------------------------------------


def test_the_curve_of_two_histograms_is_that_of_the_definition():
    fake, real = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    precision, recall = curve(fake, real, 5)
    for i, angle in enumerate(np.linspace(0, np.pi / 2, 5)[1:-1], start=1):
        s = math.tan(angle)
        assert precision[i] == pytest.approx(sum(min(s * r, f) for f, r in zip(fake, real, strict=True)))
        assert recall[i] == pytest.approx(sum(min(r, f / s) for f, r in zip(fake, real, strict=True)))
    assert precision[-1] == pytest.approx(1.0)  # all fakes are where real samples are
    assert recall[0] == pytest.approx(0.5)  # and half of the real ones are out of reach
    assert best_f(np.array([1.0]), np.array([0.5]), 8.0) == pytest.approx(65 * 0.5 / (64 + 0.5))
    assert best_f(np.array([0.0]), np.array([0.0]), 8.0) == 0


def test_equal_sets_are_perfect_and_distant_ones_are_not():
    x = normal(200, 3)
    fast = {"clusters": 4, "runs": 2, "restarts": 1}
    assert measured(PRD(**fast), x, x) == {"prd_f8": pytest.approx(1.0), "prd_f18": pytest.approx(1.0)}
    assert max(measured(PRD(**fast), x + 100, x).values()) < 1e-6


def test_a_generator_of_half_of_the_modes_has_precision_rather_than_recall():
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]], dtype=torch.float64)
    real = centres.repeat(50, 1) + normal(200, 2)
    fake = centres[:2].repeat(100, 1) + normal(200, 2, seed=1)
    values = measured(PRD(clusters=4, runs=2), fake, real)
    # precision 1 at recall 1/2
    assert values["prd_f18"] == pytest.approx((1 + 1 / 64) * 0.5 / (0.5 + 1 / 64), abs=0.02)
    assert values["prd_f8"] == pytest.approx(65 * 0.5 / 64.5, abs=0.02)
