"""Seeds stacked into one game train as they do one by one: no plugin has to know."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ganbench import checkpoint, sizes
from ganbench.engines import Apart, Together, engine_of
from ganbench.grid import Cell, Grid, Trial
from ganbench.lift import stack, unstack
from ganbench.registry import Registry
from ganbench.training import Trainer, Training

SEEDS, STEPS = 3, 10
LOSSES = ["minimax", "non-saturating", "least-squares", "wasserstein", "hinge", "relativistic-pairing"]
REGULARIZERS: list[Any] = [
    "none",
    "r1",
    "r2",
    "gradient-penalty",
    "spectral-norm",
    "gradient-clipping",
    {"use": "gradient-clipping", "norm_type": "inf", "on": "both"},
    "weight-clipping",
    "instance-noise",
    "vat",
    {"use": "vat", "mode": "exact"},
    "drift",
    ["spectral-norm", "drift", {"use": "r1", "every": 4}, "gradient-clipping", "instance-noise"],
]


@pytest.fixture(scope="module")
def registry(plugin_folder=Path(__file__).parent / "plugins") -> Registry:
    return Registry.load([plugin_folder / "trouble.py"])


@pytest.fixture
def cell(small, registry):
    def make(**axes: Any) -> Cell:
        table = {"run": small["run"] | {"precision": "float64"}, "grid": small["grid"] | {"regularizer": "none"} | axes}
        (combination,) = Grid.load(table).combinations(registry)
        return combination.cell

    return make


def trainers(cell: Cell, folder: Path) -> list[Trainer]:
    return [Trainer(Trial(cell, seed), folder, Training(), lambda kind, content: None) for seed in range(SEEDS)]


def train_in(engine: str, cell: Cell, folder: Path):
    single = trainers(cell, folder)
    kind, _, compiled = engine.partition("+")
    groups = [single] if kind == "fused" else [[t] for t in single]
    for group in groups:
        together = Together(group, mapped=kind == "fused", compiled=bool(compiled))
        together.advance(STEPS)
        together.settle()
    return [t.state for t in single]


def train_serial(cell: Cell, folder: Path):
    single = trainers(cell, folder)
    for t in single:
        t.advance(STEPS)
    return [t.state for t in single]


def assert_same(states, serial) -> None:
    for one, other in zip(states, serial, strict=True):
        left, right = checkpoint.flatten(one), checkpoint.flatten(other)
        assert left.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(left[name], value, rtol=1e-10, atol=1e-10, msg=name)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_stacked_as_it_does_alone(cell, tmp_path, loss):
    chosen = cell(loss=loss)
    assert_same(train_in("fused", chosen, tmp_path), train_serial(chosen, tmp_path))


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=str)
def test_every_regularizer_trains_stacked_as_it_does_alone(cell, tmp_path, regularizer):
    chosen = cell(regularizer=[regularizer])
    assert_same(train_in("fused", chosen, tmp_path), train_serial(chosen, tmp_path))


@pytest.mark.parametrize(
    "axes",
    [
        {"optimizer": {"use": "sgd", "momentum": 0.5}},
        {"optimizer": "rmsprop"},
        {"update": "simultaneous"},
        {"update": {"use": "alternating", "critic_steps": 3}},
        {
            "dataset": "digits",
            "generator": {"use": "dcgan", "width": 4},
            "discriminator": {"use": "dcgan", "width": 4},
            "regularizer": [["spectral-norm", "r1"]],
        },
        {
            "dataset": "digits",
            "generator": {"use": "sndcgan", "width": 4, "latent": 4},
            "discriminator": {"use": "sndcgan", "width": 4},
            "regularizer": [["spectral-norm", "r1"]],
        },
        {
            "dataset": "digits",
            "generator": {"use": "resnet-sngan", "width": 4, "latent": 4, "conditional": True},
            "discriminator": {"use": "resnet-sngan", "width": 4, "conditional": True},
            "regularizer": [["spectral-norm", "r1"]],
        },
    ],
    ids=["sgd", "rmsprop", "simultaneous", "critic-steps", "dcgan", "sndcgan", "resnet-sngan"],
)
def test_optimizers_rules_and_running_statistics_stack_too(cell, tmp_path, axes):
    chosen = cell(**axes)
    assert_same(train_in("fused", chosen, tmp_path), train_serial(chosen, tmp_path))


def test_unstacking_is_the_inverse_of_stacking(cell, tmp_path):
    states = [t.state for t in trainers(cell(regularizer=[["drift", "spectral-norm"]]), tmp_path)]
    for one, other in zip(unstack(stack(states)), states, strict=True):
        left, right = checkpoint.flatten(one), checkpoint.flatten(other)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[k], right[k]) for k in left)


def test_seeds_of_large_steps_train_one_after_the_other(cell, tmp_path, monkeypatch):
    chosen = dataclasses.replace(cell(regularizer=[{"use": "r1", "every": 2}]), engine="fused")
    assert isinstance(engine_of(trainers(chosen, tmp_path)), Together)
    monkeypatch.setattr(sizes, "LARGE", 0)
    stepped = trainers(chosen, tmp_path)
    engine = engine_of(stepped)
    assert isinstance(engine, Apart)
    engine.advance(STEPS // 2)
    assert engine.logs(stepped[1]).keys() == {"d_loss", "g_loss", "d_real", "d_fake", "d_penalty-0"}
    engine.drop(stepped[0])
    assert engine.trainers == stepped[1:]
    engine.advance(STEPS - STEPS // 2)
    engine.settle()
    serial = train_serial(chosen, tmp_path)
    assert_same([t.state for t in stepped[1:]], serial[1:])
    assert int(stepped[0].state.step) == STEPS // 2


def test_the_size_of_a_step_is_that_of_its_largest_tensor(cell, tmp_path, monkeypatch):
    chosen = cell(dataset="ring", discriminator={"use": "mlp", "width": 50}, regularizer=["none", "r1"][1:])
    trainer = trainers(chosen, tmp_path)[0]
    before = trainer.feed.state()
    largest = max(chosen.batch * 50, 50 * 50)
    for large, widest in ((largest - 1, 1), (largest, sizes.FEW), (largest * 10, 20)):
        monkeypatch.setattr(sizes, "LARGE", large)
        assert sizes.widest(trainer) == widest
    assert all(torch.equal(value, before[name]) for name, value in trainer.feed.state().items())
