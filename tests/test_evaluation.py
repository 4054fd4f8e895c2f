"""Evaluation: equal counts, disjoint sets, floors, and metrics that misbehave."""

from __future__ import annotations

import math

import pytest
import torch

from ganbench.errors import ContractError
from ganbench.evaluation import Bench
from ganbench.metric import Measure, Metric
from ganbench.registry import Registry

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def test_a_distribution_gives_as_many_real_samples_as_asked(registry):
    bench = Bench.prepare(
        registry.create("dataset", "ring"), [registry.create("metric", "sliced-wasserstein")], n=300, seed=0, device=CPU
    )
    assert bench.n == 300
    assert len(bench.other) == 300
    assert 0 < bench.floors["sw2"] < 0.5


def test_a_finite_set_cuts_both_sides_to_what_its_test_split_holds_and_shares_no_sample(registry):
    digits = registry.create("dataset", "digits")
    bench = Bench.prepare(digits, [registry.create("metric", "sliced-wasserstein")], n=5_000, seed=0, device=CPU)
    assert len(bench.real) == len(bench.other) == bench.n < 1_000
    reference = {tuple(x.flatten().tolist()) for x in bench.real.x}
    shared = sum(tuple(x.flatten().tolist()) in reference for x in bench.other.x)
    assert shared <= 1  # the data set itself may hold a drawing twice


def test_the_same_seed_measures_the_same_and_another_seed_does_not(registry):
    ring, metric = registry.create("dataset", "ring"), registry.create("metric", "sliced-wasserstein")
    fake = torch.zeros(200, 2)
    values = [Bench.prepare(ring, [metric], n=200, seed=s, device=CPU).measure(fake)["sw2"] for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_fakes_that_are_not_finite_are_missing_values(registry):
    ring, metric = registry.create("dataset", "ring"), registry.create("metric", "sliced-wasserstein")
    bench = Bench.prepare(ring, [metric], n=100, seed=0, device=CPU)
    fake = torch.zeros(100, 2)
    fake[3, 1] = math.nan
    found = bench.measure(fake)
    assert math.isnan(found["sw2"])
    assert bench.values(found, found)["sw2"].last is None


class Forgetful(Metric, name="forgetful"):
    """Promises two measures and returns one."""

    measures = (Measure("a", "lower"), Measure("b", None))

    def compute(self, fake, real, rng):
        return {"a": 1.0}


def test_a_metric_that_does_not_return_its_measures_breaks_its_contract(registry):
    with pytest.raises(ContractError, match="forgetful"):
        Bench.prepare(registry.create("dataset", "ring"), [Forgetful()], n=50, seed=0, device=CPU)


def test_a_prefix_keeps_two_uses_of_one_metric_apart(registry):
    ring = registry.create("dataset", "ring")
    metrics = [registry.create("metric", "sliced-wasserstein", prefix=p) for p in ("", "again_")]
    found = Bench.prepare(ring, metrics, n=50, seed=0, device=CPU).measure(torch.zeros(50, 2))
    assert set(found) == {"sw2", "again_sw2"}
