"""Arrows point inward: who may import whom, and what must stay light."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import making
import pytest

import ganbench

CORE = Path(ganbench.__file__).parent
ZOO = CORE.parent / "plugins" / "ganbench_zoo"
LOGGERS = CORE.parent / "plugins" / "ganbench_loggers"
LAYERS = (
    "binaries canvas charts errors eta hookspecs memory neighbours passes recording samples seeding state stats timing",
    "lowering torchscript transfer",
    "forms sizes",
    "machine pacing pictures",
    "bank component derivatives devices effects observers processes ranking records table text",
    "checkpoint codeprint dataset environment factors loss metric networks optimizer regularizer tracking",
    "targets",
    "steptimes",
    "counting critic datafiles fakes heartbeat hooked keeping numerals streaming trials update",
    "arrivals frames runfolder shared",
    "claims differences documents footers grouping pivot rawdata terminal",
    "columns latex marks standing",
    "render tabulate",
    "compare gate",
    "compare_table plot overall versus",
    "arrivals_table overall_table versus_table",
    "cell evaluation facts feed initial registry results settings step",
    "choices family",
    "compiled widths",
    "axes board exclude foreach isolation players sheets verdicts verify",
    "captured inputs lift",
    "graph grid progress sentences views",
    "conformance doctor plan report scaffold schema trained training watch",
    "dirac engines gallery given",
    "stacking",
    "assessment cohort looking",
    "testing trying worker",
    "choosing timer",
    "timingpass",
    "forecast",
    "export",
    "driver preload",
    "preload_compiler preload_tracer",
    "runner",
    "api",
    "commands",
    "cli",
)
"""A module imports from layers above its own in this list alone, even within functions."""


@functools.cache
def modules() -> dict[str, list[Path]]:
    """The files of each module or package of the core, by its first name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(CORE.rglob("*.py")):
        found.setdefault(path.relative_to(CORE).parts[0].removesuffix(".py"), []).append(path)
    return found


def imported(path: Path, *, lazy: bool = True, typing: bool = False) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import in ``path``; those for annotations alone only with ``typing``."""

    def visit(node: ast.AST) -> Iterator[tuple[str, str | None]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not typing:
                continue
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
                continue
            if isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path} imports relatively"
                yield from ((child.module or "", alias.name) for alias in child.names)
            elif isinstance(child, ast.Import):
                yield from ((alias.name, None) for alias in child.names)
            yield from visit(child)

    return visit(ast.parse(path.read_text(encoding="utf-8")))


def arrows(name: str, *, lazy: bool = True) -> set[str]:
    """The modules of the core that ``name`` imports."""
    found = set()
    for path in modules()[name]:
        for module, what in imported(path, lazy=lazy):
            if module == "ganbench" and what in modules():
                found.add(what)
            elif module.startswith("ganbench."):
                found.add(module.split(".")[1])
    return found - {name}


def test_no_modules_import_each_other() -> None:
    order = graphlib.TopologicalSorter({name: arrows(name, lazy=False) for name in modules()})
    assert set(order.static_order()) >= set(modules())  # raises CycleError, which names the cycle


@pytest.mark.parametrize("name", sorted(set(modules()) - {"__init__"}))
def test_imports_point_one_way(name: str) -> None:
    level = {module: i for i, layer in enumerate(LAYERS) for module in layer.split()}
    assert name in level, f"give {name} a place in LAYERS"
    upward = {other for other in arrows(name) if level[other] >= level[name]}
    assert not upward, f"{name} imports from its own layer or from above"


def test_every_module_of_the_layers_is_there() -> None:
    listed = " ".join(LAYERS).split()
    assert len(listed) == len(set(listed))
    assert set(listed) == set(modules()) - {"__init__"}


def test_the_core_does_not_know_first_party_plugins() -> None:
    for path in CORE.rglob("*.py"):
        assert not [m for m, _ in imported(path, typing=True) if m.startswith(("ganbench_zoo", "ganbench_loggers"))], (
            path
        )


@pytest.mark.parametrize(
    "path", sorted([*ZOO.glob("*.py"), *LOGGERS.glob("*.py")]), ids=lambda path: f"{path.parent.stem}-{path.stem}"
)
def test_first_party_plugins_import_public_names_alone(path: Path) -> None:
    for module, name in imported(path, typing=True):
        if module.split(".")[0] == "ganbench":
            assert module == "ganbench", f"{module} is private"
            assert name in ganbench.__all__, f"{name} is private"


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((CORE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen: dict[str, set[str]] = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        seen[(node.module or "").removeprefix("ganbench.")] = {alias.name for alias in node.names}
    assert seen == {module: set(names) for module, names in ganbench._HOME.items()}
    assert sorted(ganbench.__all__) == sorted({"__version__", *(name for names in seen.values() for name in names)})
    assert len(set(ganbench.__all__)) == len(ganbench.__all__)


def test_every_public_name_loads_and_has_a_docstring() -> None:
    for name in ganbench.__all__:
        value = getattr(ganbench, name)
        if name != "__version__" and getattr(value, "__module__", "").startswith("ganbench"):
            assert value.__doc__, name
    assert dir(ganbench) == sorted(ganbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Regulariser'"):
        _ = ganbench.Regulariser


LIGHT = """\
import contextlib, io, json, sys
from ganbench.cli import main

heavy = {}
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(arguments)
    assert out.getvalue(), arguments
    heavy[" ".join(arguments)] = [m for m in ("torch", "scipy.stats", "sklearn", "pandas") if m in sys.modules]
print(json.dumps(heavy))
"""


def test_reading_commands_do_not_import_torch(tmp_path: Path) -> None:
    """All in one process, the lightest first; pandas may come with the tables."""
    run = making.make_run(tmp_path / "run", {"hinge": None})
    making.add_trial(run, "hinge", 0)
    commands = [
        ["--version"],
        ["--help"],
        ["run", "--help"],
        ["status", str(run)],
        ["verify", str(run)],
        ["table", str(run)],
        ["report", str(run)],
        ["compare", str(run), str(run)],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(commands)], capture_output=True, text=True, check=True
    )
    heavy = json.loads(done.stdout)
    for arguments in commands[-3:]:
        assert heavy.pop(" ".join(arguments)) in ([], ["pandas"])
    assert heavy == {" ".join(arguments): [] for arguments in commands[:-3]}
