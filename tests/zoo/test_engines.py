"""Every component of the zoo trains alike in every engine: serial, all seeds in one step, and that step as a graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import checkpoint, engines, graph, torchscript
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


def trained(cell: Cell, folder: Path, *, mapped: bool, compiled: bool, steps: int = STEPS) -> list[State]:
    trainers = [Trainer(Trial(cell, seed), folder, Training(), lambda *_: None) for seed in range(SEEDS)]
    for group in [trainers] if mapped else [[t] for t in trainers]:
        engine = Together(group, mapped=mapped, compiled=compiled)
        engine.advance(steps)
        engine.settle()
    return [t.state for t in trainers]


def alone(cell: Cell, folder: Path, steps: int = STEPS) -> list[State]:
    trainers = [Trainer(Trial(cell, seed), folder, Training(), lambda *_: None) for seed in range(SEEDS)]
    for trainer in trainers:
        trainer.advance(steps)
    return [t.state for t in trainers]


def assert_same(states: list[State], reference: list[State]) -> None:
    for one, other in zip(states, reference, strict=True):
        left, right = checkpoint.flatten(one), checkpoint.flatten(other)
        assert left.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(left[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
        assert one.logs.keys() == other.logs.keys()


def identify(cls: type[Component]) -> str:
    return f"{cls.role}-{cls.name}"


@pytest.mark.parametrize("steps", [FEW, pytest.param(STEPS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cls", shipped(), ids=identify)
def test_the_traced_step_of_all_seeds_trains_as_they_do_alone(
    cls: type[Component], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = fitting(cls)
    engines.forget()  # the graph of another test, which would be taken for this one's
    scripted: list[object] = []
    monkeypatch.setattr(graph, "scripted", lambda traced: scripted.append(call := torchscript.scripted(traced)) or call)
    assert_same(trained(cell, tmp_path, mapped=True, compiled=False, steps=steps), alone(cell, tmp_path, steps))
    assert scripted, "torch's own interpreter takes every step of the zoo"


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


@pytest.mark.parametrize("axes", OPTIONS, ids=CALLED)
def test_options_train_alike_in_the_traced_step(axes: dict[str, Any], tmp_path: Path) -> None:
    cell = cell_of({"loss": "non-saturating"} | axes)
    assert cell is not None
    assert_same(trained(cell, tmp_path, mapped=True, compiled=False, steps=FEW), alone(cell, tmp_path, FEW))


@pytest.mark.parametrize("mapped", [True, False], ids=["fused", "serial"])
@pytest.mark.parametrize("axes", OPTIONS, ids=CALLED)
def test_what_the_compiler_is_given_trains_as_the_plain_step(
    axes: dict[str, Any],
    mapped: bool,  # noqa: FBT001 # a parameter of the test
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state is packed; what a compiler makes of it is below."""
    cell = cell_of({"loss": "non-saturating"} | axes)
    assert cell is not None
    engines.forget()
    monkeypatch.setattr(graph, "compile_traced", lambda traced, inputs: traced)
    assert_same(trained(cell, tmp_path, mapped=mapped, compiled=True, steps=FEW), alone(cell, tmp_path, FEW))
    engines.forget()


@pytest.mark.slow
@pytest.mark.parametrize("mapped", [True, False], ids=["fused", "serial"])
@pytest.mark.parametrize("cls", shipped(), ids=identify)
def test_the_compiled_step_trains_as_the_plain_one(cls: type[Component], mapped: bool, tmp_path: Path) -> None:  # noqa: FBT001 # a parameter of the test
    cell = fitting(cls)
    assert_same(trained(cell, tmp_path, mapped=mapped, compiled=True), alone(cell, tmp_path))
