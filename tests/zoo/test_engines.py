"""Every component of the zoo trains alike in every engine: serial, all seeds in one step, and that step as a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fitting import CALLED, FEW, OPTIONS, STEPS, alone, assert_same, cell_of, fitting, identify, shipped, trained

from ganbench import engines, graph, torchscript
from ganbench.component import Component


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
