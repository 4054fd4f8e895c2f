"""Facts recorded with each run: versions, hardware, and what of them makes numbers comparable."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from ganbench.component import digest

PACKAGES = ("ganbench", "torch", "numpy", "scipy", "pandas", "pluggy", "safetensors")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that enter the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def cpu() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.cache
def facts() -> dict[str, Any]:
    """Everything worth writing down about this machine and this Python."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(i)
            gpus.append({"name": found.name, "memory_mib": found.total_memory // 2**20})
    return {
        "versions": versions(),
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "cpu": cpu(),
        "cores": cores(),
        "gpus": gpus,
        "git": _git(),
    }


def fingerprints(device: str) -> dict[str, str]:
    """Hashes of the environment (versions) and of the hardware: step times compare only where both agree."""
    found = facts()
    gpu = found["gpus"] if device.startswith("cuda") else []
    minor = found["versions"]["python"].rpartition(".")[0]
    return {
        "environment": digest({"versions": found["versions"] | {"python": minor}, "cuda": found["cuda"]}, 8),
        "hardware": digest({"cpu": found["cpu"], "gpus": gpu, "device": device.partition(":")[0]}, 8),
    }


def _git() -> dict[str, Any] | None:
    """Commit of the working folder and whether it has changes, if it is in a repository."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_ask_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(*words: str) -> str:
    command = ["git", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()  # noqa: S603 # constant words


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process in MiB since :func:`reset_peak_memory`, or since its start."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def reset_peak_memory() -> None:
    """Start the count of :func:`peak_memory_mib` anew, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
