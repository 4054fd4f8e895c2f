"""What a run has left on disk so far: its plan, and the records of its trials."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganbench.errors import ResultsError
from ganbench.records import Record, read_json, read_lines
from ganbench.stats import Better
from ganbench.steptimes import StepTimes

RUN = "run.json"


@dataclass(frozen=True)
class Planned:
    """A cell as the run's plan has it: ``skip`` is the reason why it is not trained, or None."""

    cell: str
    id: str
    labels: Mapping[str, str]
    skip: str | None
    seeds: tuple[int, ...]

    def skipped(self) -> Record:
        """The row of a cell that is not trained."""
        return Record(
            cell=self.cell, id=self.id, seed=None, status="skipped", labels=self.labels, reason=self.skip or ""
        )


class RunFolder:
    """The folder of a run, read when first asked for.

    A result that cannot be read is a row of status ``error`` that says so, never an exception.

    Args:
        path: the run's folder.

    Raises:
        ResultsError: ``path`` is not the folder of a run.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        raw = read_json(self.path / RUN)
        if raw is None:
            raise ResultsError(
                f"not the folder of a run: it has no {RUN}",
                place=str(self.path),
                hint="name a folder that `ganbench run` has made",
            )
        try:
            self.plan = tuple(
                Planned(
                    cell=cell["cell"],
                    id=cell["id"],
                    labels=dict(cell["labels"]),
                    skip=cell.get("skip"),
                    seeds=tuple(cell.get("seeds") or ()),
                )
                for cell in raw["cells"]
            )
            self.name: str = raw.get("name") or self.path.resolve().name
            self.settings: Mapping[str, Any] = raw.get("settings") or {}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultsError(f"not the plan of a run: {error!r}", place=str(self.path / RUN)) from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, {len(self.trials)} trials, {self.missing} missing)"

    @functools.cached_property
    def trials(self) -> tuple[Record, ...]:
        """The finished trials of the plan, in its order."""
        read = (
            self._read(planned, self.folder(planned.cell, seed), seed)
            for planned in self.plan
            if planned.skip is None
            for seed in planned.seeds
        )
        return tuple(record for record in read if record is not None)

    @functools.cached_property
    def stale(self) -> tuple[Record, ...]:
        """The trials on disk that the plan no longer has: of another grid, other seeds or other settings."""
        by_cell = {planned.cell: planned for planned in self.plan if planned.skip is None}
        records = []
        for folder in sorted(self.path.glob("trials/*/seed-*")):
            seed = folder.name.removeprefix("seed-")
            planned = by_cell.get(folder.parent.name)
            if not seed.isdecimal() or (planned is not None and int(seed) in planned.seeds):
                continue
            _, _, id_ = folder.parent.name.rpartition("-")
            unplanned = Planned(folder.parent.name, id_, {}, None, ())
            record = self._read(planned or unplanned, folder, int(seed))
            if record is not None:
                records.append(record)
        return tuple(records)

    @staticmethod
    def _read(planned: Planned, folder: Path, seed: int) -> Record | None:
        try:
            return Record.read(folder)
        except ResultsError as error:
            return Record(
                cell=planned.cell,
                id=planned.id,
                seed=seed,
                status="error",
                labels=planned.labels,
                reason=f"unreadable result: {error}",
            )

    @property
    def missing(self) -> int:
        """How many trials of the plan have no result yet."""
        return sum(len(planned.seeds) for planned in self.plan if planned.skip is None) - len(self.trials)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials have each status, how many are ``missing``, and how many cells are ``skipped``."""
        counts = Counter[str](record.status for record in self.trials)
        skipped = sum(planned.skip is not None for planned in self.plan)
        return {k: n for k, n in (counts | {"skipped": skipped, "missing": self.missing}).items() if n}

    @functools.cached_property
    def measures(self) -> dict[str, tuple[Better, str]]:
        """For each measure that any trial has, in order of appearance: which way is better, and its unit."""
        found: dict[str, tuple[Better, str]] = {}
        for record in self.trials:
            for name, value in record.measures.items():
                found.setdefault(name, (value.better, value.unit))
        return found

    @property
    def targets(self) -> dict[str, float]:
        """The values of measures whose first reaching is timed, from ``[run] targets``."""
        return {str(measure): float(value) for measure, value in (self.settings.get("targets") or {}).items()}

    @functools.cached_property
    def step_times(self) -> StepTimes:
        """What the timing pass has measured of the serial step, of the code that was trained; empty without a pass."""
        codes: dict[str, set[str]] = {}
        for record in self.trials:
            if record.status == "done" and "code" in record.fingerprints:
                codes.setdefault(record.cell, set()).add(record.fingerprints["code"])
        return StepTimes.read(self.path).of(codes)

    def folder(self, cell: str, seed: int | None) -> Path:
        """The folder of a trial."""
        return self.path / "trials" / cell / f"seed-{seed}"

    def lines(self, record: Record) -> list[dict[str, Any]]:
        """What a trial measured during training, one line for each evaluation."""
        return read_lines(self.folder(record.cell, record.seed) / "curves.jsonl")
