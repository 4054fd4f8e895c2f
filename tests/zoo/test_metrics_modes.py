"""Modes of mixtures against histograms, and true samples against their expectation."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measured, normal

from ganbench import ConfigError, stream
from ganbench_zoo.datasets import Digits, Grid25, Ring
from ganbench_zoo.metrics_modes import MixtureModes

RNG = stream(0, "tests")


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


@given(st.lists(st.integers(0, 60), min_size=8, max_size=8).filter(any))
@settings(max_examples=20, deadline=None)
def test_the_divergence_of_all_samples_counts_stray_ones_at_the_nearest_mode(counts):
    near = around(Ring().spec().modes, counts)
    stray = 5 * torch.tensor(Ring().spec().modes.centres[3], dtype=torch.float64)
    fake = torch.cat([near, stray.expand(10, 2)])
    every = [c + 10 * (k == 3) for k, c in enumerate(counts)]
    found = measured(MixtureModes().bind(Ring().spec()), fake, fake)["rkl_all"]
    assert found == pytest.approx(sum(c / sum(every) * math.log(8 * c / sum(every)) for c in every if c), abs=1e-12)
