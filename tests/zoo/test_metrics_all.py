"""What holds for every metric, and what every metric says of degenerate samples."""

from __future__ import annotations

import math

import pytest
import torch
from measuring import measured, normal

from ganbench import Bank, ConfigError, ContractError, Metric, Samples, stream
from ganbench_zoo import (
    metrics_classifier,
    metrics_diversity,
    metrics_frechet,
    metrics_kernel,
    metrics_manifold,
    metrics_memorization,
    metrics_modes,
    metrics_stacked,
    metrics_transport,
)
from ganbench_zoo.datasets import Ring
from ganbench_zoo.metrics_manifold import DensityCoverage, PrecisionRecall

MODULES = (
    metrics_classifier,
    metrics_diversity,
    metrics_frechet,
    metrics_kernel,
    metrics_manifold,
    metrics_memorization,
    metrics_modes,
    metrics_stacked,
    metrics_transport,
)
KINDS = {cls.name: cls for module in MODULES for cls in module.ganbench_components()}
PICTURES = {"ssim-diversity"}
FAST = {
    "prd": {"runs": 2, "restarts": 1, "clusters": 4},
    "inception-score": {"splits": 2},
    "frechet-infinity": {"points": 4},
    "stacked-modes": {"channels": 2},
    "ssim-diversity": {"span": 2.0},
    "ct": {"cells": 2, "least": 2},
}
SHUFFLED = {"inception-score", "frechet-infinity", "feature-diversity", "ssim-diversity", "prd"}
"""Those that draw samples by place: another order is another draw."""


def make(name: str) -> Metric:
    """A metric that knows the modes of a ring and takes little time."""
    return KINDS[name](**FAST.get(name, {})).bind(Ring().spec())


def dress(name: str, x: torch.Tensor) -> torch.Tensor:
    """Two values a sample as they are, or as a picture."""
    return x[:, None, :, None].expand(-1, 1, -1, 3) if name in PICTURES else x


def of(name: str, fake, real, **more) -> dict[str, float]:
    sets = [dress(name, x) for x in (fake, real)]
    labels = tuple(torch.arange(len(x)) % 2 for x in sets)
    train = dress(name, normal(90, real.shape[1], seed=7).to(real.dtype))
    return measured(make(name), *sets, **({"train": train, "labels": labels} | more))


@pytest.fixture(params=sorted(KINDS))
def name(request):
    return request.param


def test_numbers_are_finite_repeat_and_leave_the_global_stream_alone(name):
    fake, real = normal(80, 2), normal(70, 2, seed=1)
    before = torch.random.get_rng_state()
    first = of(name, fake, real)
    assert all(map(math.isfinite, first.values()))
    assert first == of(name, fake, real)
    assert torch.equal(before, torch.random.get_rng_state())


def test_samples_may_be_of_any_float_type(name):
    fake, real = (normal(60, 2, seed=s).float() for s in (0, 1))
    assert of(name, fake, real) == pytest.approx(of(name, fake.double(), real.double()), rel=1e-5, abs=1e-9)


def test_inputs_are_not_written_to(name):
    fake, real = normal(60, 2), normal(60, 2, seed=1)
    copies = fake.clone(), real.clone()
    of(name, fake, real)
    assert torch.equal(fake, copies[0])
    assert torch.equal(real, copies[1])


@pytest.mark.parametrize("name", sorted(set(KINDS) - SHUFFLED))
def test_the_order_of_samples_does_not_matter(name):
    fake, real = normal(60, 2), normal(60, 2, seed=1)
    order = torch.arange(59, -1, -1)
    labels = tuple((torch.arange(60) % 2)[i] for i in (order, order))
    back = of(name, fake[order], real[order], labels=labels)
    assert of(name, fake, real) == pytest.approx(back, rel=1e-8, abs=1e-12)


def test_no_samples_and_other_sizes_are_taught_about(name):
    with pytest.raises(ConfigError, match="at least 1 fake samples, not 0"):
        of(name, normal(0, 2), normal(9, 2))
    with pytest.raises(ContractError, match=r"a fake sample has \d values and a real one \d"):
        of(name, normal(9, 3), normal(9, 2))


# -- degenerate samples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["fake", "real"])
def test_values_that_are_not_finite_make_every_measure_nan_and_are_counted(name, bad, side):
    sets = {"fake": normal(50, 2), "real": normal(50, 2, seed=1)}
    sets[side][7, 1] = sets[side][9, 0] = bad
    banks = {s: Bank(Samples(dress(name, x)), side=s) for s, x in sets.items()}
    values = make(name).measured(banks["fake"], banks["real"], stream(0, "eval"))
    assert set(values) == {m.name for m in KINDS[name].measures}
    assert all(math.isnan(v) for v in values.values())
    assert banks[side].notes == [f"2 of 50 {side} samples are not finite"]


IDENTICAL = {
    "frechet-distance": {"fd": (0, 1e-12)},
    "mmd": {"mmd2": (-1, 0)},
    "cmmd": {"cmmd": (-1e-9, 1e-9)},
    "kid": {"kid": (-10, 0)},
    "precision-recall": {"precision": 1, "recall": 1},
    "density-coverage": {"density": (0.99, 1.01), "coverage": 1},
    "prd": {"prd_f8": (1 - 1e-9, 1 + 1e-9), "prd_f18": (1 - 1e-9, 1 + 1e-9)},
    "sliced-wasserstein": {"sw2": 0},
    "max-sliced-wasserstein": {"msw2": 0},
    "wasserstein": {"w2": 0},
    "class-histogram": {"class_kl": (0, 0.01)},
    "ct": {"ct": (-1e-9, 1e-9)},
}
CONSTANT = {  # both sets are one and the same point
    "frechet-distance": {"fd": 0},
    "frechet-infinity": {"fd_inf": (-1e-15, 1e-15)},
    "kid": {"kid": (-1e-12, 1e-12), "kid_se": (0, 1e-9)},
    "cmmd": {"cmmd": (-1e-9, 1e-9)},
    "precision-recall": {"precision": 1, "recall": 1},
    "density-coverage": {"density": 0, "coverage": 0},
    "prd": {"prd_f8": (1 - 1e-9, 1 + 1e-9), "prd_f18": (1 - 1e-9, 1 + 1e-9)},
    "sliced-wasserstein": {"sw2": 0},
    "max-sliced-wasserstein": {"msw2": 0},
    "wasserstein": {"w2": 0},
    "vendi": {"vendi": (1 - 1e-9, 1 + 1e-9)},
    "ssim-diversity": {"ssim": (1 - 1e-9, 1 + 1e-9)},
    "feature-diversity": {"spread": 0},
    "inception-score": {"is": (1 - 1e-9, 1 + 1e-9), "is_std": (0, 1e-9)},
    "class-histogram": {"class_kl": (0, 0.02)},
}
COLLAPSED = {  # all fakes are the first real sample
    "precision-recall": {"precision": 1, "recall": (0, 0.02)},
    "density-coverage": {"coverage": (0.01, 0.3)},
    "vendi": {"vendi": (1 - 1e-9, 1 + 1e-9)},
    "ssim-diversity": {"ssim": (1 - 1e-9, 1 + 1e-9)},
    "feature-diversity": {"spread": 0},
    "inception-score": {"is": (1 - 1e-9, 1 + 1e-9)},
}


def check(values: dict[str, float], expected: dict[str, float | tuple[float, float]]) -> None:
    assert all(map(math.isfinite, values.values())), values
    for measure, value in expected.items():
        low, high = value if isinstance(value, tuple) else (value, value)
        assert low <= values[measure] <= high, (measure, values[measure])


def test_identical_sets(name):
    x = normal(60, 2)
    check(of(name, x, x.clone()), IDENTICAL.get(name, {}))


def test_two_sets_of_one_constant(name):
    x = torch.full((60, 2), 0.3, dtype=torch.float64)
    if name == "mmd":
        with pytest.raises(ConfigError, match="median distance of real samples is 0"):
            of(name, x, x)
        return
    check(of(name, x, x.clone()), CONSTANT.get(name, {}))


def test_a_collapsed_generator(name):
    real = normal(100, 2)
    check(of(name, real[:1].expand(100, 2), real), COLLAPSED.get(name, {}))


def test_many_duplicates(name):
    real = normal(60, 2, seed=1)
    real[:12] = real[0]
    check(of(name, real.flip(0), real), {})


def test_one_feature(name):
    if name in {"mixture-modes", "stacked-modes"}:
        with pytest.raises(ConfigError):
            of(name, normal(60, 1), normal(60, 1, seed=1))
        return
    check(of(name, normal(60, 1), normal(60, 1, seed=1)), {})


@pytest.mark.parametrize("name", sorted(set(KINDS) - PICTURES - {"mixture-modes"}))
def test_fewer_samples_than_features(name):
    metric = KINDS[name](**FAST.get(name, {}))
    fake, real, train = (normal(24, 40, seed=s) for s in (0, 1, 2))
    labels = (torch.arange(24) % 2,) * 2
    check(measured(metric, fake, real, train=train, labels=labels), {})


ALONE = {"class-histogram", "mixture-modes", "stacked-modes", "sliced-wasserstein", "max-sliced-wasserstein"}
ALONE |= {"wasserstein", "vendi", "authpct", "classifier-accuracy"}
"""Those that have a value for one sample on each side."""


def test_one_sample_has_a_value_or_a_plain_message(name):
    sets = normal(1, 2), normal(1, 2, seed=1)
    if name in ALONE:
        check(of(name, *sets), {})
    else:
        with pytest.raises(ConfigError, match=r"at least|evaluate on more samples"):
            of(name, *sets)


@pytest.mark.parametrize("name", ["frechet-distance", "frechet-infinity", "kid", "mmd", "precision-recall"])
def test_metrics_of_pairs_need_two_samples(name):
    with pytest.raises(ConfigError, match=r"at least \d+ fake samples, not 1"):
        of(name, normal(1, 2), normal(9, 2, seed=1))


@pytest.mark.parametrize("kind", [PrecisionRecall, DensityCoverage])
def test_one_sample_more_than_neighbours_is_enough(kind):
    assert measured(kind(k=4), normal(5, 2), normal(5, 2, seed=1))
    with pytest.raises(ConfigError, match="with k = 5 needs at least 6"):
        measured(kind(k=5), normal(5, 2), normal(5, 2, seed=1))


def test_certain_logits_have_the_score_of_their_classes():
    sure = 1e4 * torch.eye(4, dtype=torch.float64)
    assert of("inception-score", sure.repeat(20, 1), sure)["is"] == pytest.approx(4.0, rel=0.02)
    assert of("inception-score", sure[:1].repeat(20, 1), sure)["is"] == 1.0


def test_degenerate_samples_are_noted():
    fake, real = Bank(torch.full((20, 2), 0.3)), Bank(torch.full((20, 2), 0.3), side="real")
    DensityCoverage().measured(fake, real, stream(0, "eval"))
    assert fake.notes == ["all 20 fake samples are equal"]
    assert real.notes == ["all 20 real samples are equal", "20 of 20 real samples have 5 duplicates or more"]
