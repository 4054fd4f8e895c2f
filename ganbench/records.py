"""What a trial leaves on disk: one folder, whose ``result.json`` is the commit point."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ganbench.errors import ResultsError, StorageError
from ganbench.stats import Better

SCHEMA = 1
Status: TypeAlias = Literal["done", "diverged", "oom", "timeout", "crashed", "error", "skipped", "interrupted"]
FAILED: tuple[Status, ...] = ("diverged", "oom", "timeout", "crashed", "error")
BRIEF = 24
"""Characters of a setting that are shown as they are."""
ROLES = ("dataset", "generator", "discriminator", "loss", "regularizer", "optimizer", "update")


@dataclass(frozen=True, kw_only=True)
class Value:
    """One measure of one trial.

    Args:
        last: of the last iterate of the generator; None where it is not finite or was not reached.
        ema: of the generator's running average.
        floor: of real samples against other real samples, at the same sample counts.
        null: of a Gaussian with the mean and covariance of the data, at the same sample counts.
        better: which way is better, None if neither.
        unit: of the value, empty for a pure number.
        notes: what to know of the samples, such as how many were not finite.
        protocol: what must be equal for two values to be compared: metric, version, fields, sample counts, split,
            extractor with its digest, preprocessing, dtype.
    """

    last: float | None
    ema: float | None = None
    floor: float | None = None
    null: float | None = None
    better: Better = None
    unit: str = ""
    notes: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The protocol in one line, ``kid v1, 599 fakes against 599 real (test), float32``; "" if it is unknown."""
        p = self.protocol
        if not p:
            return ""
        fields = " ".join(f"{name}={_brief(value)}" for name, value in p.get("fields", {}).items())
        said = [
            f"{p.get('metric')} v{p.get('version')}" + (f" ({fields})" if fields else ""),
            f"{p.get('n_fake')} fakes against {p.get('n_real')} real ({p.get('split')})",
            *(str(p[name]) for name in ("extractor", "preprocessing", "dtype") if p.get(name)),
        ]
        return ", ".join(said)


def _brief(value: object) -> str:
    """A setting in a few characters: a long one, such as a list of centres, by its hash."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text if len(text) <= BRIEF else f"#{hashlib.sha256(text.encode()).hexdigest()[:8]}"


_SAID = {"notes": "notes", "protocol": "told"}
"""Columns of text beside a measure, and what gives them; they are there only where there is something to say."""


TAKEN = frozenset({*ROLES, "cell", "id", "seed", "status", "reason", "started", "finished"}) | {
    *("steps", "batch", "samples", "engine", "arithmetic", "channels_last", "device", "threads", "exclusive"),
    "deterministic",
    *("n", "resumed", "evaluations", "stack", "together", "accounted", "timed", "step_ms"),
}
"""Columns of the records that no measure may be called: one would hide the other."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished trial, as ``result.json`` has it.

    Args:
        cell: name of the cell's folder, ``SLUG-ID``.
        id: hash of the cell's resolved spec.
        seed: None for a skipped cell, which has no trials.
        labels: for each role, the component's label (``r1(gamma=1)``).
        reason: why it was skipped, or the error in one line.
        timing: in milliseconds and seconds, see docs/method.md.
        cost: parameters, memory, D passes per step.
        facts: steps, batch, engine, arithmetic (``[run] precision``), device, threads, whether anything ran beside it;
            deterministic where it is false.
        fingerprints: of code, environment and hardware.
    """

    cell: str
    id: str
    seed: int | None
    status: Status
    labels: Mapping[str, str]
    reason: str = ""
    measures: Mapping[str, Value] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    finished: str = ""
    schema: int = SCHEMA

    def row(self) -> dict[str, Any]:
        """One flat row: identity, a column for each role, measures as NAME, NAME_ema, NAME_floor..., and the rest."""
        row: dict[str, Any] = {
            "cell": self.cell,
            "id": self.id,
            **{role: self.labels.get(role, "") for role in ROLES},
            "seed": self.seed,
            "status": self.status,
            "reason": self.reason,
        }
        for name, value in self.measures.items():
            row |= {name: value.last, f"{name}_ema": value.ema, f"{name}_floor": value.floor}
            if value.null is not None:
                row[f"{name}_null"] = value.null
            row |= {f"{name}_{kind}": text for kind in ("notes", "protocol") if (text := getattr(value, _SAID[kind]))}
        return (
            row
            | dict(self.timing)
            | dict(self.cost)
            | dict(self.facts)
            | {f"{kind}_fingerprint": print_ for kind, print_ in self.fingerprints.items()}
            | {"started": self.started, "finished": self.finished}
        )

    def write(self, folder: Path) -> None:
        """Commit to ``folder/result.json``: whoever reads it sees the old file or the new one, whole."""
        write_json(folder / "result.json", asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Record | None:
        """The record in ``folder``, or None if there is none yet.

        Raises:
            ResultsError: the file is there and is not a record.
        """
        path = folder / "result.json"
        raw = read_json(path)
        if raw is None:
            return None
        try:
            known = {f.name for f in fields(cls)}
            values = {k: v for k, v in raw.items() if k in known}
            values["measures"] = {k: Value(**v) for k, v in values.get("measures", {}).items()}
            # records of before have it under the name of a measure
            values["facts"] = {"arithmetic" if k == "precision" else k: v for k, v in values.get("facts", {}).items()}
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise ResultsError(f"not a result of a trial: {error}", place=str(path)) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``, or None if there is no such file.

    Raises:
        ResultsError: it cannot be read or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResultsError(f"cannot be read: {error}", place=str(path)) from error
    if not isinstance(value, dict):
        raise ResultsError("not a JSON object", place=str(path))
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` atomically and durably; numbers that JSON lacks must have been turned into None before."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well: fsync, rename, fsync again.

    Raises:
        ResultsError: the folder is not writable or the disk is full; ``path`` is as it was.
    """
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o644)  # temporary files are born private
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_fault(error, path) or ResultsError(
            f"cannot be written: {error.strerror or error}", place=str(path)
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def storage_fault(error: BaseException, path: Path | None = None) -> StorageError | None:
    """What is wrong with the disk, if that is what ``error`` comes from: a fault of no trial."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StorageError):
            return seen
        # safetensors says in words what the system answered
        if (isinstance(seen, OSError) and seen.errno in FULL) or "No space left on device" in str(seen):
            said = seen.strerror if isinstance(seen, OSError) else "No space left on device"
            place = path or (seen.filename if isinstance(seen, OSError) else None) or ""
            hint = "finished trials are kept: make room, and give the same command again"
            return StorageError(f"cannot be written: {said}", place=str(place), hint=hint)
        seen = seen.__cause__ or seen.__context__
    return None


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON line; a reader ignores a last line without its newline."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; a torn last line is left out, a missing file is empty."""
    if not path.exists():
        return []
    *whole, _torn = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in whole if line]
