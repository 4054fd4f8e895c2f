"""Fréchet distances against arithmetic of forty digits, matrix square roots and closed forms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measured, normal

from ganbench import ConfigError, stream
from ganbench_zoo.datasets import Digits, Ring
from ganbench_zoo.metrics_frechet import FrechetDistance, FrechetInfinity, MemorizationFrechet

RNG = stream(0, "tests")


def fd(fake, real, **fields) -> float:
    return measured(FrechetDistance(**fields), fake, real)["fd"]


def exact_fd(fake: torch.Tensor, real: torch.Tensor) -> float:
    """The definition in 40 digits: tr (S1 S2)^(1/2) from the eigenvalues of the symmetric S1^(1/2) S2 S1^(1/2)."""
    with mpmath.workdps(40):
        moments = []
        for x in (fake, real):
            m = mpmath.matrix(x.tolist())
            n, d = m.rows, m.cols
            mean = [mpmath.fsum(m[i, j] for i in range(n)) / n for j in range(d)]
            centred = mpmath.matrix(n, d)
            for i in range(n):
                for j in range(d):
                    centred[i, j] = m[i, j] - mean[j]
            moments.append((mean, centred.T * centred / (n - 1)))
        (m1, s1), (m2, s2) = moments
        values, vectors = mpmath.eigsy(s1)
        root = vectors * mpmath.diag([mpmath.sqrt(max(v, 0)) for v in values]) * vectors.T
        inner = mpmath.eigsy(root * s2 * root, eigvals_only=True)
        cross = mpmath.fsum(mpmath.sqrt(max(v, 0)) for v in inner)
        traces = mpmath.fsum(s[i, i] for s in (s1, s2) for i in range(s.rows))
        return float(mpmath.fsum((a - b) ** 2 for a, b in zip(m1, m2, strict=True)) + traces - 2 * cross)


CASES = {
    "line": (normal(20, 1), 2 * normal(15, 1, seed=1) + 1),
    "plane": (normal(30, 2), normal(20, 2, seed=1) @ torch.tensor([[1.0, 2.0], [0.0, 0.5]], dtype=torch.float64)),
    "fewer samples than dimensions": (normal(4, 7), normal(5, 7, seed=1)),
    "fewer fakes than dimensions": (normal(4, 7), normal(30, 7, seed=1)),
    "fewer real ones than dimensions": (normal(30, 7), normal(4, 7, seed=1)),
    "two samples": (normal(2, 5), normal(2, 5, seed=1)),
    "a flat direction": (normal(30, 4) * torch.tensor([1.0, 1.0, 0.0, 0.0]), normal(30, 4, seed=1)),
    "collapsed": (torch.ones(9, 3, dtype=torch.float64), normal(30, 3, seed=1)),
    "far away": (normal(30, 3) + 1000, normal(30, 3, seed=1) + 1000),
    "graded": (normal(40, 6) * 10.0 ** -torch.arange(6), normal(40, 6, seed=1) * 10.0 ** -torch.arange(6)),
}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("method", ["exact", "fast"])
def test_fd_agrees_with_arithmetic_of_forty_digits(case, method):
    fake, real = CASES[case]
    scale = (fake.var(0).sum() + real.var(0).sum()).item()
    # roots of eigenvalues are good to about the root of the rounding unit
    tolerance = 1e-12 if method == "exact" else 1e-7
    assert fd(fake, real, method=method) == pytest.approx(exact_fd(fake, real), rel=1e-11, abs=tolerance * scale)


@pytest.mark.parametrize(("n", "d"), [(50, 2), (200, 16), (300, 64)])
def test_fd_agrees_with_the_matrix_square_root(n, d):
    fake, real = normal(n, d) @ normal(d, d, seed=2) / 2, normal(n + 9, d, seed=1) + 0.3
    s1, s2 = np.cov(fake.T.numpy()), np.cov(real.T.numpy())
    root = np.trace(scipy.linalg.sqrtm(s1 @ s2)).real
    expected = ((fake.mean(0) - real.mean(0)) ** 2).sum().item() + np.trace(s1) + np.trace(s2) - 2 * root
    assert fd(fake, real) == pytest.approx(expected, rel=1e-9)


def whitened(n: int, d: int, seed: int) -> torch.Tensor:
    """Samples with mean 0 and covariance I exactly."""
    x = normal(n, d, seed=seed)
    return torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(n - 1)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=6), st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_fd_of_axis_aligned_gaussians_is_analytic(spreads, shift):
    d = len(spreads)
    s = torch.tensor(spreads, dtype=torch.float64)
    expected = (s - 1).square().sum().item() + d * shift**2
    assert fd(whitened(40, d, 0) * s + shift, whitened(50, d, 1)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_fd_does_not_change_under_a_rotation_and_is_symmetric():
    fake, real = normal(40, 5) * 2, normal(50, 5, seed=1)
    q = torch.linalg.qr(normal(5, 5, seed=2)).Q
    assert fd(fake @ q, real @ q) == pytest.approx(fd(fake, real), rel=1e-11)
    assert fd(real, fake) == pytest.approx(fd(fake, real), rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(100, 4), (6, 20)])
def test_fd_of_equal_sets_is_zero_up_to_rounding_and_never_just_below(n, d):
    x = normal(n, d) * 3 + 1
    assert 0 <= fd(x, x.flip(0)) < 1e-11


def test_fd_needs_two_samples():
    with pytest.raises(ConfigError, match="at least 2 fake samples, not 1"):
        FrechetDistance().compute(normal(1, 3), normal(5, 3), RNG)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 280, 40), (30, 280, 40), (300, 30, 40), (30, 25, 40)])
def test_both_methods_agree_whatever_the_sample_sizes(n, m, d):
    fake, real = normal(n, d) @ normal(d, d, seed=2), normal(m, d, seed=1) + 0.3
    scale = (fake.var(0).sum() + real.var(0).sum()).item()
    assert fd(fake, real, method="fast") == pytest.approx(fd(fake, real, method="exact"), abs=1e-9 * scale)


def test_more_columns_than_a_strip_make_the_same_covariance():
    fake, real = normal(1300, 1200), normal(1250, 1200, seed=1) * 1.1
    expected = fd(fake, real, method="exact")
    assert fd(fake, real) == pytest.approx(expected, rel=1e-9)


# -- to infinitely many samples ------------------------------------------------------------------------------


def test_the_extrapolation_is_an_intercept_nearer_to_the_truth_than_any_size():
    d = 12
    fake, real = normal(3000, d) * 1.3, normal(60_000, d, seed=1)
    truth = d * 0.3**2
    found = measured(FrechetInfinity(), fake, real)["fd_inf"]
    biased = fd(fake[:300], real)
    assert abs(found - truth) < abs(biased - truth) / 2
    assert found == pytest.approx(truth, rel=0.1)


def test_the_extrapolation_repeats_and_depends_on_its_stream():
    fake, real = normal(200, 3) + 0.2, normal(200, 3, seed=1)
    one, again, other = (measured(FrechetInfinity(), fake, real, seed=s)["fd_inf"] for s in (0, 0, 1))
    assert one == again != other


# -- corrected for copies ------------------------------------------------------------------------------------


def naive_angle(fake, train) -> float:
    cos = [[abs(np.dot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b) for b in train.numpy()] for a in fake.numpy()]
    return float(np.mean(1 - np.max(cos, axis=1)))


def test_mifid_divides_by_the_mean_angle_to_the_training_set():
    fake, real, train = normal(40, 3), normal(50, 3, seed=1) + 0.5, normal(60, 3, seed=2)
    angle = naive_angle(fake, train)
    assert angle < 0.1
    assert measured(MemorizationFrechet(), fake, real, train=train)["mifid"] == pytest.approx(fd(fake, real) / angle)
    plain = measured(MemorizationFrechet(threshold=angle / 2), fake, real, train=train)["mifid"]
    assert plain == pytest.approx(fd(fake, real))


def test_copies_of_the_training_set_are_infinitely_bad_and_zeros_have_no_angle():
    train, real = normal(60, 3), normal(50, 3, seed=1)
    assert measured(MemorizationFrechet(), train[:40], real, train=train)["mifid"] > 1e8
    some = torch.cat([train[:40] + 1, torch.zeros(3, 3, dtype=torch.float64)])
    angle = naive_angle(train[:40] + 1, train)
    expected = fd(some, real) / (angle if angle < 0.1 else 1)
    assert measured(MemorizationFrechet(), some, real, train=train)["mifid"] == pytest.approx(expected)


def test_without_a_training_set_there_is_no_looking_for_copies():
    with pytest.raises(ConfigError, match="no finite training set"):
        MemorizationFrechet().compute(normal(9, 2), normal(9, 2), RNG)
    assert "ring never repeats one" in MemorizationFrechet().mismatch(SimpleNamespace(dataset=Ring()))
    assert MemorizationFrechet().mismatch(SimpleNamespace(dataset=Digits())) is None
