"""The code fingerprint changes with what runs, and not with how it is written."""

from __future__ import annotations

import ast
import hashlib
import sys
import textwrap
from pathlib import Path

import pytest

from ganbench import codeprint
from ganbench.registry import Registry

PLUGIN = """
import helper
from ganbench import Regularizer, hookimpl

SCALE = 2.0

class Mine(Regularizer, name="mine"):
    '''A penalty.'''
    gamma: float = 1.0

    def d_penalty(self, at):
        return self.gamma * SCALE * helper.square(at.real_scores).mean()

class Other(Regularizer, name="other"):
    '''Another.'''

    def d_penalty(self, at):
        return at.real_scores.mean()

@hookimpl
def ganbench_components():
    return [Mine, Other]
"""
CORE = Path(codeprint.__file__).parent
HELPER = "def square(x):\n    return x * x\n"


@pytest.fixture
def fingerprint(tmp_path: Path):
    """A function from the texts of a plugin and its helper to the fingerprint of its component ``mine``."""
    count = 0

    def of(plugin: str = PLUGIN, helper: str = HELPER) -> str:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        name = f"helper_{tmp_path.name.replace('-', '_')}_{count}"
        (folder / f"{name}.py").write_text(helper)
        # the import is renamed so that Python loads each helper; the name is the same length of text everywhere
        (folder / "plugin.py").write_text(textwrap.dedent(plugin).replace("import helper", f"import {name} as helper"))
        registry = Registry.load([folder / "plugin.py"])
        return codeprint.of_class(registry.get("regularizer", "mine"))

    return of


@pytest.fixture(autouse=True)
def same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper's changing name must not enter: hash it away as the test's own business."""
    plain = codeprint._dump

    def without(tree):
        import re

        return re.sub(r"helper_\w+", "helper", plain(tree))

    monkeypatch.setattr(codeprint, "_dump", without)


def test_comments_docstrings_and_blank_lines_do_not_change_it(fingerprint):
    dressed = PLUGIN.replace("'''A penalty.'''", "'''A better sentence.'''").replace(
        "SCALE = 2.0", "\n# why 2\nSCALE = 2.0\n"
    )
    assert fingerprint() == fingerprint(dressed)
    assert fingerprint() == fingerprint(helper=HELPER.replace("return", "# squared\n    return"))


def test_a_constant_of_the_module_changes_it(fingerprint):
    assert fingerprint() != fingerprint(PLUGIN.replace("SCALE = 2.0", "SCALE = 3.0"))


def test_a_default_changes_it(fingerprint):
    assert fingerprint() != fingerprint(PLUGIN.replace("gamma: float = 1.0", "gamma: float = 1.5"))


def test_a_helper_beside_it_changes_it(fingerprint):
    assert fingerprint() != fingerprint(helper=HELPER.replace("x * x", "x * x * x"))


def test_another_component_of_the_file_does_not_change_it(fingerprint):
    assert fingerprint() == fingerprint(PLUGIN.replace("return at.real_scores.mean()", "return at.fake_scores.mean()"))


def test_a_cell_has_a_fingerprint_of_every_component_and_of_the_engine():
    registry = Registry.load()
    parts = codeprint.fingerprint(
        [
            registry.create("regularizer", "r1"),
            registry.create("metric", "frechet-distance", extractor="classifier"),
        ]
    )
    assert {"engine", "regularizer:r1", "metric:frechet-distance", "extractor:classifier"} == set(parts)
    assert codeprint.combined(parts) != codeprint.combined(parts | {"engine": "0"})


EVERY_SYNTAX = """
from __future__ import annotations
from typing import Any as Whatever

@property
async def f(a, /, b: int = 1, *c, d=None, **e) -> None:
    async with a as b, c: yield f"{d!r:>{e}} {a=}"
    return

class C(B, metaclass=M):
    def g(self): return lambda x: {**x, 1: 2.5e-3, "é": b"0"}[..., 1:2, None]

match x:
    case {"a": [1, *_], **rest} if not rest: pass
    case C(y=None) | True: raise E from None
try: del x, y
except* E: x: int
else: x = y = [i async for i in (yield) if i]
"""


def test_the_text_of_code_is_that_of_python_311() -> None:
    """Results of one Python are not stale under another."""
    text = codeprint._text(ast.parse(EVERY_SYNTAX))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "d188bfd3fe17"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="later ones dump other fields")
def test_the_text_of_code_is_what_python_311_dumps() -> None:
    for source in [EVERY_SYNTAX, *(path.read_text(encoding="utf-8") for path in CORE.glob("*.py"))]:
        tree = ast.parse(source)
        assert codeprint._text(tree) == ast.dump(tree)
