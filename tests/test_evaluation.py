"""Evaluation: equal counts, disjoint sets, floors, and metrics that misbehave."""

from __future__ import annotations

import math

import pytest
import torch

from ganbench import evaluation, keeping, neighbours
from ganbench.errors import ContractError
from ganbench.evaluation import Bench, gaussian
from ganbench.metric import Measure, Metric
from ganbench.registry import Registry
from ganbench.samples import SampleSpec

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


def test_metrics_of_one_extractor_share_passes_over_distances(registry, monkeypatch):
    ring = registry.create("dataset", "ring")
    metrics = [registry.create("metric", name) for name in ("precision-recall", "density-coverage")]
    fake = ring.spec().modes.std * torch.randn(60, 2) + 1
    apart = {}
    for metric in metrics:
        apart |= Bench.prepare(ring, [metric], n=60, seed=0, device=CPU).measure(fake)
    bench = Bench.prepare(ring, metrics, n=60, seed=0, device=CPU)
    passes, tiles = [], neighbours.tiles
    monkeypatch.setattr(neighbours, "tiles", lambda *args, **more: passes.append(1) or tiles(*args, **more))
    assert bench.measure(fake) == apart
    assert len(passes) == 2  # radii of the fakes, and all balls: those of real samples are known from the floors


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


def test_values_carry_their_protocol_and_a_null_model_beside_the_floor(registry):
    digits = registry.create("dataset", "digits")
    metrics = [
        registry.create("metric", "mixture-modes"),
        registry.create("metric", "sliced-wasserstein", projections=50, prefix="few_"),
    ]
    ring = Bench.prepare(registry.create("dataset", "ring"), metrics, n=100, seed=0, device=CPU)
    values = ring.values(found := ring.measure(torch.zeros(100, 2)), found)
    assert values["few_sw2"].protocol == {
        "metric": "sliced-wasserstein",
        "version": 1,
        "fields": {"projections": 50},
        "n_fake": 100,
        "n_real": 100,
        "split": "fresh",
        "extractor": "samples",
        "preprocessing": "",
        "dtype": "float32",
    }
    assert values["few_sw2"].told.startswith(
        "sliced-wasserstein v1 (projections=50), 100 fakes against 100 real (fresh)"
    )
    assert values["modes20"].protocol["fields"] == {}  # what it knows of the data is no choice
    # a Gaussian of the same moments spreads between the modes
    assert 0 < values["hq"].null < 0.2
    assert values["hq"].floor > 0.9
    fd = registry.create("metric", "frechet-distance", extractor=registry.create("extractor", "classifier", epochs=2))
    bench = Bench.prepare(digits, [fd], n=100, seed=0, device=CPU)
    protocol = bench.protocol(fd)
    assert protocol["split"] == "test"
    assert protocol["extractor"] == f"classifier(epochs=2)@{bench.views[fd.extractor.fingerprint].features.digest}"


class Looking(Metric, name="looking"):
    """Looks for copies."""

    measures = (Measure("same", "lower"), Measure("train", None))
    held_out = True

    def compare(self, fake, real, rng):
        return {"same": float(torch.equal(fake.rows, real.rows)), "train": float(len(fake.train or ()))}


def test_the_floor_of_a_metric_that_looks_for_copies_is_of_held_out_samples(registry):
    digits = registry.create("dataset", "digits")
    bench = Bench.prepare(digits, [Looking()], n=100, seed=0, device=CPU)
    assert bench.floors == {"same": 1.0, "train": 1198.0}
    assert bench.measure(bench.other)["same"] == 0.0


class Costly(Metric, name="costly"):
    """Counts how often it is asked."""

    measures = (Measure("a", "lower"),)
    asked = 0

    def compute(self, fake, real, rng):
        type(self).asked += 1
        return {"a": 1.0}


def test_floors_and_nulls_are_found_again_where_they_were_dear(registry, monkeypatch, tmp_path):
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(keeping, "WORTH_S", 0.0)
    drawn = []
    monkeypatch.setattr(evaluation, "gaussian", lambda *given: drawn.append(given) or gaussian(*given))
    first, again = (
        Bench.prepare(registry.create("dataset", "digits"), [Costly()], n=50, seed=0, device=CPU) for _ in range(2)
    )
    assert (first.floors, first.nulls) == (again.floors, again.nulls) == ({"a": 1.0}, {"a": 1.0})
    assert Costly.asked == 2
    assert len(drawn) == 1, "the null model was drawn for nothing"


def test_metrics_of_one_extractor_share_it_and_their_time_is_told_apart(registry):
    classifier = registry.create("extractor", "classifier", epochs=1)
    metrics = [registry.create("metric", n, extractor=classifier) for n in ("frechet-distance", "density-coverage")]
    bench = Bench.prepare(registry.create("dataset", "digits"), metrics, n=100, seed=0, device=CPU)
    assert len(bench.views) == 1
    assert set(bench.seconds) == {"extract_s", "frechet-distance_s", "density-coverage_s"}
    assert all(s > 0 for s in bench.seconds.values())


def test_samples_that_are_not_finite_are_noted_beside_the_value(registry):
    bench = Bench.prepare(
        registry.create("dataset", "ring"), [registry.create("metric", "sliced-wasserstein")], n=50, seed=0, device=CPU
    )
    fake = torch.zeros(50, 2)
    fake[3, 1] = math.nan
    value = bench.values(bench.measure(fake), bench.measure(torch.zeros(50, 2)))["sw2"]
    assert value.last is None
    assert value.ema is not None
    assert value.notes == "last: 1 of 50 fake samples are not finite; ema: all 50 fake samples are equal"


def test_the_null_model_has_the_moments_of_the_data_within_its_range():
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[1.0, 2, 0], [0, 1, 0], [0, 0, 0]]
    )
    drawn = gaussian(x + 1, SampleSpec(shape=(3,)), torch.Generator().manual_seed(1))
    assert torch.allclose(drawn.mean(0), (x + 1).mean(0), atol=0.15)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(x.T), atol=0.3)
    cut = gaussian(x, SampleSpec(shape=(3,), low=-1.0, high=1.0), torch.Generator().manual_seed(1))
    assert cut.abs().max() <= 1


class Precision(Metric, name="precision-of-products"):
    """What products are while it measures."""

    measures = (Measure("tf32", None),)

    def compute(self, fake, real, rng):
        del fake, real, rng
        return {"tf32": float(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)}


def test_metrics_compute_whole_products_whatever_training_does(registry):
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = products.allow_tf32, convolutions.allow_tf32
    bench = Bench.prepare(registry.create("dataset", "ring"), [Precision()], n=20, seed=0, device=CPU)
    products.allow_tf32 = convolutions.allow_tf32 = True
    try:
        assert bench.measure(torch.zeros(20, 2)) == {"tf32": 0.0}
        assert products.allow_tf32
        assert convolutions.allow_tf32
    finally:
        products.allow_tf32, convolutions.allow_tf32 = kept


def test_trials_of_one_process_load_an_extractor_once(registry, monkeypatch):
    metric = registry.create("metric", "frechet-distance", extractor=registry.create("extractor", "pixels"))
    loads = []
    load = type(metric.extractor).load
    monkeypatch.setattr(type(metric.extractor), "load", lambda self, *given: loads.append(given) or load(self, *given))
    ring, other = registry.create("dataset", "ring"), registry.create("dataset", "grid25")
    first = Bench.prepare(ring, [metric], n=50, seed=0, device=CPU)
    beside = Bench.prepare(ring, [metric], n=50, seed=1, device=CPU, like=first)
    assert len(loads) == 1
    assert beside.floors == Bench.prepare(ring, [metric], n=50, seed=1, device=CPU).floors
    Bench.prepare(other, [metric], n=50, seed=1, device=CPU, like=first)
    assert len(loads) == 3
