"""What ``ganbench new`` writes works as it is, and never takes the place of anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganbench import plan as planning
from ganbench.component import Component
from ganbench.errors import ConfigError
from ganbench.grid import Grid
from ganbench.registry import ROLES, Registry
from ganbench.regularizer import Regularizer
from ganbench.scaffold import TEMPLATES, write
from ganbench.testing import check


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(path: Path) -> list[type[Component]]:
    registry = Registry.load([path])
    return [cls for _, _, cls in registry.components() if registry.origin(cls).file == path.resolve()]


def test_there_is_a_template_for_every_role_but_the_executor() -> None:
    assert set(TEMPLATES) == set(ROLES) - {"executor"}


@pytest.mark.parametrize("role", TEMPLATES)
@pytest.mark.parametrize("kind", ["my-first", "same"])
def test_a_plugin_passes_the_checks_of_its_role(role: str, kind: str) -> None:
    """Also one that is called like its role, whose class must not hide the base class."""
    name = role if kind == "same" else f"my-first-{role}"
    lines = write(role, name)
    path = Path(f"{name.replace('-', '_')}.py")
    assert lines[0].startswith(f"wrote {path}")
    assert lines[1] == f"next: ganbench check {path}"
    (cls,) = offered(path)
    assert (cls.role, cls.name) == (role, name)
    assert cls.summary()
    if kind == "my-first":
        assert [f for f in check(cls) if not f.ok] == []
    text = path.read_text()
    assert len(text.splitlines()) <= 36
    assert all(len(line) <= 110 for line in text.splitlines())


def test_the_regularizer_is_the_one_of_the_documentation() -> None:
    import math

    import torch

    from ganbench.testing import d_penalty

    write("regularizer", "mine")
    (cls,) = offered(Path("mine.py"))
    assert issubclass(cls, Regularizer)
    assert cls.hook_points() == ("d_penalty",)
    x = torch.randn(16, 3, dtype=torch.float64)
    value = d_penalty(cls(), lambda x: 2.0 * x.sum(1), x, x)  # a gradient of 2 in each of three coordinates
    assert math.isclose(float(value), 10.0 / 2 * 12.0)


def test_a_class_named_like_a_keyword_or_an_import_gets_its_role() -> None:
    for name, cls in (("none", "NoneLoss"), ("tensor", "TensorLoss"), ("loss", "LossLoss"), ("my-own", "MyOwn")):
        write("loss", name)
        assert f"class {cls}(Loss" in Path(f"{name.replace('-', '_')}.py").read_text()


def test_a_grid_can_be_planned_as_it_is() -> None:
    assert write("grid", "first") == ["wrote first.toml", "next: ganbench run --grid first.toml"]
    grid = Grid.load("first.toml")
    plan = planning.make(grid, Registry.load(), Path("results/first"))
    assert grid.name == "first"
    assert [c.cell.labels["regularizer"] for c in plan.combinations] == ["none", "r1(gamma=0.1)", "r1(gamma=1)"]
    assert not plan.skipped
    assert plan.notes == ("engine of 3 cells: to be measured when the run begins",)


def test_a_file_that_is_there_is_never_overwritten() -> None:
    Path("mine.py").write_text("precious")
    Path("first.toml").write_text("precious")
    for role, name in (("loss", "mine"), ("grid", "first")):
        with pytest.raises(ConfigError, match="there is such a file already"):
            write(role, name)
    assert Path("mine.py").read_text() == Path("first.toml").read_text() == "precious"


def test_a_folder_that_cannot_be_written_to_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write("grid", "first")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My_Loss", "such as 'my-loss'"),
        ("MyLoss", "such as 'myloss'"),
        ("3d", "begin with a letter"),
        ("../loss", "such as 'loss'"),
        ("", "such as 'my-regularizer'"),
        ("a b", "such as 'a-b'"),
    ],
)
def test_a_name_that_does_not_do_is_refused_with_one_that_does(folder: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write("loss", name)
    assert words in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("role", "name", "words"),
    [
        ("loss", "hinge", "there is a loss 'hinge' already, from zoo-losses"),
        ("optimizer", "adam", "there is an optimizer 'adam' already"),
        ("loss", "torch", "would hide the module 'torch'"),
        ("loss", "json", "would hide the module 'json'"),
        ("executor", "mine", "there is no template for 'executor'"),
        ("regulariser", "mine", "did you mean 'regularizer'?"),
    ],
)
def test_what_would_not_work_is_not_written(folder: Path, role: str, name: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(role, name)
    assert words in str(caught.value)
    assert list(folder.iterdir()) == []
