"""The doctor finds what is wrong, says what to do, and one bad plugin does not hide the others."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ganbench import doctor
from ganbench.doctor import Verdict, examine


def verdicts(*files: Path, without: tuple[str, ...] = ()) -> dict[str, Verdict]:
    return {v.what: v for v in examine(files, without)}


def test_a_machine_that_trains_is_well() -> None:
    found = verdicts()
    assert all(v.ok for v in found.values()), found
    assert {"Python", "torch", "devices", "cores and memory", "cache folder", "processes", "terminal"} <= set(found)
    assert found["plugin zoo-losses"].message.startswith("ganbench ")
    assert all(v.message for v in found.values())


def test_a_machine_without_cuda_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "Path", lambda path: Path("/nowhere"))
    _, devices = doctor._torch()
    assert devices.ok
    assert "no fault" in devices.message


def test_a_driver_that_torch_cannot_use_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    _, devices = doctor._torch()
    assert not devices.ok
    assert "install a CUDA build" in devices.message


def test_a_torch_that_does_not_import_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (torch,) = doctor._torch()
    assert not torch.ok
    assert "cannot be imported" in torch.message


def test_a_bad_plugin_is_named_and_the_others_are_well(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text("1 / 0\n")
    good.write_text("from ganbench import hookimpl\n")
    found = verdicts(bad, good)
    assert not found[f"plugin {bad}"].ok
    assert "ZeroDivisionError" in found[f"plugin {bad}"].message
    assert found[f"plugin {good}"].ok
    assert found["plugin zoo-losses"].ok


def test_plugins_that_are_well_alone_and_not_together_are_told(tmp_path: Path) -> None:
    twin = tmp_path / "twin.py"
    twin.write_text(
        "from ganbench import Loss, hookimpl\n"
        "class Twin(Loss, name='hinge'):\n"
        "    '''x.'''\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Twin]\n"
    )
    found = verdicts(twin)
    assert found[f"plugin {twin}"].ok
    assert not found["plugins together"].ok
    assert "'hinge'" in found["plugins together"].message
    assert verdicts(twin, without=("zoo-losses",))["plugins together"].ok


def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "file"))
    verdict = doctor._cache()
    assert not verdict.ok
    assert "GANBENCH_CACHE" in verdict.message


def test_little_memory_comes_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_gib", lambda: 0.5)
    verdict = doctor._memory()
    assert not verdict.ok
    assert "--workers 1" in verdict.message
    monkeypatch.setattr(doctor, "memory_gib", lambda: None)
    assert doctor._memory().ok


def test_the_terminal_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "latin-1"

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    message = doctor._terminal().message
    assert message.startswith("40 columns, no colour")
    assert "80 columns" in message
    assert "PYTHONUTF8=1" in message
