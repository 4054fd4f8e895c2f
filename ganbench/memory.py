"""Memory that ran out: what says so of an error, of a process that died, and how a failed attempt's is given back."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LACKING = re.compile(r"out of memory|can't allocate memory|not enough memory|_STATUS_ALLOC_FAILED")
"""What libraries write where they raise an error of no type of its own: torch's allocator of the CPU, its interpreter,
which passes on the text of an error alone, cuBLAS, cuDNN and the compiler of kernels."""


def lacked(error: BaseException) -> str:
    """The line of ``error``, or of one that it came from, that says that memory ran out; empty if none does."""
    import torch

    for found in _chain(error):
        text = str(found)
        if isinstance(found, torch.OutOfMemoryError | MemoryError):
            return text.splitlines()[0] if text else "out of memory"
        if isinstance(found, RuntimeError):
            for line in text.splitlines():
                if LACKING.search(line):
                    return line.strip()
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and those that it came from, the compiler's, which hides where it came from, included."""
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__


def give_back(device: torch.device) -> None:
    """Free what nothing refers to any more, cycles and what torch keeps of a GPU for later included."""
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


def kills(stat: Path = Path("/proc/vmstat")) -> int | None:
    """Processes that the system has killed for want of memory since it started; None where it does not count them."""
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None
