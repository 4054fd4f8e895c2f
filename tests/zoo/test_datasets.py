"""Datasets: shapes and ranges, the law of each distribution, and splits that share nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from ganbench import Sampler, Samples, stream
from ganbench_zoo import datasets
from ganbench_zoo.datasets import Digits, Dirac, Grid25, Ring, ganbench_components

MIXTURES = [Ring(), Ring(modes=5, radius=1.0, std=0.02), Grid25(), Grid25(spacing=1.0, std=0.02)]


@pytest.mark.parametrize("kind", ganbench_components(), ids=lambda c: c.name)
@pytest.mark.parametrize("split", ["train", "test"])
def test_what_is_loaded_is_what_the_spec_says(kind, split):
    dataset = kind()
    spec = dataset.spec()
    data = dataset.load(split, stream(0, "data"))
    samples = data if isinstance(data, Samples) else data.sample(100, stream(0, "data"))
    assert samples.x.shape == (len(samples), *spec.shape)
    assert samples.x.dtype == torch.float32
    assert samples.x.min() >= spec.low
    assert samples.x.max() <= spec.high
    if spec.classes:
        assert samples.y.shape == (len(samples),)
        assert samples.y.dtype == torch.int64
        assert set(samples.y.tolist()) == set(range(spec.classes))
    else:
        assert samples.y is None
    assert dataset.metrics


def test_dirac_is_always_zero():
    assert (Dirac().load("train", stream(0, "data")).sample(10, stream(0, "data")).x == 0).all()


@pytest.mark.parametrize("dataset", MIXTURES, ids=lambda d: d.label)
def test_samplers_use_the_given_stream_alone(dataset):
    sampler = dataset.load("train", stream(0, "unused"))
    assert isinstance(sampler, Sampler)
    before = torch.random.get_rng_state()
    first, again, other = (sampler.sample(50, stream(seed, "data")).x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("dataset", MIXTURES, ids=lambda d: d.label)
def test_a_mixture_has_equal_modes_of_the_right_spread(dataset):
    modes = dataset.spec().modes
    n = 40_000
    x = dataset.load("train", stream(0, "data")).sample(n, stream(3, "data")).x.double()
    centres = torch.tensor(modes.centres, dtype=torch.float64)
    offsets = x[:, None] - centres
    nearest = offsets.square().sum(2).argmin(1)
    own = offsets[torch.arange(n), nearest] / modes.std
    share = nearest.bincount(minlength=len(centres)) / n
    k = len(centres)
    assert (share - 1 / k).abs().max() < 5 * math.sqrt((1 / k) / n)
    # |e|^2 is exponential of mean 2, the coordinates have mean 0 and variance 1
    assert own.mean(0).abs().max() < 5 / math.sqrt(n)
    assert abs(own.square().sum(1).mean() - 2) < 5 * 2 / math.sqrt(n)
    assert abs((own.square().sum(1) > 9).double().mean() - math.exp(-4.5)) < 5 * math.sqrt(math.exp(-4.5) / n)


@given(st.integers(1, 40), st.floats(0.1, 50))
@settings(max_examples=30, deadline=None)
def test_the_ring_has_its_modes_once_each_at_equal_angles(modes, radius):
    centres = np.array(Ring(modes=modes, radius=radius).spec().modes.centres)
    assert np.allclose(np.hypot(*centres.T), radius)
    steps = np.diff(np.unwrap(np.arctan2(centres[:, 1], centres[:, 0])))
    assert np.allclose(steps, 2 * math.pi / modes)
    assert len({tuple(np.round(c / radius, 6)) for c in centres}) == modes


def test_the_grid_is_the_published_one():
    assert set(Grid25().spec().modes.centres) == {
        (float(x), float(y)) for x in range(-4, 5, 2) for y in range(-4, 5, 2)
    }


def test_digits_are_those_of_scikit_learn_and_no_sample_is_lost_or_doubled():
    levels, labels = load_digits(return_X_y=True)
    expected = sorted((int(y), *x.astype(int)) for x, y in zip(levels, labels, strict=True))
    found = []
    for split in ("train", "test"):
        samples = Digits().load(split, stream(0, "data"))
        rows = ((samples.x.flatten(1) + 1) * 8).int().tolist()
        found += [(y, *row) for y, row in zip(samples.y.tolist(), rows, strict=True)]
    assert sorted(found) == expected


def test_no_image_of_digits_is_in_both_splits():
    train, test = (
        {tuple(x) for x in Digits().load(s, stream(0, "d")).x.flatten(1).tolist()} for s in ("train", "test")
    )
    assert len(train) + len(test) == 1797
    assert not train & test


def test_digits_are_split_two_to_one_within_each_class():
    train, test = (Digits().load(s, stream(0, "d")).y.bincount() for s in ("train", "test"))
    assert (train.sum(), test.sum()) == (1198, 599)
    assert (train - 2 * test).abs().max() <= 1


def test_the_split_does_not_depend_on_the_stream():
    one, two = (Digits().load("train", stream(seed, "d")).x for seed in (0, 1))
    assert torch.equal(one, two)


def test_digits_load_through_scikit_learn_where_its_file_is_elsewhere(monkeypatch):
    direct = Digits().load("test", stream(0, "d"))
    monkeypatch.setattr(datasets, "_digits_file", lambda: None)
    monkeypatch.setattr(datasets, "_digits", datasets._digits.__wrapped__)  # what is read once is not read again
    through = Digits().load("test", stream(0, "d"))
    assert torch.equal(direct.x, through.x)
    assert torch.equal(direct.y, through.y)
