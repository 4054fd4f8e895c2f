"""Losses of embeddings, against loops over pairs of points in fifty digits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ganbench import ConfigError, stream
from ganbench_zoo.losses_embedding import MMD, Cramer, MMDRepulsive, Sphere

RNG = stream(0, "points")
REAL, FAKE = (torch.randn(5, 3, generator=RNG, dtype=torch.float64) + shift for shift in (0.0, 0.5))
points = arrays("float64", (5, 3), elements=st.floats(-20, 20))


def mean(terms):
    terms = list(terms)
    return mpmath.fsum(terms) / len(terms)


def rows(points):
    return [[mpmath.mpf(float(t)) for t in row] for row in points]


def size(a, b=(0, 0, 0)):
    return mpmath.sqrt(mpmath.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def pairs(function, a, b):
    return mean(function(x, y) for x in a for y in b)


def others(function, a):
    return mean(function(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j)


def gaussian(a, b):
    return mpmath.fsum(mpmath.exp(-(size(a, b) ** 2) / (2 * s**2)) for s in (1, 2, 4, 8, 16))


def rational(a, b):
    return mpmath.fsum((1 + size(a, b) ** 2 / (2 * s)) ** -s for s in (mpmath.mpf(1) / 2, mpmath.mpf(2)))


KERNELS = [
    pytest.param({}, gaussian, id="gaussian"),
    pytest.param({"kernel": "rational-quadratic", "scales": (0.5, 2.0)}, rational, id="rational-quadratic"),
]


@pytest.mark.parametrize(("fields", "k"), KERNELS)
def test_the_discrepancy_is_the_unbiased_one_of_loops_over_pairs(fields, k):
    with mpmath.workdps(50):
        r, f = rows(REAL), rows(FAKE)
        squared = others(k, r) + others(k, f) - 2 * pairs(k, r, f)
        expected, apart = float(squared), float(others(k, r) - others(k, f))
    for loss, d in ((MMD(**fields), -expected), (MMDRepulsive(**fields), apart)):
        assert float(loss.d_loss(REAL, FAKE)) == pytest.approx(d, rel=1e-12)
        assert float(loss.g_loss(FAKE, REAL)) == pytest.approx(expected, rel=1e-12)


def test_the_unbiased_discrepancy_of_a_batch_with_itself_is_negative_and_not_clamped():
    assert MMD().g_loss(REAL, REAL) < 0


def test_the_unbiased_discrepancy_of_one_distribution_averages_to_zero():
    rng = stream(1, "points")
    x = torch.randn(2, 4000, 4, 2, generator=rng, dtype=torch.float64)
    values = torch.vmap(lambda a, b: MMD().g_loss(a, b))(x[0], x[1])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(4000)


@given(points, points, st.floats(-50, 50))
def test_kernels_see_differences_of_embeddings_alone(real, fake, shift):
    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    for loss in (MMD(), MMDRepulsive()):
        moved = loss.d_loss(real + shift, fake + shift)
        torch.testing.assert_close(moved, loss.d_loss(real, fake), rtol=1e-8, atol=1e-8)


def test_cramers_losses_are_those_of_loops_over_pairs():
    with mpmath.workdps(50):
        r, f = rows(REAL), rows(FAKE)
        on_real = pairs(size, r, f) - mean(size(h) for h in r)
        on_fake = others(size, f) - mean(size(h) for h in f)
        d, g = float(on_fake - on_real), float(2 * pairs(size, r, f) - others(size, f))
    assert float(Cramer().d_loss(REAL, FAKE)) == pytest.approx(d, rel=1e-13)
    assert float(Cramer().g_loss(FAKE, REAL)) == pytest.approx(g, rel=1e-13)


def test_cramers_generator_minimises_the_energy_distance_of_scipy():
    from scipy.stats import energy_distance

    # on the line, with both batches as they are: the biased distance, which counts a point's pair with itself
    rng = stream(2, "points")
    r, f = (torch.randn(64, 1, generator=rng, dtype=torch.float64) for _ in range(2))
    within = np.abs(np.subtract.outer(r[:, 0].numpy(), r[:, 0].numpy())).mean()
    unbiased = float(Cramer().g_loss(f, r))
    biased = unbiased + float((f - f.T).abs().sum()) * (1 / (64 * 63) - 1 / 64**2) - within
    assert biased == pytest.approx(energy_distance(r[:, 0].numpy(), f[:, 0].numpy()) ** 2, rel=1e-10)


@pytest.mark.parametrize("moments", [1, 3])
def test_the_sphere_measures_the_angle_of_the_projected_point_to_the_north_pole(moments):
    def angle(q):
        squared = size(q) ** 2
        projected = [2 * t / (squared + 1) for t in q] + [(squared - 1) / (squared + 1)]
        return mpmath.acos(projected[-1] / mpmath.sqrt(mpmath.fsum(t**2 for t in projected)))

    fake = torch.cat([FAKE, torch.zeros(1, 3, dtype=torch.float64)])  # the south pole, at the angle pi
    with mpmath.workdps(50):
        r, f = (mpmath.fsum(mean(angle(q) ** k for q in rows(p)) for k in range(1, moments + 1)) for p in (REAL, fake))
        d, g = float(f - r), float(-f)
    loss = Sphere(moments=moments)
    assert float(loss.d_loss(REAL, fake)) == pytest.approx(d, rel=1e-13)
    assert float(loss.g_loss(fake, None)) == pytest.approx(g, rel=1e-13)


def test_the_angle_and_its_gradient_are_exact_far_out_where_an_arccosine_loses_all_digits():
    q = torch.tensor([[1e4, 0.0]], requires_grad=True)
    value = Sphere(moments=1).g_loss(q, None)
    (slope,) = torch.autograd.grad(value, q)
    with mpmath.workdps(50):
        n = mpmath.mpf(10) ** 4
        exact, derivative = -2 * mpmath.atan(1 / n), 2 / (1 + n**2)
    assert value.item() == pytest.approx(float(exact), rel=1e-6)
    assert float(slope[0, 0]) == pytest.approx(float(derivative), rel=1e-6)


@pytest.mark.parametrize("loss", [Cramer(), Sphere(), MMD(), MMDRepulsive()], ids=lambda loss: loss.name)
def test_embeddings_that_coincide_have_finite_gradients(loss):
    real = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    fake = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    for value in (loss.d_loss(real, fake), loss.g_loss(fake, real)):
        grads = torch.autograd.grad(value, (real, fake), create_graph=True, allow_unused=True)
        second = torch.autograd.grad(sum(g.sum() for g in grads if g is not None), fake, allow_unused=True)
        assert all(torch.isfinite(g).all() for g in (*grads, *second) if g is not None)


def test_the_score_of_an_embedding_is_the_function_that_the_loss_compares_batches_with():
    # each loss is a difference of means of its score over the batches, up to what a sample has with itself
    on_real, on_fake = (Sphere().score(t, REAL, FAKE).mean() for t in (REAL, FAKE))
    torch.testing.assert_close(on_fake - on_real, Sphere().d_loss(REAL, FAKE))
    others = torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64).expand(5, 3)
    loss = Cramer()
    rise = loss.score(REAL, None, FAKE).mean() - loss.score(others, None, FAKE).mean()
    apart = torch.cdist(REAL, FAKE).mean() - REAL.norm(dim=1).mean()
    far = torch.cdist(others, FAKE).mean() - others.norm(dim=1).mean()
    torch.testing.assert_close(rise, apart - far)
    for mmd in (MMD(), MMDRepulsive()):
        witness = mmd.score(others, REAL, FAKE)
        torch.testing.assert_close(witness, (mmd.k(others, REAL) - mmd.k(others, FAKE)).mean(1))


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ConfigError, match="out of range"):
        MMD(scales=(1.0, 0.0))
