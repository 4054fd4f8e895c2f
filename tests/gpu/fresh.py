"""Train a stack of a cell in the fused engine, in this process alone: python fresh.py JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ganbench import checkpoint
from ganbench.engines import Together
from ganbench.grid import Cell, Trial
from ganbench.registry import Registry
from ganbench.training import Trainer, Training


def together(cell: Cell, folder: Path, device: str, seeds: list[int]) -> Together:
    group = [Trainer(Trial(cell, seed), folder, Training(device), lambda *_: None) for seed in seeds]
    return Together(group, mapped=True, compiled=False)


def after(engine: Together) -> dict[str, Tensor]:
    """Every tensor of the state of each trial of ``engine``, copied to the host."""
    engine.settle()
    return {
        f"{i}/{name}": value.cpu().clone()
        for i, t in enumerate(engine.trainers)
        for name, value in checkpoint.flatten(t.state).items()
    }


def main(told: str) -> None:
    asked = json.loads(told)
    cell = Cell.from_spec(asked["spec"], Registry.load())
    engine = together(cell, Path(asked["out"]).parent, asked["device"], asked["seeds"])
    engine.advance(asked["steps"])
    save_file({name: value.contiguous() for name, value in after(engine).items()}, asked["out"])


if __name__ == "__main__":
    main(*sys.argv[1:])
