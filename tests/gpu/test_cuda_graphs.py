"""CUDA graphs hold the state in memory of their own: trials that share one do not mix."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import IMAGES, VECTORS, alone, assert_same, cell_of, trainers_of
from fresh import after, together
from replays import not_replayed
from safetensors.torch import load_file

from ganbench import checkpoint
from ganbench.engines import Apart, Together, engine_of
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.training import Trainer, Training

pytestmark = pytest.mark.gpu

LAZY = [["spectral-norm", {"use": "r1", "every": 3}, "instance-noise"]]
STEPS = 7


def lazy() -> Cell:
    cell = cell_of(
        VECTORS | {"discriminator": {"use": "mlp", "width": 6}, "loss": "non-saturating", "regularizer": LAZY}
    )
    assert cell is not None
    return cell


def test_a_second_stack_of_a_family_ends_as_in_a_process_of_its_own(device: str, tmp_path: Path) -> None:
    """Bit for bit, though it is trained by the graph of the first."""
    cell = lazy()
    first = together(cell, tmp_path, device, [0, 1])
    first.advance(STEPS)
    second = together(cell, tmp_path, device, [2, 3])
    assert second.kinds is first.kinds, "they share what is traced"
    second.advance(STEPS)
    found = after(second)
    out = tmp_path / "fresh.safetensors"
    told = json.dumps({"spec": cell.spec, "seeds": [2, 3], "steps": STEPS, "device": device, "out": str(out)})
    script = Path(__file__).with_name("fresh.py")
    done = subprocess.run([sys.executable, str(script), told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fresh = load_file(out)
    assert found.keys() == fresh.keys()
    assert [name for name, value in fresh.items() if not torch.equal(found[name], value)] == []


def test_stacks_that_take_turns_do_not_disturb_each_other(device: str, tmp_path: Path) -> None:
    cell = lazy()
    one, other = (together(cell, tmp_path, device, seeds) for seeds in ([0, 1], [2, 3]))
    for steps in (1, 2, 1, 3):
        one.advance(steps)
        other.advance(steps)
    found = after(one), after(other)
    for seeds, ended in zip(([0, 1], [2, 3]), found, strict=True):
        undisturbed = together(cell, tmp_path, device, seeds)
        undisturbed.advance(STEPS)
        expected = after(undisturbed)
        assert [name for name, value in expected.items() if not torch.equal(ended[name], value)] == []


def test_a_settled_state_is_not_overwritten_by_later_steps(device: str, tmp_path: Path) -> None:
    engine = together(lazy(), tmp_path, device, [0, 1])
    engine.advance(2)
    engine.settle()
    kept = [checkpoint.flatten(t.state) for t in engine.trainers]
    copies = [{name: value.clone() for name, value in state.items()} for state in kept]
    logs = [{name: float(value) for name, value in engine.logs(t).items()} for t in engine.trainers]
    held = [engine.logs(t) for t in engine.trainers]
    engine.advance(3)
    for state, copy in zip(kept, copies, strict=True):
        assert [name for name, value in copy.items() if not torch.equal(state[name], value)] == []
    assert [{name: float(value) for name, value in t.state.logs.items()} for t in engine.trainers] == logs
    del held


def test_steps_one_by_one_are_those_of_one_call(device: str, tmp_path: Path) -> None:
    """The logs and the state of the step before are inputs of the next, in one call as over several."""
    cell = lazy()
    whole, pieces = (together(cell, tmp_path, device, [0, 1]) for _ in range(2))
    whole.advance(STEPS)
    ended = after(whole)
    logged = [{name: float(value) for name, value in whole.logs(t).items()} for t in whole.trainers]
    for _ in range(STEPS):
        pieces.advance(1)
        pieces.settle()
    found = after(pieces)
    assert [name for name, value in ended.items() if not torch.equal(found[name], value)] == []
    assert [{n: float(v) for n, v in pieces.logs(t).items()} for t in pieces.trainers] == logged


def test_a_stack_goes_on_without_a_trial(device: str, tmp_path: Path) -> None:
    cell = lazy()
    engine = together(cell, tmp_path, device, [0, 1, 2])
    engine.advance(3)
    engine.drop(engine.trainers[1])
    engine.advance(STEPS - 3)
    engine.settle()
    alike = alone(cell, tmp_path, STEPS, device, seeds=3)
    assert_same([t.state for t in engine.trainers], [alike[0], alike[2]])


def test_many_steps_equal_those_of_the_plain_engine(device: str, tmp_path: Path) -> None:
    """Hundreds of replays in several calls, with three kinds of step: what is wrong once in a while shows here."""
    cell = lazy()
    engine = together(cell, tmp_path, device, [0, 1])
    for _ in range(4):
        engine.advance(50)
    engine.settle()
    assert_same([t.state for t in engine.trainers], alone(cell, tmp_path, 200, device), 1e-8)


def test_one_seed_of_the_fused_engine_trains_as_it_does_alone(device: str, tmp_path: Path) -> None:
    axes = VECTORS | {"discriminator": {"use": "mlp", "width": 6}, "loss": "non-saturating", "regularizer": "r1"}
    cell = cell_of(axes)
    assert cell is not None
    group = trainers_of(cell, tmp_path, device, seeds=1)
    engine = Together(group, mapped=True, compiled=False)
    engine.advance(STEPS)
    engine.settle()
    assert_same([group[0].state], alone(cell, tmp_path, STEPS, device, seeds=1))


def test_cells_that_differ_in_numbers_train_in_one_step_as_they_do_alone(device: str, tmp_path: Path) -> None:
    """With gamma, lr_d and beta2 as inputs of the step, one each for every trial."""
    base = VECTORS | {"discriminator": {"use": "mlp", "width": 6}, "loss": "non-saturating"}
    found = [
        cell_of(
            base | {"regularizer": {"use": "r1", "gamma": gamma}, "optimizer": {"use": "adam", "lr_d": lr, "eps": 1e-4}}
        )
        for gamma, lr in ((0.1, 1e-4), (10.0, 3e-4), (1.0, 1e-3))
    ]
    cells = [cell for cell in found if cell is not None]
    assert len(cells) == 3
    fused = [Trainer(Trial(cell, 0), tmp_path, Training(device), lambda *_: None) for cell in cells]
    engine = Together(fused, mapped=True, compiled=False, numbers=("regularizer.0.gamma", "optimizer.lr_d"))
    engine.advance(STEPS)
    engine.settle()
    for cell, trainer in zip(cells, fused, strict=True):
        assert_same([trainer.state], alone(cell, tmp_path, STEPS, device, seeds=1))
    if device.startswith("cuda"):
        assert not_replayed(engine) == []


def test_a_step_that_asks_for_a_number_says_so_and_trains_all_the_same(
    device: str, tmp_path: Path, plugins: Path, small: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be traced, and not be captured either."""
    small["run"] |= {"engine": "serial", "compile": True}
    small["grid"]["regularizer"] = "asks-for-a-number"
    (combination,) = Grid.load(small).combinations(Registry.load([plugins / "trouble.py"]))
    group = [Trainer(Trial(combination.cell, 0), tmp_path, Training(device), lambda *_: None)]
    engine = Together(group, mapped=False, compiled=False)
    engine.advance(3)
    engine.settle()
    assert "the step cannot be traced" in capsys.readouterr().err
    lone = Trainer(Trial(combination.cell, 0), tmp_path, Training(device), lambda *_: None)
    lone.advance(3)
    assert_same([group[0].state], [lone.state], 1e-6)


@pytest.mark.parametrize("shape", [VECTORS, IMAGES], ids=["vectors", "images"])
def test_the_engine_that_a_cell_names_is_replayed(
    cuda: torch.device, tmp_path: Path, small: dict[str, Any], shape: dict[str, Any]
) -> None:
    """On a GPU all trials of a stack are in one operation, however wide; with convolutions, on streams of their own."""
    small["run"] |= {"engine": "fused", "compile": False, "precision": "float64"}
    kind = "mlp" if shape is VECTORS else "dcgan"
    small["grid"] |= shape | {"discriminator": {"use": kind, "width": 4}, "regularizer": {"use": "r1", "every": 2}}
    (combination,) = Grid.load(small).combinations(Registry.load())
    group = [Trainer(Trial(combination.cell, s), tmp_path, Training(str(cuda)), lambda *_: None) for s in range(4)]
    engine = engine_of(group)
    parts = list(dict.fromkeys(engine.engines.values())) if isinstance(engine, Apart) else [engine]
    assert len(parts) == (1 if shape is VECTORS else 4)
    for part in parts:
        assert isinstance(part, Together)
        assert part.mapped == (shape is VECTORS)
    for steps in (1, 3, 2 * group[0].feed.longest):
        engine.advance(steps)
    engine.settle()
    assert [not_replayed(part) for part in parts] == [[]] * len(parts)
    torch.cuda.synchronize()
    total = 4 + 2 * group[0].feed.longest
    assert_same([t.state for t in group], alone(combination.cell, tmp_path, total, str(cuda), 4), 1e-9)
