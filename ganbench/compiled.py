"""Which graphs this machine has compiled, and how long that took: what choosing an engine charges for the others."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench import codeprint, environment
from ganbench.component import digest
from ganbench.dataset import cache_dir
from ganbench.errors import ResultsError
from ganbench.records import read_json, write_json

if TYPE_CHECKING:
    from ganbench.cell import Cell

UNTRACED = ("schema", "metrics", "steps", "samples")
"""What a cell has and its graphs have not."""


def folder() -> Path:
    """Where the compiler keeps graphs; the notes of this module lie below it, so that they go when the graphs do."""
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or cache_dir() / "inductor")


def took(cell: Cell, seeds: int, device: str) -> float | None:
    """Seconds that the first step of ``cell`` took when it was compiled for ``seeds`` on this machine; None if not."""
    with contextlib.suppress(ResultsError, TypeError, ValueError, KeyError):
        found = read_json(_note(cell, seeds, device))
        return None if found is None else float(found["seconds"])
    return None


def note(cell: Cell, seeds: int, device: str, seconds: float) -> None:
    """Note that ``cell`` was compiled now; nothing is said where the folder cannot be written."""
    path = _note(cell, seeds, device)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"seconds": seconds})


def _note(cell: Cell, seeds: int, device: str) -> Path:
    kept = {key: value for key, value in cell.spec.items() if key not in UNTRACED}
    code = codeprint.fingerprint(cell.components)
    key = digest({"cell": kept, "seeds": seeds, "code": code, "machine": environment.fingerprints(device)}, 16)
    return folder() / "ganbench" / f"{key}.json"
