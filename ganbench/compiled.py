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


def charged(
    graphs: Sequence[int], before: Sequence[float | None], *, first_s: float, again_s: float, loading: float
) -> float:
    """Seconds that compiling costs the stacks of a block, each of which has a process that loads the compiler.

    Args:
        graphs: kinds of step of each stack, or each cell where trials do not train together.
        before: seconds that each took to compile on this machine, None where it did not happen.
        first_s: until the first step of the first; one that was compiled before took as long then as
            ``before`` says.
        again_s: the same from the compiler's cache.
        loading: of the compiler.
    """
    cold = first_s if before[0] is None else max(before[0], again_s)
    cached = [True, *(b is not None for b in before[1:])]  # measuring has compiled one kind of step of the first cell
    total = sum(n * (again_s if known else cold) for n, known in zip(graphs, cached, strict=True))
    if before[0] is None:
        total += (graphs[0] - 1) * (cold - again_s)
    return total + loading * len(graphs)


def _note(cell: Cell, trials: int, device: str, numbers: Sequence[str]) -> Path:
    kept = {key: value for key, value in family.masked(cell, numbers).items() if key not in UNTRACED}
    code = codeprint.fingerprint(cell.components)
    of = {"cell": kept, "numbers": numbers, "seeds": trials}
    key = digest(of | {"code": code, "machine": environment.fingerprints(device)}, 16)
    return folder() / "ganbench" / f"{key}.json"
