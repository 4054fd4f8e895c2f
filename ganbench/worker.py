"""The process of one cell: rebuild it from its specification, train its seeds, commit each."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ganbench.cohort import run_trials
from ganbench.errors import GanbenchError
from ganbench.grid import Cell, Trial
from ganbench.processes import die_with
from ganbench.records import Record, storage_fault
from ganbench.registry import Registry
from ganbench.training import Report, Training

LOG = "log.txt"


@dataclass(frozen=True)
class Job:
    """What a process is told: names, numbers and paths, never objects of a plugin.

    Args:
        folder: of the run.
        spec: the cell's specification.
        seeds: to train, one after the other or together, as the cell's engine does.
        plugins: files to load, and names of installed plugins to switch on.
        without: plugins to block.
        training: how to train.
        fresh: seeds whose traces on disk are to be thrown away first (retried or stale ones).
    """

    folder: Path
    spec: Mapping[str, Any]
    seeds: tuple[int, ...]
    plugins: tuple[str | Path, ...]
    without: tuple[str, ...]
    training: Training
    fresh: frozenset[int] = frozenset()


def work(job: Job, events: Connection, lifeline: Connection) -> None:
    """Train ``job``, telling ``events`` of progress; die when the driver at the other end of ``lifeline`` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    die_with(lifeline)
    try:
        registry = Registry.load(job.plugins, without=job.without)
        cell = Cell.from_spec(job.spec, registry)
    except Exception as error:  # noqa: BLE001 # the driver turns it into rows
        _tell(events, "broken", {"reason": f"{type(error).__name__}: {error}", "log": traceback.format_exc()})
        return
    try:
        _train_all([Trial(cell, seed) for seed in job.seeds], job, events)
    except (OSError, GanbenchError) as error:
        fault = storage_fault(error)
        if fault is None:
            raise
        _tell(events, "full", {"reason": fault.message, "place": fault.place, "hint": fault.hint})


def _train_all(trials: Sequence[Trial], job: Job, events: Connection) -> None:
    """Train together what the cell's engine trains together."""
    cell = trials[0].cell
    for together in [trials] if cell.stacked else [[trial] for trial in trials]:
        if _train(together, job, events) == "oom":
            return  # memory is not to be trusted after that: the other seeds get a new process


def _train(trials: Sequence[Trial], job: Job, events: Connection) -> str:
    """Train ``trials`` together, with one log, which lies in the folder of the first; the last one's status."""
    folders = [job.folder / trial.folder for trial in trials]
    for trial, folder in zip(trials, folders, strict=True):
        if trial.seed in job.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".*.partial"):  # what a killed process was writing
            torn.unlink()
        _tell(events, "started", {"seed": trial.seed})
    last = ""

    def finished(record: Record) -> None:
        nonlocal last
        last = record.status
        _tell(events, "finished", {"seed": record.seed, "status": record.status})

    with _logging(folders[0] / LOG):
        run_trials(trials, folders, job.training, [_report(events, t.seed) for t in trials], finished)
    return last


def _report(events: Connection, seed: int) -> Report:
    def report(kind: str, content: Mapping[str, Any]) -> None:
        _tell(events, kind, {"seed": seed, **content})

    return report


def _tell(events: Connection, kind: str, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError, OSError):  # the driver is gone, and this process about to be
        events.send((kind, dict(content)))


class _logging(contextlib.ContextDecorator):  # noqa: N801 # reads as a function
    """Send what the process prints, natively crashing code included, to a trial's log."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.kept = [os.dup(1), os.dup(2)]
        with self.path.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        faulthandler.enable(file=2, all_threads=False)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        faulthandler.disable()
        for target, kept in zip((1, 2), self.kept, strict=True):
            os.dup2(kept, target)
            os.close(kept)
