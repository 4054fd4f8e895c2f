"""Precisions and layouts on a GPU: each is what it says, and every engine has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import assert_bf16_leaves_the_penalty

from ganbench.engines import Together
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.training import Trainer, Training

pytestmark = pytest.mark.gpu

REGISTRY = Registry.load()
VECTORS: dict[str, Any] = {"generator": {"use": "mlp", "width": 32, "latent": 8}, "regularizer": "r1"}
IMAGES: dict[str, Any] = {
    "dataset": "digits",
    "generator": {"use": "dcgan", "width": 8, "latent": 8},
    "discriminator": {"use": "dcgan", "width": 8},
    "optimizer": {"use": "adam", "eps": 1e-4},
}
# how far an engine may be from the serial one after some steps, as a share of the way trained
ERRORS = {"float64": 1e-9, "float32": 2e-3, "tf32": 5e-2, "bf16": 0.3}
STEPS = 5


def cell_of(small: dict[str, Any], axes: dict[str, Any], **run: Any) -> Cell:
    grid = {"run": small["run"] | {"engine": "serial", "batch": 16} | run, "grid": small["grid"] | axes}
    (combination,) = Grid.load(grid).combinations(REGISTRY)
    assert combination.skip is None
    return combination.cell


def trainer(cell: Cell, folder: Path, device: str, seed: int = 0) -> Trainer:
    return Trainer(Trial(cell, seed), folder, Training(device), lambda *_: None)


def vector(state: Any) -> torch.Tensor:
    return torch.cat([p.double().flatten().cpu() for player in (state.g, state.d) for p in player.params.values()])


def relative_error_of_a_product(device: str) -> float:
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=rng) for _ in range(2))
    exact = a.double() @ b.double()
    found = (a.to(device) @ b.to(device)).cpu().double()
    return float((found - exact).norm() / exact.norm())


def relative_error_of_a_convolution(device: str) -> float:
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(8, 64, 16, 16, generator=rng), torch.randn(64, 64, 3, 3, generator=rng)
    exact = torch.nn.functional.conv2d(x.double(), w.double(), padding=1)
    found = torch.nn.functional.conv2d(x.to(device), w.to(device), padding=1).cpu().double()
    return float((found - exact).norm() / exact.norm())


ARITHMETIC = {"products": relative_error_of_a_product, "convolutions": relative_error_of_a_convolution}


@pytest.mark.parametrize("what", ARITHMETIC)
def test_tf32_is_on_where_it_is_asked_for_and_off_elsewhere(
    what: str, cuda: torch.device, small: dict[str, Any], tmp_path: Path
) -> None:
    device = str(cuda)
    found = {}
    for precision in ("float32", "tf32", "bf16", "float64", "tf32", "float32"):
        trainer(cell_of(small, VECTORS, precision=precision), tmp_path, device)
        error = ARITHMETIC[what](device)
        assert (error > 1e-4) == (precision == "tf32"), f"{precision}: relative error {error:.1e}"
        found[precision] = error
    assert 1e-4 < found["tf32"] < 1e-2
    assert found["float32"] < 5e-6


@pytest.mark.parametrize("axes", [VECTORS, IMAGES | {"regularizer": "r1"}], ids=["mlp", "dcgan"])
@pytest.mark.parametrize("precision", ERRORS)
def test_the_fused_engine_agrees_with_the_serial_one(
    precision: str, axes: dict[str, Any], device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    cell = cell_of(small, axes, precision=precision)
    serial = [trainer(cell, tmp_path, device, seed) for seed in range(2)]
    begun = [vector(t.state) for t in serial]
    for t in serial:
        t.advance(STEPS)
    fused = [trainer(cell, tmp_path, device, seed) for seed in range(2)]
    engine = Together(fused, mapped=True, compiled=False)
    engine.advance(STEPS)
    engine.settle()
    for one, other, start in zip(fused, serial, begun, strict=True):
        assert {p.dtype for p in one.state.d.params.values()} == {p.dtype for p in other.state.d.params.values()}
        way = (vector(other.state) - start).norm()
        off = float((vector(one.state) - vector(other.state)).norm() / way)
        assert off < ERRORS[precision], f"{off:.1e} of the way trained"


@pytest.mark.slow
@pytest.mark.parametrize("mapped", [True, False], ids=["fused", "serial"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_so_does_what_is_compiled(
    precision: str,
    mapped: bool,  # noqa: FBT001 # a parameter of the test
    device: str,
    small: dict[str, Any],
    tmp_path: Path,
) -> None:
    cell = cell_of(small, VECTORS, precision=precision)
    serial, compiled = (trainer(cell, tmp_path, device) for _ in range(2))
    start = vector(serial.state)
    serial.advance(STEPS)
    engine = Together([compiled], mapped=mapped, compiled=True)
    engine.advance(STEPS)
    engine.settle()
    off = float((vector(compiled.state) - vector(serial.state)).norm() / (vector(serial.state) - start).norm())
    assert off < ERRORS[precision], f"{off:.1e} of the way trained"


# regularizer, how far its penalty may be from that of float32: fakes come from a pass in bf16
PENALTIES = [("r1", 1e-5), ("dragan", 1e-5), ("gradient-penalty", 0.02)]


@pytest.mark.parametrize(("regularizer", "rtol"), PENALTIES, ids=[name for name, _ in PENALTIES])
@pytest.mark.parametrize("axes", [VECTORS, IMAGES], ids=["mlp", "dcgan"])
def test_under_bf16_scores_are_rounded_and_the_penalty_is_that_of_float32(
    axes: dict[str, Any], regularizer: str, rtol: float, device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    chosen = axes | {"regularizer": regularizer}
    low, full = (trainer(cell_of(small, chosen, precision=p), tmp_path, device) for p in ("bf16", "float32"))
    assert_bf16_leaves_the_penalty(low, full, rtol)


@pytest.mark.parametrize("precision", ["float64", "tf32", "bf16"])
def test_channels_last_moves_memory_and_not_numbers(
    precision: str, device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    cells = [
        cell_of(small, IMAGES | {"regularizer": "r1"}, precision=precision, channels_last=on) for on in (True, False)
    ]
    last, first = (trainer(cell, tmp_path, device) for cell in cells)
    start = vector(first.state)
    images = [p for p in last.state.d.params.values() if p.dim() == 4]
    assert images
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in images)
    for t in (last, first):
        t.advance(STEPS)
    images = [p for p in last.state.d.params.values() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in images), "the layout is kept by steps"
    off = float((vector(last.state) - vector(first.state)).norm() / (vector(first.state) - start).norm())
    assert off < ERRORS[precision], f"{off:.1e} of the way trained"


@pytest.mark.slow
def test_channels_last_is_compiled(device: str, small: dict[str, Any], tmp_path: Path) -> None:
    cell = cell_of(small, IMAGES | {"regularizer": "r1"}, precision="float64", channels_last=True)
    serial, compiled = (trainer(cell, tmp_path, device) for _ in range(2))
    serial.advance(STEPS)
    engine = Together([compiled], mapped=False, compiled=True)
    engine.advance(STEPS)
    engine.settle()
    torch.testing.assert_close(vector(compiled.state), vector(serial.state), rtol=1e-9, atol=1e-10)
