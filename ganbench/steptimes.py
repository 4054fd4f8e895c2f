"""What the timing pass leaves on disk, one file for each block of comparable cells, and what it says of each cell."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganbench.component import digest
from ganbench.errors import ResultsError
from ganbench.pacing import noise_floor, pooled_ratio, ratio
from ganbench.records import Record, read_json
from ganbench.stats import Estimate

FOLDER = "timing"
SCHEMA = 1
BASELINE, AGAIN = "baseline", "again"
"""The cell without regularizers, and the same built a second time."""
UNTIMED = ("regularizer", "metrics", "steps", "samples", "engine")
"""What the cells of a block may differ in: the regularizers, which are compared, and what does not enter a step."""
APART = (
    *(f"step_ms{kind}" for kind in ("", "_mad", "_min", "_p5", "_p95", "_p99", "_n")),
    *(f"step_ratio{end}" for end in ("", "_low", "_high")),
    *("host_share", "noise_floor", "first_step_s", "warm_up_s", "warm_up_steps", "drifted", "warm_up_mib", "step_mib"),
)
"""The columns of numbers that the pass adds to the records."""


def block_id(spec: Mapping[str, Any]) -> str:
    """12 hexadecimal digits for what a cell must share with others to be timed against them."""
    return digest({k: v for k, v in spec.items() if k not in UNTIMED}, 12)


@dataclass(frozen=True)
class Block:
    """One file of the pass: cells that were timed in turn, in one process.

    Args:
        id: of the block.
        mode: ``serial``, the plain step that a training outside costs, or ``compiled``.
        rounds: for each cell, and for :data:`BASELINE` and :data:`AGAIN`, milliseconds a step in each round.
        cells: for each cell, what its columns say.
        raw: the whole file.
    """

    id: str
    mode: str
    rounds: Mapping[str, Sequence[float]]
    cells: Mapping[str, Mapping[str, Any]]
    raw: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Block | None:
        """The block in ``path``, None if there is none or it is of another schema.

        Raises:
            ResultsError: the file is not one of the timing pass.
        """
        raw = read_json(path)
        if raw is None or raw.get("schema") != SCHEMA:
            return None
        try:
            timed = {**raw["cells"], BASELINE: raw[BASELINE], AGAIN: raw[AGAIN]}
            rounds = {name: [float(ms) for ms in found.get("rounds", ())] for name, found in timed.items()}
            return cls(raw["block"], raw["mode"], rounds, raw["cells"], raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultsError(f"not a file of the timing pass: {error!r}", place=str(path)) from error

    @functools.cached_property
    def floor(self) -> float | None:
        """What two timings of the same cell differed by: the interval of baseline over baseline, its far end."""
        return noise_floor(self.rounds[AGAIN], self.rounds[BASELINE])

    def over_baseline(self, cell: str) -> Estimate | None:
        """The step time of ``cell`` over that of the cell without regularizers, paired within rounds."""
        if self.cells[cell].get("is_baseline"):
            return Estimate(1.0, None, None, 1)
        return ratio(self.rounds[cell], self.rounds[BASELINE])

    @property
    def quiet(self) -> bool:
        """Whether nothing else was seen at work on the machine."""
        return bool(self.raw.get("exclusive"))

    def columns(self, cell: str) -> dict[str, Any]:
        """The columns of the records of ``cell``; :data:`APART` are those with a number."""
        found = self.cells[cell]
        against = self.over_baseline(cell)
        numbers = {
            **found.get("summary", {}),
            "step_ratio": against and against.mean,
            "step_ratio_low": against and against.low,
            "step_ratio_high": against and against.high,
            "noise_floor": self.floor,
            "first_step_s": found.get("first_s"),
            "warm_up_s": found.get("warm_up_s"),
            "warm_up_steps": found.get("warm_up_steps"),
            "drifted": found.get("drifted"),
            "warm_up_mib": found.get("warm_up_mib"),
            "step_mib": found.get("step_mib"),
        }
        facts = {"steady": found.get("converged"), "exclusive": self.quiet, "timed": "apart"}
        prints: Mapping[str, str] = self.raw.get("fingerprints") or {}
        facts |= {f"{kind}_fingerprint": prints[kind] for kind in ("hardware", "environment") if kind in prints}
        return {name: value for name, value in numbers.items() if value is not None} | facts


@dataclass(frozen=True)
class StepTimes:
    """All blocks that a run's folder has for one mode."""

    blocks: Mapping[str, Block]
    """By the cells in them."""

    @classmethod
    def read(cls, folder: Path, mode: str = "serial") -> StepTimes:
        """The timing pass in the run's ``folder``; files that cannot be read are left out, ``verify`` names them."""
        blocks: dict[str, Block] = {}
        for path in sorted((folder / FOLDER).glob(f"*-{mode}.json")):
            try:
                block = Block.read(path)
            except ResultsError:
                continue
            if block is not None and block.mode == mode:
                blocks |= {cell: block for cell in block.cells if block.rounds[cell]}
        return cls(blocks)

    def of(self, codes: Mapping[str, Collection[str]]) -> StepTimes:
        """Those of cells that were timed with the code that their trials ran, by cell; others tell of other code."""
        kept = {cell: b for cell, b in self.blocks.items() if b.cells[cell].get("code") in {None, *codes.get(cell, ())}}
        return StepTimes(kept)

    def ratio(self, pairs: Iterable[tuple[str, str]]) -> Estimate | None:
        """The mean, over pairs of cells, of the step time of the first over that of the second, on the log scale.

        The second may be :data:`BASELINE`. Cells that were not timed in one block are not comparable: with one such
        pair there is no ratio.
        """
        series: list[tuple[Sequence[float], Sequence[float]]] = []
        for above, below in pairs:
            block = self.blocks.get(above)
            if block is None or (below != BASELINE and self.blocks.get(below) is not block):
                return None
            series.append((block.rounds[above], block.rounds[below]))
        if all(above is below or list(above) == list(below) for above, below in series):
            return Estimate(1.0, None, None, 1) if series else None
        return pooled_ratio(series)

    def floors(self, cells: Iterable[str]) -> list[float]:
        """The noise floors of the blocks of ``cells``, each block once."""
        blocks = {id(block): block for cell in cells if (block := self.blocks.get(cell)) is not None}
        return [block.floor for block in blocks.values() if block.floor is not None]


def timed(record: Record, times: StepTimes | None) -> dict[str, Any]:
    """The row of ``record`` with the columns of the timing pass; what training measured of steps is renamed.

    Without ``times`` it is the record's own row.
    """
    row = record.row()
    if times is None or record.status != "done":
        return row
    block = times.blocks.get(record.cell)
    if block is None:
        return row | ({"timed": "in training"} if "step_ms" in record.timing else {})
    renamed = {f"train_{name}" if name.startswith("step_ms") else name: value for name, value in row.items()}
    trained = ("exclusive", "hardware_fingerprint", "environment_fingerprint")
    return renamed | {f"train_{name}": row.get(name) for name in trained} | block.columns(record.cell)


def file_of(folder: Path, block: str, mode: str) -> Path:
    """Where the run in ``folder`` has a block."""
    return folder / FOLDER / f"{block}-{mode}.json"
