"""What precision and layout change, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import assert_bf16_leaves_the_penalty

from ganbench import checkpoint, training
from ganbench.choices import block_of_cell
from ganbench.engines import Together
from ganbench.errors import ConfigError
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench.training import Trainer, Training

REGISTRY = Registry.load()
IMAGES: dict[str, Any] = {
    "dataset": "digits",
    "generator": {"use": "dcgan", "width": 4, "latent": 4},
    "discriminator": {"use": "dcgan", "width": 4},
}


def cell_of(small: dict[str, Any], *, regularizer: Any = "r1", axes: dict[str, Any] | None = None, **run: Any) -> Cell:
    grid = small["grid"] | {"regularizer": regularizer} | (axes or {})
    (combination,) = Grid.load({"run": small["run"] | {"engine": "serial"} | run, "grid": grid}).combinations(REGISTRY)
    return combination.cell


def trainer(cell: Cell, folder: Path, seed: int = 0) -> Trainer:
    return Trainer(Trial(cell, seed), folder, Training(), lambda *_: None)


def test_each_is_part_of_a_cells_identity(small: dict[str, Any]) -> None:
    cells = [
        cell_of(small),
        cell_of(small, precision="bf16"),
        cell_of(small, precision="tf32"),
        cell_of(small, precision="float64"),
        cell_of(small, channels_last=True),
        cell_of(small, deterministic=False),
    ]
    assert len({c.id for c in cells}) == len(cells)
    assert all(Cell.from_spec(c.spec, REGISTRY).spec == c.spec for c in cells)


def test_deterministic_is_in_specifications_and_blocks_only_where_it_is_false(small: dict[str, Any]) -> None:
    unsaid, said, loose = cell_of(small), cell_of(small, deterministic=True), cell_of(small, deterministic=False)
    assert "deterministic" not in unsaid.spec, "or every published cell had another identity"
    assert said.id == unsaid.id
    assert loose.spec == unsaid.spec | {"deterministic": False}
    assert block_of_cell(said) == block_of_cell(unsaid) != block_of_cell(loose)


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_is_told_whether_to_be_deterministic(
    small: dict[str, Any],
    tmp_path: Path,
    deterministic: bool,  # noqa: FBT001 # a parameter of the test
) -> None:
    kept = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = not deterministic, True
        trainer(cell_of(small, deterministic=deterministic), tmp_path)
        assert torch.backends.cudnn.deterministic is deterministic
        assert torch.backends.cudnn.benchmark is False
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = kept


def test_a_cpu_computes_the_same_without_determinism(small: dict[str, Any], tmp_path: Path) -> None:
    usual, loose = (trainer(cell_of(small, axes=IMAGES, deterministic=on), tmp_path) for on in (True, False))
    for t in (loose, usual):
        t.advance(3)
    assert all(torch.equal(value, loose.state.d.params[name]) for name, value in usual.state.d.params.items())


def test_a_run_without_determinism_says_so(small: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    for name, run in (("usual", {}), ("loose", {"deterministic": False})):
        grid = small | {"run": small["run"] | {"name": name, "timing": False} | run}
        results = execute(Grid.load(grid), tmp_path, Options(device="cpu", workers=1)).results
        found[name] = results.trials
        (table,) = results.tables()
        assert any("deterministic = false" in footer for footer in table.footers) is (name == "loose")
    assert all("deterministic" not in r.facts for r in found["usual"])
    assert all(r.facts["deterministic"] is False for r in found["loose"])


def test_tf32_is_refused_on_a_cpu(small: dict[str, Any], tmp_path: Path) -> None:
    small["run"]["precision"] = "tf32"
    with pytest.raises(ConfigError, match="tf32 is arithmetic of NVIDIA GPUs"):
        execute(Grid.load(small), tmp_path, Options(device="cpu"))


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_all_that_torch_says_of_tf32_agrees(precision: str) -> None:
    """There are old flags and new ones, and a compiler that reads both: torch raises where they differ."""
    tf32 = precision == "tf32"
    try:
        training._set_arithmetic(precision, torch.device("cuda"))
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        assert matmul.allow_tf32 is cudnn.allow_tf32 is tf32
        assert (torch.get_float32_matmul_precision() == "highest") is not tf32
        settings = [matmul, cudnn.conv, cudnn.rnn]
        assert [part.fp32_precision == "tf32" for part in settings] == [tf32] * 3
    finally:
        training._set_arithmetic("float32", torch.device("cuda"))


# regularizer, how far its penalty may be from that of float32: not at all where it is one of real samples alone
PENALTIES = [
    ("r1", 1e-6),
    ("dragan", 1e-6),
    ("r2", 0.02),
    ("gradient-penalty", 0.02),
    ("lipschitz-penalty", 0.02),
    ("zero-centered-gradient-penalty", 0.02),
]


@pytest.mark.parametrize(("regularizer", "rtol"), PENALTIES, ids=[name for name, _ in PENALTIES])
def test_under_bf16_scores_are_rounded_and_the_penalty_is_that_of_float32(
    small: dict[str, Any], tmp_path: Path, regularizer: str, rtol: float
) -> None:
    penalty = {"use": regularizer, "target": 0.0} if regularizer == "lipschitz-penalty" else regularizer
    low, full = (trainer(cell_of(small, precision=p, regularizer=penalty), tmp_path) for p in ("bf16", "float32"))
    assert_bf16_leaves_the_penalty(low, full, rtol)


def test_a_penalty_that_holds_scores_of_both_kinds_against_each_other_is_advised_against(small: dict[str, Any]) -> None:
    told = {
        (p, r): [reason for reason in cell_of(small, precision=p, regularizer=r).advice() if "bf16" in reason]
        for p in ("bf16", "float32")
        for r in ("vat", "adversarial-lipschitz", "lecam", "r1", "gradient-penalty", "spectral-norm")
    }
    assert {key for key, reasons in told.items() if reasons} == {("bf16", "vat"), ("bf16", "adversarial-lipschitz")}


@pytest.mark.parametrize("mapped", [False, True])
def test_weights_stay_float32_and_training_stays_close_in_each_engine(
    small: dict[str, Any],
    tmp_path: Path,
    mapped: bool,  # noqa: FBT001 # a parameter of the test
) -> None:
    low, full = (trainer(cell_of(small, precision=p), tmp_path) for p in ("bf16", "float32"))
    engine = Together([low], mapped=mapped, compiled=False)
    engine.advance(5)
    engine.settle()
    full.advance(5)
    for name, value in low.state.d.params.items():
        assert value.dtype is torch.float32
        assert not torch.equal(value, full.state.d.params[name])
        torch.testing.assert_close(value, full.state.d.params[name], rtol=0, atol=5e-3)


def test_statistics_of_batches_stay_float32_for_seeds_in_one_step(small: dict[str, Any], tmp_path: Path) -> None:
    cell = cell_of(small, axes=IMAGES, precision="bf16", batch=16)
    alone = [trainer(cell, tmp_path), trainer(cell, tmp_path, 1)]
    engine = Together([trainer(cell, tmp_path), trainer(cell, tmp_path, 1)], mapped=True, compiled=False)
    engine.advance(1)
    engine.settle()
    for one, other in zip(alone, engine.trainers, strict=True):
        one.advance(1)
        assert one.state.g.buffers
        for name, value in one.state.g.buffers.items():
            found = other.state.g.buffers[name]
            assert found.dtype == value.dtype
            torch.testing.assert_close(found, value, rtol=2e-2, atol=2e-3)  # convolutions of both round to 8 bits


def test_channels_last_moves_memory_and_not_numbers(small: dict[str, Any], tmp_path: Path) -> None:
    cells = [cell_of(small, axes=IMAGES, precision="float64", channels_last=on) for on in (True, False)]
    last, first = (trainer(cell, tmp_path) for cell in cells)
    images = [p for p in last.state.d.params.values() if p.dim() == 4]
    assert images
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in images)
    for t in (last, first):
        t.advance(5)
    for name, value in first.state.d.params.items():
        torch.testing.assert_close(last.state.d.params[name], value, rtol=1e-9, atol=1e-10)


def test_a_checkpoint_keeps_the_layout(small: dict[str, Any], tmp_path: Path) -> None:
    kept = trainer(cell_of(small, axes=IMAGES, channels_last=True), tmp_path)
    kept.advance(2)
    checkpoint.save(tmp_path, kept.state, kept.feed.state(), {})
    found = checkpoint.load(tmp_path, kept.state, kept.device)
    assert found is not None
    for name, value in kept.state.d.params.items():
        assert found[0].d.params[name].stride() == value.stride()
        assert torch.equal(found[0].d.params[name], value)
