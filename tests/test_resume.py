"""A trial that goes on from a checkpoint ends bit for bit where one that was never interrupted does, in each engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganbench import checkpoint, graph
from ganbench.engines import engine_of
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.training import Trainer, Training

STEPS, STOP, SEEDS = 12, 7, 2
ENGINES = ["serial", "fused", "serial+compiled", "fused+compiled"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load([Path(__file__).parent / "plugins" / "trouble.py"])


def cell_of(small: dict[str, Any], registry: Registry, engine: str) -> Cell:
    kind, _, compiled = engine.partition("+")
    run = small["run"] | {"engine": kind, "compile": bool(compiled)}
    axes = {
        "dataset": "digits",
        "regularizer": [["spectral-norm", {"use": "r1", "every": 4}, "drift", "instance-noise"]],
        "update": {"use": "optimistic"},
    }
    (combination,) = Grid.load({"run": run, "grid": small["grid"] | axes}).combinations(registry)
    assert combination.skip is None
    return combination.cell


def trainers(cell: Cell, folder: Path) -> list[Trainer]:
    return [Trainer(Trial(cell, seed), folder / str(seed), Training(), lambda *_: None) for seed in range(SEEDS)]


def advance(group: list[Trainer], steps: int) -> None:
    for together in [group] if group[0].cell.stacked else [[t] for t in group]:
        engine = engine_of(together)
        engine.advance(steps)
        engine.settle()


def everything(trainer: Trainer) -> dict[str, Tensor]:
    return checkpoint.flatten(trainer.state) | trainer.feed.state()


def check(cell: Cell, folder: Path) -> None:
    whole = trainers(cell, folder)
    advance(whole, STEPS)
    begun = trainers(cell, folder)
    advance(begun, STOP)
    for t in begun:
        t.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(t.folder, t.state, t.feed.state(), {})
    resumed = trainers(cell, folder)
    for t in resumed:
        found = checkpoint.load(t.folder, t.state, t.device)
        assert found is not None
        t.state, feed, _ = found
        t.feed.restore(feed)
        t.step = int(t.state.step)
    advance(resumed, STEPS - STOP)
    for one, other in zip(resumed, whole, strict=True):
        left, right = everything(one), everything(other)
        assert left.keys() == right.keys()
        assert [name for name, value in right.items() if not torch.equal(left[name], value)] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_trial_ends_where_a_whole_one_does(
    small: dict[str, Any], registry: Registry, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled steps as they are traced: what a compiler makes of them is below."""
    monkeypatch.setattr(graph, "compile_traced", lambda traced, inputs: traced)
    check(cell_of(small, registry, engine), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES[2:])
def test_so_does_a_compiled_one(small: dict[str, Any], registry: Registry, tmp_path: Path, engine: str) -> None:
    check(cell_of(small, registry, engine), tmp_path)


def test_a_checkpoint_of_another_schema_is_not_gone_on_from(
    small: dict[str, Any], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trial, *_) = trainers(cell_of(small, registry, "serial"), tmp_path)
    trial.folder.mkdir(parents=True)
    checkpoint.save(trial.folder, trial.state, trial.feed.state(), {})
    assert checkpoint.load(trial.folder, trial.state, trial.device) is not None
    monkeypatch.setattr(checkpoint, "SCHEMA", "of tomorrow")
    assert checkpoint.load(trial.folder, trial.state, trial.device) is None


def test_a_block_of_steps_is_fed_what_single_steps_are(
    small: dict[str, Any], registry: Registry, tmp_path: Path
) -> None:
    """Batches of 8 x 4 latents are drawn at once, of 7 x 3 in blocks of always the same 16."""
    for batch, latent in ((8, 4), (7, 3)):
        small["run"]["batch"] = batch
        small["grid"]["generator"] = {"use": "mlp", "width": 8, "latent": latent}
        cell = cell_of(small, registry, "serial")
        at_once, singly = (trainers(cell, tmp_path)[0].feed for _ in range(2))
        active = (True, False, True, True)
        block = at_once.block(active, 5)
        for k in range(5):
            turns = singly.turns(active)
            for one, other in zip((*block.d, block.g), (*turns.d, turns.g), strict=True):
                assert torch.equal(one.real[k], other.real)
                assert torch.equal(one.latents[k], other.latents)
                for drawn, expected in zip(one.noise, other.noise, strict=True):
                    assert drawn.keys() == expected.keys()
                    assert all(torch.equal(drawn[name][k], value) for name, value in expected.items())
        left, right = at_once.state(), singly.state()
        assert all(torch.equal(left[name], value) for name, value in right.items())
