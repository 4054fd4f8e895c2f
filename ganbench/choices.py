"""Which engine the cells of a block train in, where the grid leaves it open: what was measured, and is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.component import digest
from ganbench.errors import ResultsError
from ganbench.records import read_json, write_json
from ganbench.text import plural

if TYPE_CHECKING:
    from ganbench.cell import Cell
    from ganbench.component import Component
    from ganbench.settings import Settings

FILE = "engines.json"
OPEN = "auto"
"""The engine of a cell whose block has not been measured; no trial is trained under it."""
BLOCK = ("dataset", "generator", "discriminator", "steps", "batch", "precision", "channels_last")
"""What the cells of a block share, as their specifications have it."""
LATER = ("deterministic",)
"""What they share besides, which specifications leave out where it is as usual."""
GAIN = 1.1
"""How many times less an engine must take than the plain serial one to be chosen over it."""


@dataclass(frozen=True)
class Choice:
    """The engine of a block, why, and the seconds that its cells were expected to take in each engine measured."""

    engine: str
    why: str
    block: str
    seconds: Mapping[str, float] = field(default_factory=dict)


def candidates(settings: Settings) -> tuple[str, ...]:
    """The engines that ``[run]`` allows; the first needs neither a measurement nor a compiler."""
    kinds = ("serial", "fused") if settings.engine == "auto" else (settings.engine,)
    compiled = (False, True) if settings.compile == "auto" else (settings.compile,)
    return tuple(kind + "+compiled" * on for on in compiled for kind in kinds)


def block_of(
    parts: Mapping[str, Component],
    steps: int,
    batch: int,
    precision: str,
    *,
    channels_last: bool = False,
    deterministic: bool = True,
) -> str:
    """The identity of the block of a cell: cells of one dataset and one pair of networks are compared, and share it."""
    values = [*(parts[role].to_table() for role in BLOCK[:3]), steps, batch, precision, channels_last]
    later = {} if deterministic else {"deterministic": False}
    return _identity(dict(zip(BLOCK, values, strict=True)) | later)


def _identity(values: Mapping[str, Any]) -> str:
    """Of the block of a cell with the specification, or the part of one, ``values``."""
    return digest({key: values[key] for key in BLOCK} | {key: values[key] for key in LATER if key in values}, 12)


def block_of_cell(cell: Cell) -> str:
    """As :func:`block_of`, of a whole cell."""
    parts = {"dataset": cell.dataset, "generator": cell.generator, "discriminator": cell.discriminator}
    return block_of(
        parts,
        cell.steps,
        cell.batch,
        cell.precision,
        channels_last=cell.channels_last,
        deterministic=cell.deterministic,
    )


def recorded(folder: Path) -> dict[str, Choice]:
    """The choices that a run has kept, by block; where the file is missing or of no use, what its trials ran in."""
    try:
        content = read_json(folder / FILE) or {}
        return {block: Choice(**choice) for block, choice in content["blocks"].items()}
    except (ResultsError, KeyError, TypeError, AttributeError):
        return _trained(folder)


def _trained(folder: Path) -> dict[str, Choice]:
    """The engine that most trials of each block were trained in: to measure again might lose them."""
    engines: dict[str, Counter[str]] = {}
    about: dict[str, str] = {}
    for path in sorted(folder.glob("trials/*/seed-*/spec.json")):
        try:
            spec = (read_json(path) or {})["spec"]
            block = _identity(spec)
            engines.setdefault(block, Counter())[str(spec["engine"])] += 1
            about[block] = ", ".join(str(spec[role]["use"]) for role in BLOCK[:3])
        except (ResultsError, KeyError, TypeError):
            continue
    why = "its trials were trained in it"
    return {block: Choice(found.most_common(1)[0][0], why, about[block]) for block, found in engines.items()}


def record(folder: Path, choices: Mapping[str, Choice]) -> None:
    """Keep ``choices`` with the run."""
    write_json(folder / FILE, {"schema": 1, "blocks": {block: asdict(choice) for block, choice in choices.items()}})


def notes(cells: Sequence[Cell], choices: Mapping[str, Choice]) -> list[str]:
    """One line for each block whose engine was chosen, and one for those that are to be measured."""
    blocks = {block_of_cell(cell): cell.engine for cell in cells}
    said = [f"{c.block}: engine {c.engine}, because {c.why}" for b, c in choices.items() if blocks.get(b) == c.engine]
    waiting = sum(cell.engine == OPEN for cell in cells)
    if waiting:
        said.append(f"engine of {plural(waiting, 'cell')}: to be measured when the run begins")
    return said


def least(seconds: Mapping[str, float], first: str) -> str:
    """The engine that takes the least; ``first`` unless another gains enough over it."""
    best = min(seconds, key=lambda engine: seconds[engine])
    return best if seconds[best] * GAIN <= seconds[first] else first
