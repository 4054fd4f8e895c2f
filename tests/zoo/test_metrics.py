"""Metrics against closed forms and second derivations: arithmetic of 40 digits, naive loops, analytic distances."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganbench import ConfigError, ContractError, stream
from ganbench_zoo import metrics
from ganbench_zoo.datasets import Digits, Grid25, Ring
from ganbench_zoo.metrics import (
    DensityCoverage,
    FrechetDistance,
    MixtureModes,
    SlicedWasserstein,
    distances,
    ganbench_components,
    nuclear_norm,
    w2_squared,
)

RNG = stream(0, "tests")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=stream(seed, "samples"))


def measured(metric, fake, real, seed: int = 0) -> dict[str, float]:
    values = metric.compute(fake, real, stream(seed, "eval"))
    assert set(values) == {m.name for m in metric.measures}
    assert all(type(v) is float for v in values.values())
    return dict(values)


def fd(fake, real) -> float:
    return measured(FrechetDistance(), fake, real)["fd"]


def sw2(fake, real, **fields) -> float:
    return measured(SlicedWasserstein(**fields), fake, real)["sw2"]


# -- all metrics -------------------------------------------------------------------------------------------


@pytest.fixture(params=ganbench_components(), ids=lambda c: c.name)
def metric(request):
    return request.param().bind(Ring().spec())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_makes_every_measure_nan(metric, bad):
    fake = normal(50, 2)
    fake[7, 1] = bad
    assert all(math.isnan(v) for v in measured(metric, fake, normal(50, 2, seed=1)).values())


def test_numbers_repeat_and_the_global_stream_is_untouched(metric):
    fake, real = normal(80, 2), normal(70, 2, seed=1)
    before = torch.random.get_rng_state()
    assert measured(metric, fake, real) == measured(metric, fake, real)
    assert torch.equal(before, torch.random.get_rng_state())


def test_samples_are_flattened_and_may_be_of_any_float_type(metric):
    fake, real = (normal(60, 2, seed=s).float() for s in (0, 1))
    assert measured(metric, fake.reshape(60, 1, 2, 1), real.double()) == measured(metric, fake, real)


def test_inputs_are_not_written_to(metric):
    fake, real = normal(60, 2), normal(60, 2, seed=1)
    copies = fake.clone(), real.clone()
    measured(metric, fake, real)
    assert torch.equal(fake, copies[0])
    assert torch.equal(real, copies[1])


def test_the_order_of_samples_does_not_matter(metric):
    fake, real = normal(60, 2), normal(60, 2, seed=1)
    there, back = measured(metric, fake, real), measured(metric, fake.flip(0), real.flip(0))
    assert there == pytest.approx(back, rel=1e-10)


def test_no_samples_and_other_sizes_are_taught_about(metric):
    with pytest.raises(ConfigError, match="fake samples, not 0"):
        metric.compute(normal(0, 2), normal(9, 2), RNG)
    with pytest.raises(ContractError, match="3 values and a real one 2"):
        metric.compute(normal(9, 3), normal(9, 2), RNG)


# -- modes of a mixture ------------------------------------------------------------------------------------


def around(modes, counts, *, spread: float = 0.0, seed: int = 0) -> torch.Tensor:
    centres = torch.tensor(modes.centres, dtype=torch.float64)
    k = torch.repeat_interleave(torch.arange(len(centres)), torch.tensor(counts))
    return centres[k] + spread * modes.std * normal(len(k), centres.shape[1], seed=seed)


def modes_of(dataset, fake) -> tuple[float, float, float]:
    values = measured(MixtureModes().bind(dataset.spec()), fake, fake)
    return values["modes20"], values["hq"], values["rkl"]


@pytest.mark.parametrize("dataset", [Ring(), Grid25()], ids=["ring", "grid25"])
def test_points_at_every_centre_are_perfect(dataset):
    k = len(dataset.spec().modes.centres)
    assert modes_of(dataset, around(dataset.spec().modes, [20] * k)) == (k, 1.0, pytest.approx(0.0, abs=1e-15))


@pytest.mark.parametrize("dataset", [Ring(), Grid25()], ids=["ring", "grid25"])
def test_one_mode_has_the_divergence_log_k(dataset):
    k = len(dataset.spec().modes.centres)
    assert modes_of(dataset, around(dataset.spec().modes, [0, 2500] + [0] * (k - 2))) == (
        1,
        1.0,
        pytest.approx(math.log(k)),
    )


def test_half_of_the_modes_have_the_divergence_log_2():
    assert modes_of(Ring(), around(Ring().spec().modes, [50, 0] * 4)) == (4, 1.0, pytest.approx(math.log(2)))


def test_true_samples_score_one_minus_exp_of_minus_nine_halves():
    for dataset in (Ring(), Grid25()):
        n = 20_000
        fake = dataset.load("train", RNG).sample(n, stream(1, "data")).x
        found, hq, rkl = modes_of(dataset, fake)
        k = len(dataset.spec().modes.centres)
        ceiling = 1 - math.exp(-4.5)
        assert found == k
        assert hq == pytest.approx(ceiling, abs=5 * math.sqrt(ceiling * (1 - ceiling) / n))
        # 2 n KL is chi-squared of K - 1 degrees of freedom
        assert 2 * n * rkl == pytest.approx(k - 1, abs=5 * math.sqrt(2 * (k - 1)))


@given(st.lists(st.integers(0, 60), min_size=8, max_size=8).filter(any))
@settings(max_examples=30, deadline=None)
def test_the_histogram_gives_all_three_measures(counts):
    stray = torch.full((10, 2), 0.0)  # far from every mode: counts for hq only
    fake = torch.cat([around(Ring().spec().modes, counts), stray])
    found, hq, rkl = modes_of(Ring(), fake)
    total = sum(counts)
    assert found == sum(c >= 20 for c in counts)
    assert hq == pytest.approx(total / (total + 10))
    assert rkl == pytest.approx(sum(c / total * math.log(8 * c / total) for c in counts if c), abs=1e-12)


def test_three_standard_deviations_are_the_limit():
    centre = torch.tensor(Ring().spec().modes.centres[0], dtype=torch.float64)
    for reach, hq in ((2.999, 1.0), (3.001, 0.0)):
        angle = torch.linspace(0, 6, 40, dtype=torch.float64)
        fake = centre + reach * 0.1 * torch.stack([angle.cos(), angle.sin()], dim=1)
        assert modes_of(Ring(), fake)[1] == hq


def test_without_any_good_sample_the_divergence_is_the_largest_there_is():
    assert modes_of(Ring(), torch.zeros(100, 2)) == (0.0, 0.0, pytest.approx(math.log(8)))


def test_the_number_of_samples_that_make_a_mode_is_a_field():
    fake = around(Ring().spec().modes, [1, 19, 20, 0, 0, 0, 0, 0])
    for least, modes in ((1, 3), (19, 2), (20, 1), (21, 0)):
        assert measured(MixtureModes(min_count=least).bind(Ring().spec()), fake, fake)["modes20"] == modes


def test_modes_given_in_the_grid_are_kept_and_missing_ones_are_taught_about():
    own = MixtureModes(centres=((0.0, 0.0),), std=1.0)
    assert own.bind(Ring().spec()) == own
    assert MixtureModes().bind(Digits().spec()) == MixtureModes()
    with pytest.raises(ConfigError, match="does not know the modes"):
        MixtureModes().compute(normal(9, 2), normal(9, 2), RNG)
    with pytest.raises(ConfigError, match="2 coordinates and the samples 3"):
        own.compute(normal(9, 3), normal(9, 3), RNG)


def test_modes_are_refused_on_data_that_has_none():
    assert MixtureModes().mismatch(SimpleNamespace(dataset=Ring())) is None
    assert "digits has none" in MixtureModes().mismatch(SimpleNamespace(dataset=Digits()))


# -- sliced Wasserstein ------------------------------------------------------------------------------------


def quantile_integral(a: list[float], b: list[float]) -> float:
    """W2^2 on the line by exact fractions: both quantile functions, interval by interval."""
    a, b = sorted(a), sorted(b)
    ends = sorted({Fraction(i, len(a)) for i in range(len(a) + 1)} | {Fraction(j, len(b)) for j in range(len(b) + 1)})
    total = Fraction(0)
    for left, right in itertools.pairwise(ends):
        x, y = Fraction(a[math.floor(left * len(a))]), Fraction(b[math.floor(left * len(b))])
        total += (right - left) * (x - y) ** 2
    return float(total)


numbers = st.lists(st.integers(-1000, 1000).map(lambda i: i / 8), min_size=1, max_size=12)


@given(numbers, numbers)
@settings(max_examples=80, deadline=None)
def test_the_line_is_exact_for_any_two_sample_sizes(a, b):
    x, y = (torch.tensor(v, dtype=torch.float64)[None] for v in (a, b))
    assert w2_squared(x, y).item() == pytest.approx(quantile_integral(a, b), rel=1e-12, abs=1e-12)
    assert sw2(x.T, y.T) == pytest.approx(math.sqrt(quantile_integral(a, b)), rel=1e-12, abs=1e-9)


def test_equal_sizes_agree_with_the_optimal_assignment():
    from scipy.optimize import linear_sum_assignment

    x, y = normal(30), 2 * normal(30, seed=1) + 1
    cost = (x[:, None] - y).square()
    rows, columns = linear_sum_assignment(cost)
    assert w2_squared(x[None], y[None]).item() == pytest.approx(cost[rows, columns].mean().item(), rel=1e-12)


@given(st.integers(2, 6), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_repeating_every_sample_changes_nothing(d, n, times):
    x, y = normal(n, d), normal(n + 3, d, seed=1) * 2
    assert sw2(x.repeat(times, 1), y) == pytest.approx(sw2(x, y), rel=1e-10)


def test_a_shift_costs_its_mean_projection():
    # W2 along u is |u.v|, and E (u.v)^2 = |v|^2 / d
    for d in (2, 5):
        x, v = normal(200, d), torch.arange(1.0, d + 1, dtype=torch.float64)
        expected = (v.square().sum() / d).sqrt().item()
        assert sw2(x + v, x, projections=20_000) == pytest.approx(expected, rel=0.02)


def test_scaling_the_space_scales_the_distance():
    x, y = normal(50, 3), normal(60, 3, seed=1)
    assert sw2(7 * x, 7 * y) == pytest.approx(7 * sw2(x, y), rel=1e-12)


def test_equal_sets_have_distance_zero_and_both_directions_agree():
    x, y = normal(50, 3), normal(60, 3, seed=1)
    assert sw2(x, x.flip(0)) < 1e-15
    assert sw2(x, y) == pytest.approx(sw2(y, x), rel=1e-12)


def test_directions_come_from_the_stream_and_many_agree():
    x, y = normal(50, 8), normal(50, 8, seed=1) + 1
    one, other = (measured(SlicedWasserstein(), x, y, seed=s)["sw2"] for s in (0, 1))
    assert one != other
    assert one == pytest.approx(other, rel=0.1)


# -- Fréchet distance --------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("route", ["exact", "large"])
def test_fd_agrees_with_arithmetic_of_forty_digits(case, route, monkeypatch):
    fake, real = CASES[case]
    scale = (fake.var(0).sum() + real.var(0).sum()).item()
    tolerance = 1e-12
    if route == "large":  # roots of eigenvalues: about the root of the rounding unit
        monkeypatch.setattr(metrics, "EXACT_UP_TO", 0)
        tolerance = 1e-7
    assert fd(fake, real) == pytest.approx(exact_fd(fake, real), rel=1e-11, abs=tolerance * scale)


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


@pytest.mark.parametrize("sides", [(30, 40), (10, 40), (40, 10), (10, 12)])
def test_both_routes_to_the_nuclear_norm_agree_with_its_definition(sides, monkeypatch):
    x, y = normal(sides[0], 20), normal(sides[1], 20, seed=1)
    expected = np.linalg.norm((x @ y.T).numpy(), "nuc")
    assert nuclear_norm(x, y).item() == pytest.approx(expected, rel=1e-13)
    monkeypatch.setattr(metrics, "EXACT_UP_TO", 0)
    assert nuclear_norm(x, y).item() == pytest.approx(expected, rel=1e-9)


def test_fd_needs_two_samples():
    with pytest.raises(ConfigError, match="at least 2 fake samples, not 1"):
        FrechetDistance().compute(normal(1, 3), normal(5, 3), RNG)


# -- density and coverage ----------------------------------------------------------------------------------


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
    monkeypatch.setattr(metrics, "BLOCK", block)
    fake, real = normal(23, d) * 0.8 + 0.1, normal(31, d, seed=1)
    for offset in (0.0, 1000.0):
        values = measured(DensityCoverage(k=k), fake + offset, real + offset)
        expected = naive_density_coverage(fake.numpy(), real.numpy(), k)
        assert (values["density"], values["coverage"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [2, 100])
def test_distances_are_those_of_differences_and_duplicates_are_at_zero(d):
    x, y = normal(20, d), normal(30, d, seed=1)
    y[3] = x[5]
    found = distances(x, y)
    assert torch.allclose(found, (x[:, None] - y).norm(dim=2), rtol=1e-12, atol=0)
    assert found[5, 3] == 0


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
    with pytest.raises(ConfigError, match="needs 6 real samples, not 5"):
        DensityCoverage(k=5).compute(normal(9, 2), normal(5, 2), RNG)
