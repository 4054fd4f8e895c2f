"""Processes and signals: how one is started, how one died, and that a folder has one driver."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import tempfile
import types
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from ganbench.errors import ResultsError


def death(code: int) -> str:
    """What an exit code says of how a process died."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    more = ", perhaps by the system for want of memory" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{more}"


def context() -> ForkServerContext | SpawnContext:
    """Processes forked from a server that has torch and the plugins loaded; fresh ones where there is no fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ganbench.preload"])
    return context


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Start a process that does not import the caller's main script: a script without a guard must not run twice."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM end a run as an interrupt does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Refuse a second driver of one run folder on this machine; the lock dies with its holder and lies in no results.

    Raises:
        ResultsError: another process of this machine is at it.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"ganbench-{os.getuid()}-{key}.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResultsError("another ganbench is running this grid", place=str(folder), hint="wait for it") from None
        yield
