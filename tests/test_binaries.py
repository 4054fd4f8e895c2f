"""Files that a compiler was killed over are known from whole ones, and compiled again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganbench.binaries import SETTLED, drop_named, drop_unfinished, unfinished

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other formats")

SCRIPT = """
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from ganbench.graph import compile_traced

inputs = [torch.linspace(0, 1, 300)]
step = lambda x: [torch.sin(x) * 2 + x.cumsum(0)]
made = compile_traced(make_fx(step, tracing_mode="fake")(*inputs), inputs)(*inputs)
torch.testing.assert_close(list(made), step(*inputs))
"""


def whole() -> Path:
    """A library that is there for sure."""
    import torch

    return next((Path(torch.__file__).parent / "lib").glob("libtorch_global_deps.so"))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_a_file_without_its_end_is_unfinished(tmp_path: Path, share: float) -> None:
    content = whole().read_bytes()
    path = tmp_path / "cut.so"
    path.write_bytes(content[: int(len(content) * share)])
    assert unfinished(path) == (share < 1)


def test_only_what_nobody_can_be_writing_any_more_is_dropped(tmp_path: Path) -> None:
    names = ("old", "new", "whole")
    paths = {name: tmp_path / "ab" / f"{name}.so" for name in names}
    paths["old"].parent.mkdir()
    paths["old"].write_bytes(b"\x7fELF")
    paths["new"].write_bytes(b"\x7fELF")
    shutil.copy(whole(), paths["whole"])
    (tmp_path / "ab" / "text.py").write_text("")
    for name in ("old", "whole"):
        os.utime(paths[name], (time.time() - 2 * SETTLED,) * 2)
    assert drop_unfinished(tmp_path) == [paths["old"]]
    assert sorted(p.name for p in (tmp_path / "ab").iterdir()) == ["new.so", "text.py", "whole.so"]


def test_what_an_error_names_is_dropped_if_it_is_ours_and_unfinished(tmp_path: Path) -> None:
    ours, other = tmp_path / "cache" / "a.main.so", tmp_path / "b.so"
    ours.parent.mkdir()
    for path in (ours, other):
        path.write_bytes(b"")
    for path in (other, tmp_path / "cache" / "gone.so"):
        assert not drop_named(ImportError(f"{path}: file too short"), ours.parent)
    assert drop_named(ImportError(f"{ours}: file too short"), ours.parent)
    assert not ours.exists()
    assert other.exists()


@pytest.mark.slow
@pytest.mark.parametrize("age", [0.0, 2 * SETTLED])
def test_a_step_compiles_after_a_process_was_killed_while_it_wrote(tmp_path: Path, age: float) -> None:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
        )

    assert run().returncode == 0
    made = list(tmp_path.rglob("*.main.so")) if age == 0 else list(tmp_path.rglob("*.so"))
    assert made
    for path in made:
        with path.open("r+b") as file:
            file.truncate(100)
        os.utime(path, (time.time() - age,) * 2)
    again = run()
    assert again.returncode == 0, again.stderr
