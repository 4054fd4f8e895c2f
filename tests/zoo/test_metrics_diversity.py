"""Diversity against closed forms: effective numbers, similarity by loops, spread of Gaussians."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from measuring import measured, normal

from ganbench import ConfigError, SampleSpec, stream
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.metrics_diversity import FeatureDiversity, SSIMDiversity, Vendi, random_pairs, ssim


def vendi(x, **fields) -> float:
    return measured(Vendi(**fields), x, x)["vendi"]


@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, math.inf])
def test_orthogonal_directions_are_counted_whatever_the_order(q):
    assert vendi(torch.eye(6, dtype=torch.float64).repeat(3, 1), q=q) == pytest.approx(6.0)
    assert vendi(torch.eye(6, 9, dtype=torch.float64), q=q) == pytest.approx(6.0)


@pytest.mark.parametrize(("n", "d"), [(30, 8), (8, 30)])
@pytest.mark.parametrize("q", [1.0, 2.0, math.inf])
def test_both_matrices_have_the_entropy_of_the_definition(n, d, q):
    x = normal(n, d) + 0.5
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    p = np.linalg.eigvalsh(unit @ unit.T / n).clip(1e-300)
    expected = {1.0: -(p * np.log(p)).sum(), 2.0: -np.log((p**2).sum()), math.inf: -np.log(p.max())}[q]
    assert vendi(x, q=q) == pytest.approx(math.exp(expected), rel=1e-9)


def test_samples_of_zeros_are_alike():
    assert vendi(torch.zeros(5, 3, dtype=torch.float64)) == 1.0


def test_pairs_are_of_different_samples_and_uniform():
    i, j = random_pairs(4, 12_000, stream(0, "pairs"))
    assert bool((i != j).all())
    counts = torch.bincount(4 * i + j, minlength=16)
    assert counts[counts > 0].tolist() == pytest.approx([1000] * 12, rel=0.15)


def test_the_spread_of_a_gaussian_is_known():
    # |x - y| of independent normals in three dimensions is sqrt 2 times a chi variable of mean 2 sqrt(2 / pi)
    x = normal(4000, 3)
    assert measured(FeatureDiversity(), x, x)["spread"] == pytest.approx(4 / math.sqrt(math.pi), rel=0.03)


def naive_ssim(x: np.ndarray, y: np.ndarray, span: float) -> float:
    """Window by window, for one channel."""
    sizes = [min(11, s - 1 + s % 2) for s in x.shape]
    weights = [np.exp(-((np.arange(s) - s // 2) ** 2) / 4.5) for s in sizes]
    window = np.outer(weights[0] / weights[0].sum(), weights[1] / weights[1].sum())
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for i in range(x.shape[0] - sizes[0] + 1):
        for j in range(x.shape[1] - sizes[1] + 1):
            a, b = (z[i : i + sizes[0], j : j + sizes[1]] for z in (x, y))
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("size", [(14, 13), (8, 8), (3, 12)])
def test_similarity_agrees_with_windows_one_by_one(size):
    x, y = normal(2, 2, *size), normal(2, 2, *size, seed=1)
    found = ssim(x, y, 2.0).tolist()
    for value, a, b in zip(found, x.numpy(), y.numpy(), strict=True):
        channels = [naive_ssim(p, q, 2.0) for p, q in zip(a, b, strict=True)]
        assert value == pytest.approx(np.mean(channels), rel=1e-9)
    assert ssim(x, x, 2.0).tolist() == pytest.approx([1.0, 1.0])


def test_alike_pictures_are_more_similar_than_unlike_ones():
    one, many = normal(1, 1, 12, 12), normal(40, 1, 12, 12, seed=1)
    metric = SSIMDiversity(pairs=200, span=4.0)
    close = measured(metric, one + 0.1 * many, many)["ssim"]
    assert measured(metric, many, many)["ssim"] < 0.2
    assert 0.8 < close < 1


def test_similarity_needs_pictures_of_a_known_range():
    bound = SSIMDiversity().bind(SampleSpec(shape=(1, 8, 8), low=-1.0, high=1.0))
    assert bound.span == 2.0
    assert SSIMDiversity(span=3.0).bind(Digits().spec()).span == 3.0
    with pytest.raises(ConfigError, match="does not know the range"):
        measured(SSIMDiversity(), normal(5, 1, 8, 8), normal(5, 1, 8, 8))
    with pytest.raises(ConfigError, match=r"compares pictures .* not \[5, 4\]"):
        measured(bound, normal(5, 4), normal(5, 4))
    assert "ring has none" in SSIMDiversity().mismatch(SimpleNamespace(dataset=Ring()))
    assert SSIMDiversity().mismatch(SimpleNamespace(dataset=Digits())) is None
