"""How processes are started: what the fork server has loaded, and when it begins to."""

import multiprocessing
import multiprocessing.forkserver
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from ganbench import processes

needs_fork_server = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no fork server here"
)


@needs_fork_server
@pytest.mark.parametrize(
    ("device", "engine", "compiled", "gpu", "preloads"),
    [
        ("auto", "fused", False, "none", ["ganbench.preload", "ganbench.preload_tracer"]),
        ("cpu", "fused", False, ".", ["ganbench.preload", "ganbench.preload_tracer"]),
        ("cpu", "serial", False, "none", ["ganbench.preload"]),
        ("cpu", "serial", True, "none", ["ganbench.preload", "ganbench.preload_compiler"]),
        ("auto", "fused", False, ".", None),
        ("cuda", "fused", False, ".", None),
        ("cpu", "auto", False, "none", None),
        ("cpu", "fused", "auto", "none", None),
    ],
)
def test_the_server_begins_early_where_it_is_known_what_it_loads(
    device: str,
    engine: str,
    compiled: Literal["auto"] | bool,  # noqa: FBT001 # a case of the test
    gpu: str,
    preloads: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asked: list[list[str]] = []
    begun: list[bool] = []
    monkeypatch.setattr(processes, "NVIDIA", tmp_path / gpu)
    monkeypatch.setattr(multiprocessing.forkserver, "set_forkserver_preload", asked.append)
    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", lambda: begun.append(True))
    processes.begin_server(device, engine, compiled=compiled)
    assert begun == [True] * (preloads is not None)
    assert asked == ([] if preloads is None else [preloads])


def test_what_the_server_loads_is_no_garbage_to_be_looked_for() -> None:
    code = (
        "import gc, signal, sys, ganbench.preload\n"
        "print(gc.get_freeze_count() > 100_000, gc.isenabled(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
        "print('torch' in sys.modules, 'ganbench_zoo.losses' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 5
