"""Cells that differ in numbers train in one step as each does alone."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ganbench import DStep, GStep, Params, Regularizer, Slots, checkpoint, engines, family, graph, sizes
from ganbench.engines import engine_of
from ganbench.grid import Cell, Grid, Trial
from ganbench.registry import Registry
from ganbench.stacking import apart
from ganbench.training import Trainer, Training

REGISTRY = Registry.load()
SEEDS, STEPS = (0, 1), 20


def sweep(*values: float) -> dict[str, Any]:
    return {"sweep": list(values)}


ADAM = {"use": "adam", "eps": 1e-4}
SWEEPS: dict[str, dict[str, Any]] = {
    "r1": {"regularizer": [{"use": "r1", "gamma": sweep(0.0, 0.5, 10.0)}]},
    "gp": {"regularizer": [{"use": "gradient-penalty", "weight": sweep(1.0, 10.0), "target": sweep(0.0, 1.0)}]},
    "clip": {"regularizer": [{"use": "gradient-clipping", "max_norm": sweep(0.05, 0.5, 5.0)}]},
    "vat": {"regularizer": [{"use": "vat", "epsilon": sweep(0.5, 2.0), "xi": sweep(0.01, 0.1)}]},
    "adam": {"optimizer": ADAM | {"lr_g": sweep(1e-4, 1e-3), "beta1": sweep(0.0, 0.5)}},
    "adamw": {"optimizer": ADAM | {"use": "adamw", "weight_decay": sweep(0.01, 1.0), "beta2": sweep(0.9, 0.999)}},
    "sgd": {"optimizer": {"use": "sgd", "lr_d": sweep(1e-3, 1e-2)}},
    "momentum": {"optimizer": {"use": "sgd", "momentum": sweep(0.3, 0.9), "lr_g": sweep(1e-3, 1e-2)}},
    "rmsprop": {"optimizer": {"use": "rmsprop", "lr_d": sweep(1e-4, 1e-3), "alpha": sweep(0.9, 0.99)}},
    "lazy": {
        "optimizer": ADAM | {"lr_d": sweep(1e-4, 1e-3), "lazy_correction": True},
        "regularizer": [{"use": "r1", "gamma": sweep(0.5, 10.0), "every": 3}],
    },
    "loss": {"loss": {"use": "least-squares", "a": sweep(-1.0, 0.0), "c": sweep(0.0, 1.0)}},
}


def cells_of(axes: dict[str, Any], **run: Any) -> list[Cell]:
    settings = {"name": "sweep", "steps": 40, "batch": 8, "samples": 16, "precision": "float64", "engine": "fused"}
    grid = {
        "dataset": "ring",
        "generator": {"use": "mlp", "latent": 4, "width": 6},
        "discriminator": {"use": "mlp", "width": 6},
        "loss": "non-saturating",
        "regularizer": "none",
        "optimizer": ADAM,
        "metrics": ["sliced-wasserstein"],
    }
    table = {"run": settings | {"compile": False} | run, "grid": grid | axes}
    return [c.cell for c in Grid.load(table).combinations(REGISTRY)]


def trainers(cells: list[Cell], folder: Path) -> list[Trainer]:
    return [Trainer(Trial(c, s), folder, Training(), lambda *_: None) for c in cells for s in SEEDS]


def assert_as_alone(cells: list[Cell], folder: Path) -> None:
    (found,) = family.families(cells)
    together = trainers(cells, folder)
    engine = engine_of(together, found.numbers)
    engine.advance(STEPS)
    engine.settle()
    for trainer, reference in zip(together, trainers(cells, folder), strict=True):
        reference.advance(STEPS)
        left, right = checkpoint.flatten(trainer.state), checkpoint.flatten(reference.state)
        assert left.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(left[name], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("axes", "compiled"), [(name, False) for name in SWEEPS] + [("lazy", True)])
def test_a_sweep_trains_in_one_step_as_its_cells_do_alone(axes, compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "compile_traced", lambda traced, inputs: traced)
    cells = cells_of(SWEEPS[axes], compile=compiled)
    assert len(cells) > 1
    assert_as_alone(cells, tmp_path)


@pytest.mark.parametrize("axes", ["gp", "adamw", "momentum", "rmsprop", "lazy"])
def test_trials_that_take_turns_share_a_graph_too(axes, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "LARGE", 0)
    traced = []
    monkeypatch.setattr(graph, "compile_traced", lambda graph, inputs: traced.append(graph) or graph)
    cells = cells_of(SWEEPS[axes], compile=True)
    assert isinstance(engine_of(trainers(cells[:1], tmp_path)), engines.Apart)
    assert_as_alone(cells, tmp_path)
    assert len(traced) == len({tuple(step % r.every == 0 for r in cells[0].regularizers) for step in range(STEPS)})


@pytest.mark.parametrize("compiled", [False, True])
def test_groups_of_trials_take_turns_where_their_tensors_are_large_together(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "compile_traced", lambda traced, inputs: traced)
    monkeypatch.setattr(engines, "widest", lambda trainer: 2)
    cells = cells_of(SWEEPS["r1"], compile=compiled)
    assert [len(e.trainers) for e in dict.fromkeys(engine_of(trainers(cells, tmp_path)).engines.values())] == [2, 2, 2]
    assert_as_alone(cells, tmp_path)


def test_a_number_that_a_step_asks_for_is_no_input_where_trials_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "LARGE", 0)
    cells = cells_of({"loss": {"use": "non-saturating", "smoothing": sweep(0.0, 0.1)}})
    (found,) = family.families(cells)
    with pytest.raises(Exception, match="data-dependent"):
        engine_of(trainers(cells, tmp_path), found.numbers).advance(1)


def test_only_numbers_of_loss_optimizer_and_regularizers_make_a_family():
    (base,) = cells_of({})
    assert set(family.numbers(base)) == {"loss.smoothing", "loss.fake_smoothing"} | {
        f"optimizer.{name}" for name in ("lr_g", "lr_d", "beta1", "beta2", "eps")
    }
    others = [
        cells_of({"generator": {"use": "mlp", "latent": 4, "width": sweep(6, 7)}}),
        cells_of({"regularizer": [{"use": "r1", "every": sweep(1, 2)}]}),
        cells_of({"update": {"use": "lookahead", "alpha": sweep(0.4, 0.5)}}),
        cells_of({"loss": ["minimax", "non-saturating"]}),
        cells_of(SWEEPS["r1"], engine="serial"),
    ]
    for cells in others:
        assert len(cells) > 1
        assert [len(f.cells) for f in family.families(cells)] == [1] * len(cells)
    two = cells_of({"regularizer": ["none", *SWEEPS["r1"]["regularizer"]], "optimizer": SWEEPS["adam"]["optimizer"]})
    found = family.families(two)
    assert [len(f.cells) for f in found] == [4, 12]
    assert [f.numbers for f in found] == [
        ("optimizer.lr_g", "optimizer.beta1"),
        ("optimizer.lr_g", "optimizer.beta1", "regularizer.0.gamma"),
    ]


@pytest.mark.parametrize(
    ("sizes", "workers", "most", "pieces"),
    [
        ([18], 1, 64, [1]),
        ([18], 2, 64, [2]),
        ([18], 2, 4, [5]),
        ([200], 2, 64, [4]),
        ([2], 2, 64, [1]),  # a second step would cost more than it saves
        ([18, 18], 2, 64, [1, 1]),
        ([18, 18, 18], 2, 64, [2, 1, 1]),
        ([40, 3], 2, 64, [2, 1]),
        ([], 2, 64, []),
    ],
)
def test_families_are_cut_so_that_workers_end_together(sizes, workers, most, pieces):
    assert family.cut(sizes, workers, most) == pieces
    for size, n in zip(sizes, pieces, strict=True):
        assert sum(family.dealt(size, n)) == size
        assert max(family.dealt(size, n)) <= most


@pytest.mark.parametrize("most", [1, 2, 64])
def test_how_a_family_is_cut_into_stacks_does_not_matter_but_for_rounding(most, tmp_path):
    cells = cells_of(SWEEPS["r1"])
    (found,) = family.families(cells)
    together, reference = trainers(cells, tmp_path), trainers(cells, tmp_path)
    for start in range(0, len(together), most):
        engine = engine_of(together[start : start + most], found.numbers)
        engine.advance(3)
        engine.settle()
    for trainer, alone in zip(together, reference, strict=True):
        alone.advance(3)
        torch.testing.assert_close(trainer.state.d.params, alone.state.d.params, rtol=1e-10, atol=1e-10)


def test_a_trial_that_leaves_takes_its_numbers_with_it(tmp_path):
    cells = cells_of(SWEEPS["r1"])
    (found,) = family.families(cells)
    together, reference = trainers(cells, tmp_path), trainers(cells, tmp_path)
    engine = engine_of(together, found.numbers)
    engine.advance(2)
    engine.drop(together[1])
    engine.advance(2)
    engine.settle()
    for i, (trainer, alone) in enumerate(zip(together, reference, strict=True)):
        alone.advance(2 if i == 1 else 4)
        torch.testing.assert_close(trainer.state.d.params, alone.state.d.params, rtol=1e-10, atol=1e-10)


def test_stacks_of_one_size_share_a_graph_and_other_values_need_no_other(tmp_path, monkeypatch):
    compiled = []

    def once(traced: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(traced.code)
        return traced

    monkeypatch.setattr(graph, "compile_traced", once)
    engines.forget()
    for values in ((0.5, 10.0), (1.0, 3.0)):
        cells = cells_of({"regularizer": [{"use": "r1", "gamma": sweep(*values)}]}, compile=True)
        (found,) = family.families(cells)
        for cell in cells:  # a stack each
            engine_of(trainers([cell], tmp_path), found.numbers).advance(1)
    assert len(compiled) == 1
    engines.forget()
    engine_of(trainers(cells[:1], tmp_path), found.numbers).advance(1)
    assert compiled[0] == compiled[1], "the compiler's cache on disk would not know it again"


class Branching(Regularizer, name="branching"):
    """weight E D(x)^2, and nothing where weight is 0; scale is no part of the question."""

    weight: float = 1.0
    scale: float = 1.0

    def d_penalty(self, at: DStep) -> Tensor:
        return self.scale * self.weight * at.real_scores.square().mean() if self.weight else at.real_scores.mean() * 0.0


class Remembering(Regularizer, name="remembering"):
    """weight E D(x)^2, with a state that only some weights have."""

    weight: float = 1.0

    def init(self, params: Params) -> Slots:
        return {"seen": next(iter(params.values())).new_zeros(())} if self.weight > 1 else {}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        return {name: value + 1 for name, value in state.items()}

    def d_penalty(self, at: DStep) -> Tensor:
        return self.weight * at.real_scores.square().mean()


def test_a_number_that_a_component_branches_on_becomes_a_constant(tmp_path):
    (cell,) = cells_of({})
    cells = [
        dataclasses.replace(cell, regularizers=(Branching(weight=w, scale=s),))
        for w, s in itertools.product((0.0, 1.0, 2.0), (1.0, 3.0))
    ]
    (found,) = family.families(cells)
    assert found.numbers == ("regularizer.0.weight", "regularizer.0.scale")
    stacks = apart(trainers(cells, tmp_path), found.numbers)
    assert [inputs for _, inputs in stacks] == [("regularizer.0.scale",)] * 3
    pairs = zip(cells[::2], cells[1::2], strict=True)
    assert [[t.cell for t in members] for members, _ in stacks] == [[c, c, d, d] for c, d in pairs]


def test_trials_of_other_tensors_train_apart(tmp_path):
    (cell,) = cells_of({})
    cells = [dataclasses.replace(cell, regularizers=(Remembering(weight=w),)) for w in (0.5, 1.0, 2.0)]
    (found,) = family.families(cells)
    stacks = apart(trainers(cells, tmp_path), found.numbers)
    assert [[t.cell for t in members] for members, _ in stacks] == [[cells[0]] * 2 + [cells[1]] * 2, [cells[2]] * 2]
    assert {inputs for _, inputs in stacks} == {found.numbers}


def test_what_fails_for_another_reason_fails_cell_by_cell(tmp_path):
    cells = cells_of(SWEEPS["r1"])
    stacks = apart(trainers(cells, tmp_path), ("regularizer.0.gamma",))
    assert [([t.cell for t in members], inputs) for members, inputs in stacks] == [([c, c], ()) for c in cells]


@pytest.mark.slow
def test_a_compiled_sweep_trains_as_its_cells_do_alone_and_other_values_come_from_the_cache(tmp_path, monkeypatch):
    cache = tmp_path / "inductor"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    engines.forget()
    assert_as_alone(cells_of(SWEEPS["r1"], compile=True), tmp_path)
    built = sorted(cache.rglob("*.so"))
    assert built
    engines.forget()
    others = cells_of({"regularizer": [{"use": "r1", "gamma": sweep(0.1, 1.0, 3.0)}]}, compile=True)
    assert_as_alone(others, tmp_path)
    assert sorted(cache.rglob("*.so")) == built
