"""What the compiler makes of a step for a GPU trains as the plain step does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fitting import ADAM, IMAGES, STEPS, VECTORS, alone, assert_same, cell_of, trainers_of
from replays import not_replayed

from ganbench.engines import Together

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

SEEDS = 3
DCGAN = IMAGES | {"discriminator": {"use": "dcgan", "width": 4}}
RESNET = {
    "dataset": "digits",
    "generator": {"use": "resnet-sngan", "latent": 4, "width": 4},
    "discriminator": {"use": "resnet-sngan", "width": 4},
    "optimizer": ADAM,
}
CASES: dict[str, dict[str, Any]] = {
    "resnet": RESNET | {"regularizer": "spectral-norm", "loss": "hinge"},
    "dcgan-r1": DCGAN | {"regularizer": "r1"},
    "dcgan-gradient-penalty": DCGAN | {"regularizer": "gradient-penalty", "loss": "wasserstein"},
    "none": {},
    "r1": {"regularizer": "r1"},
    "lazy-r1": {"regularizer": {"use": "r1", "every": 4}},
    "gradient-penalty": {"regularizer": "gradient-penalty", "loss": "wasserstein"},
    "spectral-norm": {"regularizer": "spectral-norm", "loss": "hinge"},
    "vat": {"regularizer": "vat"},
    "clip": {"regularizer": "weight-clipping", "loss": "wasserstein"},
    "stack": {"regularizer": [["spectral-norm", "r1", "gradient-clipping"]]},
    "rmsprop": {"optimizer": {"use": "rmsprop", "eps": 1e-4}},
    "extragradient": {"update": "extragradient"},
    "consensus": {"update": "consensus"},
    "ada": DCGAN | {"regularizer": {"use": "ada", "start": 0.7}},
}
ONE = ["r1", "dcgan-r1", "resnet"]
"""Cases whose step is compiled for one seed, too."""


def cases() -> list[Any]:
    found = [pytest.param(name, True, id=f"fused-{name}") for name in CASES]
    return found + [pytest.param(name, False, id=f"serial-{name}") for name in ONE]


@pytest.mark.parametrize(("name", "mapped"), cases())
def test_a_compiled_step_trains_as_the_plain_one(name: str, mapped: bool, device: str, tmp_path: Path) -> None:  # noqa: FBT001 # a parameter of the test
    axes = VECTORS | {"discriminator": {"use": "mlp", "width": 6}, "loss": "non-saturating"} | CASES[name]
    cell = cell_of(axes)
    assert cell is not None
    seeds = SEEDS if mapped else 1
    group = trainers_of(cell, tmp_path, device, seeds)
    engine = Together(group, mapped=mapped, compiled=True)
    engine.advance(STEPS)
    engine.settle()
    assert_same([t.state for t in group], alone(cell, tmp_path, STEPS, device, seeds))
    if device.startswith("cuda"):
        assert not_replayed(engine) == []
