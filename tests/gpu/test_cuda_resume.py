"""On a GPU, too, a trial that goes on from a checkpoint ends bit for bit where one that was never interrupted does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from resuming import ENGINES, cell_of, check, registry

pytestmark = pytest.mark.gpu

IMAGES = {"generator": {"use": "dcgan", "width": 4, "latent": 4}, "discriminator": {"use": "dcgan", "width": 4}}


def engines() -> list[Any]:
    return [pytest.param(e, marks=[pytest.mark.slow] if "compiled" in e else [], id=e) for e in ENGINES]


@pytest.mark.parametrize("engine", engines())
def test_a_resumed_trial_ends_where_a_whole_one_does(
    engine: str, device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    check(cell_of(small, registry(), engine), tmp_path, device)


@pytest.mark.parametrize("engine", ["serial", "fused"])
def test_so_does_one_with_convolutions(engine: str, device: str, small: dict[str, Any], tmp_path: Path) -> None:
    """Kernels that add up in any order would not do."""
    check(cell_of(small, registry(), engine, **IMAGES), tmp_path, device)


@pytest.mark.parametrize("regularizer", ["ada", "diffaugment", "lecam", "consistency"])
def test_so_does_one_with_augmentations_and_state(
    regularizer: str, device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    check(cell_of(small, registry(), "fused", **IMAGES, regularizer=regularizer), tmp_path, device)
