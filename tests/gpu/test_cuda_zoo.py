"""Every component of the zoo trains on a GPU as on a CPU, and its fused step is replayed there as a CUDA graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import CALLED, FEW, OPTIONS, alone, assert_same, cell_of, fitting, identify, shipped, trained
from replays import fallbacks

from ganbench.component import Component

pytestmark = pytest.mark.gpu

LAUNCHED: dict[str, str] = {}
"""Components whose step is launched kernel by kernel, and why: to be true of each, and to be short."""
KERNELS = 1e-9
"""How far a GPU's sums may be from a CPU's after a few steps in float64."""


def step_of(axes: dict[str, Any]) -> Any:
    cell = cell_of({"loss": "non-saturating"} | axes)
    assert cell is not None
    return cell


@pytest.mark.parametrize("cls", shipped(), ids=identify)
def test_seeds_in_one_step_train_as_they_do_alone(cls: type[Component], device: str, tmp_path: Path) -> None:
    cell = fitting(cls)
    fused = trained(cell, tmp_path, mapped=True, compiled=False, steps=FEW, device=device)
    assert_same(fused, alone(cell, tmp_path, FEW, device))


@pytest.mark.parametrize("cls", shipped(), ids=identify)
def test_a_seed_trains_as_on_a_cpu(cls: type[Component], device: str, tmp_path: Path) -> None:
    cell = fitting(cls)
    assert_same(alone(cell, tmp_path, FEW, device, seeds=1), alone(cell, tmp_path, FEW, "cpu", seeds=1), KERNELS)


@pytest.mark.parametrize("cls", shipped(), ids=identify)
def test_the_step_of_seeds_is_replayed(cls: type[Component], cuda: torch.device, tmp_path: Path) -> None:
    found = fallbacks(fitting(cls), tmp_path, str(cuda))
    assert bool(found) == (identify(cls) in LAUNCHED), found or "it is replayed after all"


@pytest.mark.parametrize("axes", OPTIONS, ids=CALLED)
def test_options_train_as_they_do_alone_and_on_a_cpu(axes: dict[str, Any], device: str, tmp_path: Path) -> None:
    cell = step_of(axes)
    serial = alone(cell, tmp_path, FEW, device)
    assert_same(serial, alone(cell, tmp_path, FEW, "cpu"), KERNELS)
    assert_same(trained(cell, tmp_path, mapped=True, compiled=False, steps=FEW, device=device), serial)


@pytest.mark.parametrize("axes", OPTIONS, ids=CALLED)
def test_the_step_of_options_is_replayed(axes: dict[str, Any], cuda: torch.device, tmp_path: Path) -> None:
    assert fallbacks(step_of(axes), tmp_path, str(cuda)) == []
