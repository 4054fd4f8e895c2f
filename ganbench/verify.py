"""Whether the files of a run are whole and belong together; reads only, and needs no torch."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from ganbench.choices import FILE as ENGINES
from ganbench.component import digest
from ganbench.errors import ResultsError
from ganbench.records import Record, Status, read_json
from ganbench.results import Results
from ganbench.steptimes import FOLDER as TIMING
from ganbench.steptimes import Block

ARTIFACTS = ("spec.json", "curves.jsonl", "samples.png")
"""What a finished trial leaves beside its result, and a published run keeps; checkpoints may be left out."""
AGAIN = "delete the trial's folder; the same `ganbench run` trains it again"
STATUSES = get_args(Status)


def verify(results: Results) -> list[dict[str, str]]:
    """The problems of a run, each with ``path``, ``problem`` and ``advice``; planned trials without files are none."""
    found = [*_run_files(results.path)]
    for folder in sorted(results.path.glob("trials/*/seed-*")):
        found += _trial(folder)
    found += [
        (path, "a partial file, left by a process that was killed", "delete it, unless the run is still going on")
        for path in sorted(results.path.rglob(".*.partial"))
    ]
    return [{"path": str(path), "problem": problem, "advice": advice} for path, problem, advice in found]


Problem = tuple[Path, str, str]


def _run_files(folder: Path) -> Iterator[Problem]:
    rewrite = "`ganbench run` with the run's grid writes it anew"
    grid = folder / "grid.toml"
    try:
        text = grid.read_text(encoding="utf-8")
        if not text.lstrip().startswith("{"):  # a grid given in Python is kept as JSON
            tomllib.loads(text)
    except FileNotFoundError:
        yield grid, "is missing", rewrite
    except (OSError, ValueError) as error:
        yield grid, f"cannot be read: {error}", rewrite
    environment = folder / "environment.json"
    try:
        if read_json(environment) is None:
            yield environment, "is missing", rewrite
    except ResultsError as error:
        yield environment, error.message, rewrite
    try:
        read_json(folder / ENGINES)
    except ResultsError as error:
        yield folder / ENGINES, error.message, "delete it: a run goes on in the engines that its trials were trained in"
    for path in sorted((folder / TIMING).glob("*.json")):
        try:
            if Block.read(path) is None:
                yield path, "is of another version of the timing pass", "`ganbench time` measures it again"
        except ResultsError as error:
            yield path, error.message, "delete it; `ganbench time` measures it again"


def _trial(folder: Path) -> Iterator[Problem]:
    path = folder / "result.json"
    record: Record | None = None
    try:
        record = Record.read(folder)
    except ResultsError as error:
        yield path, error.message, AGAIN
    if record is not None:
        if record.status not in STATUSES:
            yield path, f"{record.status!r} is no status of a trial", AGAIN
        if record.cell != folder.parent.name or f"seed-{record.seed}" != folder.name:
            yield path, f"is the result of {record.cell}/seed-{record.seed}, and lies in {_name(folder)}", AGAIN
        if record.status == "done":
            missing = [name for name in ARTIFACTS if not (folder / name).exists()]
            yield from ((folder / name, "is missing, though the trial is done", AGAIN) for name in missing)
        yield from _curves(folder / "curves.jsonl", last=_steps(record))
    yield from _spec(folder / "spec.json", record)
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists() and (problem := header_problem(checkpoint)):
        yield checkpoint, problem, "delete it; an unfinished trial then starts anew, a finished one keeps its result"
    try:
        read_json(folder / "state.json")
    except ResultsError as error:
        yield folder / "state.json", error.message, "delete it; the checkpoint has the same content"


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _steps(record: Record) -> int | None:
    steps = record.facts.get("steps")
    return steps if record.status == "done" and isinstance(steps, int) else None


def _spec(path: Path, record: Record | None) -> Iterator[Problem]:
    """Whether the specification is the one that the trial's ID is the hash of."""
    try:
        spec = (read_json(path) or {}).get("spec")
    except ResultsError as error:
        yield path, error.message, AGAIN
        return
    if spec is None:
        return
    id_ = digest(spec, 12)
    expected = record.id if record is not None else path.parents[1].name.rpartition("-")[2]
    if id_ != expected:
        yield path, f"hashes to {id_}, and the trial's ID is {expected}", AGAIN


def _curves(path: Path, last: int | None) -> Iterator[Problem]:
    """Whether every line of a finished trial's curves is whole, and the last one of its last step."""
    if not path.exists():
        return
    try:
        *lines, torn = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        yield path, f"has a line that cannot be read: {error}", AGAIN
        return
    if torn:
        yield path, "ends in the middle of a line", AGAIN
    elif last is not None and (not rows or rows[-1].get("step") != last):
        yield path, f"does not reach the trial's last step {last}", AGAIN


def header_problem(path: Path) -> str | None:
    """What is wrong with a safetensors file, from its header and its size, or None."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                return "is shorter than its header says"
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return f"has no readable header: {error}"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes, and its header says {expected}"
