"""Which graphs this machine has compiled, and how long that took: what choosing an engine charges for the others."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench import codeprint, environment, family
from ganbench.component import digest
from ganbench.dataset import cache_dir
from ganbench.errors import ResultsError
from ganbench.records import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganbench.cell import Cell

PLACE = "TORCHINDUCTOR_CACHE_DIR"
UNTRACED = ("schema", "metrics", "steps", "samples")
"""What a cell has and its graphs have not."""


def folder() -> Path:
    """Where the compiler keeps graphs; the notes of this module lie below it, so that they go when the graphs do.

    It is what ``$TORCHINDUCTOR_CACHE_DIR`` says, but for torch's default, which torch writes there when it is imported:
    a folder for temporary files is no place for what took minutes to compile.
    """
    said = os.environ.get(PLACE, "")
    own = said.startswith(os.path.join(tempfile.gettempdir(), "torchinductor_"))  # noqa: PTH118 # a prefix, no path
    return Path(said) if said and not own else cache_dir() / "inductor"


def took(cell: Cell, trials: int, device: str, numbers: Sequence[str] = ()) -> float | None:
    """Seconds that the first step of ``trials`` like those of ``cell`` took to be compiled here; None if it was not.

    The ``numbers`` are inputs of the step, whatever their values.
    """
    with contextlib.suppress(ResultsError, TypeError, ValueError, KeyError):
        found = read_json(_note(cell, trials, device, numbers))
        return None if found is None else float(found["seconds"])
    return None


def note(cell: Cell, trials: int, device: str, seconds: float, numbers: Sequence[str] = ()) -> None:
    """Note that this was compiled now; nothing is said where the folder cannot be written."""
    path = _note(cell, trials, device, numbers)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"seconds": seconds})


def _note(cell: Cell, trials: int, device: str, numbers: Sequence[str]) -> Path:
    kept = {key: value for key, value in family.masked(cell, numbers).items() if key not in UNTRACED}
    code = codeprint.fingerprint(cell.components)
    of = {"cell": kept, "numbers": numbers, "seeds": trials}
    key = digest(of | {"code": code, "machine": environment.fingerprints(device)}, 16)
    return folder() / "ganbench" / f"{key}.json"
