"""Looks at this machine and this installation, and says for each matter whether it is well and what to do if not."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganbench.dataset import cache_dir
from ganbench.environment import cores, cpu
from ganbench.errors import GanbenchError
from ganbench.registry import GROUP, VIEW_GROUP, Registry
from ganbench.text import plural, terminal_width, wants_color

OLDEST = (3, 11)
LITTLE = 2.0
"""GiB of memory below which a process that trains may not fit."""


@dataclass(frozen=True)
class Verdict:
    """One matter: what was looked at, whether it is well, and what was found, with advice if it is not."""

    what: str
    ok: bool
    message: str


def examine(plugins: Sequence[str | Path] = (), without: Sequence[str] = ()) -> list[Verdict]:
    """The verdicts on Python, torch, devices, memory, every plugin, the cache folder, processes and the terminal."""
    return [
        _python(),
        *_torch(),
        _memory(),
        *_plugins(plugins, without),
        _cache(),
        _processes(),
        _terminal(),
    ]


def _python() -> Verdict:
    found = f"{platform.python_version()} at {sys.executable}"
    ok = sys.version_info >= OLDEST
    return Verdict("Python", ok, found if ok else f"{found}; ganbench needs {'.'.join(map(str, OLDEST))} or newer")


def _torch() -> Iterator[Verdict]:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 # a broken installation raises anything, most often OSError
        yield Verdict(
            "torch", ok=False, message=f"cannot be imported: {type(error).__name__}: {error}; install it again"
        )
        return
    yield Verdict("torch", ok=True, message=f"{torch.__version__}, {torch.get_num_threads()} threads by default")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        told = ", ".join(f"cuda:{i} {p.name} ({p.total_memory / 2**30:.0f} GiB)" for i, p in enumerate(names))
        yield Verdict("devices", ok=True, message=f"cpu, {told}; --device auto trains on CUDA")
    elif Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch cannot reach it"
        advice = "install a CUDA build of torch" if torch.version.cuda is None else "see CUDA_VISIBLE_DEVICES"
        yield Verdict("devices", ok=False, message=f"cpu; there is an NVIDIA driver, and {why}; {advice}")
    else:
        yield Verdict(
            "devices", ok=True, message="cpu; no CUDA device, which is no fault: everything trains on the CPU"
        )


def _memory() -> Verdict:
    gib = memory_gib()
    told = f"{cores()} cores of {cpu()}"
    if gib is None:
        return Verdict("cores and memory", ok=True, message=told)
    told += f", {gib:.1f} GiB of memory free"
    advice = "" if gib >= LITTLE else f"; below {LITTLE:g} GiB, train with --workers 1"
    return Verdict("cores and memory", gib >= LITTLE, told + advice)


def memory_gib() -> float | None:
    """Memory in GiB that this process may still take, by the system and by its control group; None if unknown."""
    found = []
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text(encoding="ascii").splitlines() if ":" in line)
        if "MemAvailable" in lines:
            found.append(int(lines["MemAvailable"].split()[0]) / 2**20)
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        if limit.isdigit() and used.isdigit():
            found.append((int(limit) - int(used)) / 2**30)
    except OSError:
        pass  # no control group of the second version
    return min(found) if found else None


def _plugins(files: Sequence[str | Path], without: Sequence[str]) -> Iterator[Verdict]:
    """A verdict for each plugin, loaded by itself, and one for all of them together."""
    points = [point for group in (GROUP, VIEW_GROUP) for point in importlib.metadata.entry_points(group=group)]
    installed = list(dict.fromkeys(point.name for point in points))
    well = True
    for name in installed:
        if name in without:
            yield Verdict(f"plugin {name}", ok=True, message="blocked by --without")
            continue
        verdict = _alone(f"plugin {name}", (), [other for other in installed if other != name])
        well &= verdict.ok
        yield verdict
    for file in files:
        verdict = _alone(f"plugin {file}", (file,), [name for name in installed if name != Path(file).stem])
        well &= verdict.ok
        yield verdict
    if well:
        try:
            registry = Registry.load(files, without=without)
        except GanbenchError as error:
            yield Verdict("plugins together", ok=False, message=str(error))
        else:
            n = sum(1 for _ in registry.components())
            yield Verdict("plugins together", ok=True, message=f"{len(registry.origins)} plugins, {n} components")


def _alone(what: str, files: Sequence[str | Path], without: Sequence[str]) -> Verdict:
    try:
        registry = Registry.load(files, without=without)
    except GanbenchError as error:
        return Verdict(what, ok=False, message=str(error))
    where = ", ".join(origin.where for origin in registry.origins.values())
    return Verdict(what, ok=True, message=f"{where}: {plural(sum(1 for _ in registry.components()), 'component')}")


def _cache() -> Verdict:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        told = f"{folder} is not writable: {error.strerror or error}; set GANBENCH_CACHE to a folder that is"
        return Verdict("cache folder", ok=False, message=told)
    return Verdict("cache folder", ok=True, message=f"{folder} is writable")


def _processes() -> Verdict:
    if "forkserver" in multiprocessing.get_all_start_methods():
        return Verdict("processes", ok=True, message="from a fork server: torch is imported once")
    return Verdict("processes", ok=True, message="no fork server here: each process imports torch itself, 2 s a cell")


def _terminal() -> Verdict:
    if not sys.stdout.isatty():
        return Verdict("terminal", ok=True, message="output goes to a file or pipe: plain text, no redrawn lines")
    colour = "colour" if wants_color() else "no colour (NO_COLOR or TERM=dumb)"
    width = terminal_width()
    narrow = "; tables need 80 columns to show every column" if width < 80 else ""
    encoding = (sys.stdout.encoding or "ascii").lower()
    odd = "" if encoding.startswith("utf") else f"; encoding {encoding} lacks some signs: set PYTHONUTF8=1"
    return Verdict("terminal", ok=True, message=f"{width} columns, {colour}{narrow}{odd}")
