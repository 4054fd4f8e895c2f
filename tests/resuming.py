"""Trials that are interrupted and go on, beside trials that are not: for tests of resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganbench import checkpoint, engines
from ganbench.engines import engine_of
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.training import Trainer, Training

STEPS, STOP, SEEDS = 12, 7, 2
ENGINES = ["serial", "fused", "serial+compiled", "fused+compiled"]


def registry() -> Registry:
    return Registry.load([Path(__file__).parent / "plugins" / "trouble.py"])


def cell_of(small: dict[str, Any], registry: Registry, engine: str, **own: Any) -> Cell:
    kind, _, compiled = engine.partition("+")
    run = small["run"] | {"engine": kind, "compile": bool(compiled)}
    axes = {
        "dataset": "digits",
        "regularizer": [["spectral-norm", {"use": "r1", "every": 4}, "drift", "instance-noise"]],
        "update": {"use": "optimistic"},
    }
    (combination,) = Grid.load({"run": run, "grid": small["grid"] | axes | own}).combinations(registry)
    assert combination.skip is None
    return combination.cell


def trainers(cell: Cell, folder: Path, device: str = "cpu") -> list[Trainer]:
    return [Trainer(Trial(cell, seed), folder / str(seed), Training(device), lambda *_: None) for seed in range(SEEDS)]


def advance(group: list[Trainer], steps: int) -> None:
    for together in [group] if group[0].cell.stacked else [[t] for t in group]:
        engine = engine_of(together)
        engine.advance(steps)
        engine.settle()


def everything(trainer: Trainer) -> dict[str, Tensor]:
    return checkpoint.flatten(trainer.state) | trainer.feed.state()


def check(cell: Cell, folder: Path, device: str = "cpu") -> None:
    """Train whole, and in two goes with a checkpoint between; nothing may differ in a bit."""
    whole = trainers(cell, folder, device)
    advance(whole, STEPS)
    begun = trainers(cell, folder, device)
    advance(begun, STOP)
    for t in begun:
        t.folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save(t.folder, t.state, t.feed.state(), {})
    engines.forget()  # as in the new process that goes on
    resumed = trainers(cell, folder, device)
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
