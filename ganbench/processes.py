"""Processes and signals: how one is started, how one died, and that a folder has one driver."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from ganbench.errors import ResultsError
from ganbench.memory import kills

NVIDIA = Path("/dev/nvidiactl")
"""Where Linux has the driver of an NVIDIA GPU."""


def death(code: int) -> str:
    """What an exit code says of how a process died."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    more = ", perhaps by the system for want of memory" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{more}"


def starved(code: int, kills_before: int | None) -> bool | None:
    """Whether an exit code is of a process that the system killed for want of memory; None where it does not say.

    ``kills_before`` is what :func:`memory.kills` counted when the process began.
    """
    if code != -getattr(signal, "SIGKILL", -1):
        return False
    kills_now = kills()
    return None if kills_before is None or kills_now is None else kills_now > kills_before


def context(device: str = "cpu", *, tracing: bool = False, compiling: bool = False) -> ForkServerContext | SpawnContext:
    """Processes forked from a server that has torch and the plugins loaded; fresh ones where there is no fork.

    Those that use a GPU are fresh, too: what is forked from a process that has so much as asked whether there is one,
    as torch's compiler does when it is imported, cannot use it. With ``tracing`` the server loads what traces steps,
    too, and with ``compiling`` the compiler, if this process has not started it yet.
    """
    if device != "cpu" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    more = ["ganbench.preload_tracer"] * tracing + ["ganbench.preload_compiler"] * compiling
    context.set_forkserver_preload(["ganbench.preload", *more])
    return context


def begin_server(device: str, engine: str, *, compiled: bool | str) -> None:
    """Let the server begin to load while this process does, if it is known already what it has to load.

    Args:
        device: as it was asked for; torch, which could tell what ``auto`` is, is not loaded yet.
        engine: of ``[run]``.
        compiled: ``compile`` of ``[run]``.
    """
    plain = device == "cpu" or (device == "auto" and not NVIDIA.exists())
    if not plain or "auto" in (engine, compiled):
        return
    if isinstance(context(tracing=engine != "serial", compiling=bool(compiled)), ForkServerContext):
        from multiprocessing import forkserver

        forkserver.ensure_running()


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
    with _locked(hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]) as mine:
        if not mine:
            hint = f"wait for it, or help it: ganbench worker {folder}"
            raise ResultsError("another ganbench is running this grid", place=str(folder), hint=hint)
        yield


@contextlib.contextmanager
def only_timing(tell: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other timing pass of this user is at work on this machine."""
    told = False
    while True:
        with _locked("timing") as mine:
            if mine:
                yield
                return
        if not told:
            tell("another timing pass is at work on this machine: waiting for it")
            told = True
        time.sleep(0.5)


@contextlib.contextmanager
def _locked(key: str) -> Iterator[bool]:
    """Whether this process got the lock ``key`` of this machine, which it holds until the block ends."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield True
        return
    path = Path(tempfile.gettempdir()) / f"ganbench-{os.getuid()}-{key}.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            mine = False
        else:
            mine = True
        yield mine


def die_with(lifeline: Connection) -> None:
    """Kill this process when the driver at the other end of ``lifeline`` dies or closes it; from a thread."""

    def wait() -> None:
        with contextlib.suppress(EOFError, OSError):
            lifeline.recv_bytes()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
