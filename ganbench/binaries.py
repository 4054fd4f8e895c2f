"""Compiled files that a killed process left unfinished, so that nobody loads them."""

from __future__ import annotations

import os
import re
import struct
import sys
import time
from pathlib import Path

HEADER = struct.Struct("<4s36xQ10xHH2x")
"""Of an ELF file of 64 bits: its magic number, the beginning of its table of sections, an entry's length, the count."""
ENDINGS = (".so", ".o")
SETTLED = 60.0
"""Seconds after which an unfinished file is nobody's work in progress."""


def unfinished(path: Path) -> bool:
    """Whether an ELF file ends before its table of sections does, which linkers write last."""
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if len(head) < HEADER.size:
        return True
    magic, begins, each, count = HEADER.unpack(head)
    return bool(magic != b"\x7fELF" or not begins or size < begins + each * count)


def drop_unfinished(folder: Path) -> list[Path]:
    """Remove the unfinished files below ``folder`` that nobody can be writing any more; they are compiled again."""
    if sys.platform != "linux":
        return []  # other formats
    before = time.time() - SETTLED
    found = [Path(at) / name for at, _, names in os.walk(folder) for name in names if name.endswith(ENDINGS)]
    dropped = [path for path in found if path.stat().st_mtime < before and unfinished(path)]
    for path in dropped:
        path.unlink(missing_ok=True)
    return dropped


def drop_named(error: BaseException, folder: Path) -> bool:
    """Remove the files below ``folder`` that ``error`` names and that are unfinished; whether there was one."""
    named = {Path(name) for name in re.findall(r"/[^\s:'\"]+\.so\b", str(error))}
    broken = [path for path in named if folder in path.parents and path.is_file() and unfinished(path)]
    for path in broken:
        path.unlink(missing_ok=True)
    return bool(broken)
