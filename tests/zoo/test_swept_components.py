"""Every number of the zoo that a step can take as an input is one: its cells train together as they do alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_engines import FEW, assert_same, fitting, identify, shipped

from ganbench import engines, family
from ganbench.component import Component, field_types
from ganbench.engines import Together
from ganbench.grid import Cell, Trial
from ganbench.stacking import apart
from ganbench.training import Trainer, Training

CONSTANT = {
    "ebgan": {"pulling_away"},  # 0 saves a pass
    "minimax": {"smoothing", "fake_smoothing"},  # 0 saves a term
    "non-saturating": {"smoothing", "fake_smoothing"},
    "diffaugment": {"translation", "cutout"},  # sizes in pixels
    "gradient-clipping": {"norm_type"},  # torch takes a number
}
"""The numbers that make a family fall apart."""
ROLES = {"loss": "loss", "optimizer": "optimizer", "regularizer": "regularizer.0"}


def swept() -> list[type[Component]]:
    return [c for c in shipped() if c.role in ROLES and float in field_types(c).values()]


def with_numbers(cell: Cell, cls: type[Component], factor: float, names: set[str]) -> Cell:
    """``cell`` with each number of its component of ``cls`` times ``factor``, and none of them 0."""

    def changed(component: Component) -> Component:
        if type(component) is not cls:
            return component
        return dataclasses.replace(component, **{n: factor * (getattr(component, n) or 0.1) for n in names})

    return dataclasses.replace(
        cell,
        loss=changed(cell.loss),
        optimizer=changed(cell.optimizer),
        regularizers=tuple(changed(r) for r in cell.regularizers),
    )


def trainers(cells: list[Cell], folder: Path) -> list[Trainer]:
    return [Trainer(Trial(cell, 0), folder, Training(), lambda *_: None) for cell in cells]


@pytest.mark.parametrize("cls", swept(), ids=identify)
def test_cells_that_differ_in_all_their_numbers_train_together_as_alone(
    cls: type[Component], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_Traced", engines._Kind)  # tracing is another test's
    cell = dataclasses.replace(fitting(cls), engine="fused")
    names = {name for name, hint in field_types(cls).items() if hint is float} - CONSTANT.get(cls.name, set())
    cells = [with_numbers(cell, cls, factor, names) for factor in (1.0, 0.9)]
    (found,) = family.families(cells)
    assert found.numbers == tuple(n for n in family.numbers(cell) if n in {f"{ROLES[cls.role]}.{m}" for m in names})
    together, alone = trainers(cells, tmp_path), trainers(cells, tmp_path)
    engine = Together(together, mapped=True, compiled=False, numbers=found.numbers)
    engine.advance(FEW)
    engine.settle()
    for trainer in alone:
        trainer.advance(FEW)
    assert_same([t.state for t in together], [t.state for t in alone])


@pytest.mark.parametrize("cls", [c for c in swept() if c.name in CONSTANT], ids=identify)
def test_numbers_that_cannot_be_inputs_are_found_out(cls: type[Component], tmp_path: Path) -> None:
    cell = dataclasses.replace(fitting(cls), engine="fused")
    cells = [with_numbers(cell, cls, factor, CONSTANT[cls.name]) for factor in (1.0, 0.9)]
    (found,) = family.families(cells)
    assert len(found.numbers) == len(CONSTANT[cls.name])
    stacks = apart(trainers(cells, tmp_path), found.numbers)
    assert [(t.cell, inputs) for (t,), inputs in stacks] == [(cells[0], ()), (cells[1], ())]
