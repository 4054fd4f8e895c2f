"""For each component of the zoo a small cell that has it, and training of it in each engine: for tests of engines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ganbench import checkpoint
from ganbench.component import Component
from ganbench.engines import Together
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.state import State
from ganbench.training import Trainer, Training

REGISTRY = Registry.load()
SEEDS, STEPS, FEW = 2, 20, 3
ROLES = ("generator", "discriminator", "loss", "regularizer", "optimizer", "update")
# losses that see differences of scores leave a bias whose gradient is rounding alone, which Adam would make a move
ADAM = {"use": "adam", "eps": 1e-4}
VECTORS = {"dataset": "ring", "generator": {"use": "mlp", "latent": 4, "width": 6}, "optimizer": ADAM}
IMAGES = {"dataset": "digits", "generator": {"use": "dcgan", "latent": 4, "width": 4}, "optimizer": ADAM}
CRITICS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (VECTORS, {"use": "mlp", "width": 6}),
    (VECTORS, {"use": "mlp-embedding", "width": 6}),
    (VECTORS, {"use": "mlp-autoencoder", "width": 6}),
    (IMAGES, {"use": "dcgan", "width": 4}),
    (IMAGES, {"use": "dcgan", "width": 4, "decoder": 4}),
    (IMAGES, {"use": "dcgan-embedding", "width": 4}),
    (IMAGES, {"use": "dcgan-autoencoder", "width": 4}),
]
"""Data and generator, and a discriminator: the first that a component does not refuse is what it is tried on."""
LOSSES = ["non-saturating", "wasserstein", "sphere", "ebgan"]
SMALL = {"width": 4, "latent": 4}


def shipped() -> list[type[Component]]:
    return [c for *_, c in REGISTRY.components() if c.role in ROLES and "ganbench_zoo" in c.__module__]


def tables(cls: type[Component]) -> Iterator[dict[str, Any]]:
    """Grids with one cell that has a component of ``cls`` in it, those first that cost the least."""
    own: dict[str, Any] = {"use": cls.name}
    own |= {
        k: v for k, v in SMALL.items() if k in cls.__dataclass_fields__ and cls.role in ("generator", "discriminator")
    }  # type: ignore[attr-defined] # components are dataclasses
    for (data, critic), loss in itertools.product(CRITICS, LOSSES):
        axes = {**data, "discriminator": critic, "loss": loss, cls.role: own}
        yield axes
        if cls.role in ("generator", "discriminator"):
            yield axes | {"dataset": "dirac", "generator": "dirac"} | {cls.role: own}
            yield axes | {"dataset": "dirac", "generator": "dirac", "discriminator": "dirac"} | {cls.role: own}


def cell_of(axes: dict[str, Any]) -> Cell | None:
    run = {"name": "engines", "steps": 1000, "batch": 8, "samples": 16, "precision": "float64", "engine": "serial"}
    grid = {"metrics": ["sliced-wasserstein"], "regularizer": "none"} | axes
    (combination,) = Grid.load({"run": run, "grid": grid}).combinations(REGISTRY)
    return combination.cell if combination.skip is None else None


def fitting(cls: type[Component]) -> Cell:
    found = next((cell for axes in tables(cls) if (cell := cell_of(axes)) is not None), None)
    assert found is not None, f"no cell of the table fits {cls.title()}"
    return found


def trainers_of(cell: Cell, folder: Path, device: str = "cpu", seeds: int = SEEDS) -> list[Trainer]:
    return [Trainer(Trial(cell, seed), folder, Training(device), lambda *_: None) for seed in range(seeds)]


def trained(
    cell: Cell,
    folder: Path,
    *,
    mapped: bool,
    compiled: bool,
    steps: int = STEPS,
    device: str = "cpu",
    seeds: int = SEEDS,
) -> list[State]:
    trainers = trainers_of(cell, folder, device, seeds)
    for group in [trainers] if mapped else [[t] for t in trainers]:
        engine = Together(group, mapped=mapped, compiled=compiled)
        engine.advance(steps)
        engine.settle()
    return [t.state for t in trainers]


def alone(cell: Cell, folder: Path, steps: int = STEPS, device: str = "cpu", seeds: int = SEEDS) -> list[State]:
    trainers = trainers_of(cell, folder, device, seeds)
    for trainer in trainers:
        trainer.advance(steps)
    return [t.state for t in trainers]


def assert_same(states: list[State], reference: list[State], tolerance: float = 1e-10) -> None:
    """The same tensors and logs, wherever they lie."""
    for one, other in zip(states, reference, strict=True):
        left, right = checkpoint.flatten(one), checkpoint.flatten(other)
        assert left.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(
                left[name].cpu(),
                value.cpu(),
                rtol=tolerance,
                atol=tolerance,
                msg=lambda m, n=name: f"{n}: {m}",
            )
        assert one.logs.keys() == other.logs.keys()


def assert_bf16_leaves_the_penalty(low: Trainer, full: Trainer, rtol: float) -> None:
    """Of two trainers, in bf16 and in float32: scores of the first are rounded, and the penalty is the second's."""
    turns = low.feed.turns((True,))
    logs = [t.game(0).d_grads(t.state, turns.d[0])[1].logs for t in (low, full)]
    assert logs[1]["d_penalty-0"] > 0
    # fakes come from a pass in bf16; the scores that a penalty derives are taken anew
    torch.testing.assert_close(logs[0]["d_penalty-0"], logs[1]["d_penalty-0"], rtol=rtol, atol=0)
    difference = (logs[0]["d_real"] - logs[1]["d_real"]).abs()
    assert 0 < difference < 0.02 * (1 + logs[1]["d_real"].abs())


def identify(cls: type[Component]) -> str:
    return f"{cls.role}-{cls.name}"


MAPPED = VECTORS | {"generator": {"use": "mlp", "latent": 4, "width": 6, "mapping": 1}}
OPTIONS = [
    VECTORS | {"discriminator": {"use": "mlp", "width": 6, "dropout": 0.3}, "regularizer": "vat"},
    IMAGES | {"discriminator": {"use": "dcgan", "width": 4, "dropout": 0.3}, "regularizer": "r1"},
    MAPPED | {"discriminator": "mlp", "regularizer": {"use": "path-length", "latents": "w", "every": 2}},
    VECTORS
    | {
        "discriminator": "mlp",
        "regularizer": {"use": "r1", "every": 2},
        "optimizer": {"use": "adam", "lazy_correction": True},
    },
    IMAGES
    | {
        "discriminator": {"use": "dcgan", "width": 4},
        "regularizer": {
            "use": "ada",
            "start": 0.7,
            "policy": ["blit", "geometry", "color", "filter", "noise", "cutout"],
        },
    },
    IMAGES
    | {
        "generator": {"use": "dcgan", "latent": 4, "width": 4, "base": 1, "norm": "none"},
        "discriminator": {"use": "dcgan", "width": 4, "base": 1, "decoder": 4, "decoder_maps": 3},
        "regularizer": {"use": "generator-guided", "maps": 3},
    },
]
CALLED = ["dropout", "dropout of channels", "path length on w", "lazy correction", "all of ada", "three maps"]
