"""The process of one job: rebuild cells from their specifications, train their trials, commit each."""

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

from ganbench.cohort import CrowdedError, run_trials
from ganbench.errors import GanbenchError
from ganbench.grid import Cell, Trial
from ganbench.processes import die_with
from ganbench.records import FAILED, Record, storage_fault
from ganbench.registry import Registry
from ganbench.training import Report, Training

LOG = "log.txt"


@dataclass(frozen=True)
class Job:
    """What a process is told: names, numbers and paths, never objects of a plugin.

    Args:
        folder: of the run.
        specs: of the cells, which are of one family.
        trials: (place of its cell in ``specs``, seed) of each, to train one after the other or together, as the cells'
            engine does; a trial's place here is what events call it.
        plugins: files to load, and names of installed plugins to switch on.
        without: plugins to block.
        training: how to train.
        fresh: places of trials whose traces on disk are to be thrown away first (retried or stale ones).
        numbers: names of the numbers that are inputs of a step.
    """

    folder: Path
    specs: tuple[Mapping[str, Any], ...]
    trials: tuple[tuple[int, int], ...]
    plugins: tuple[str | Path, ...]
    without: tuple[str, ...]
    training: Training
    fresh: frozenset[int] = frozenset()
    numbers: tuple[str, ...] = ()


def work(job: Job, events: Connection, lifeline: Connection) -> None:
    """Train ``job``, telling ``events`` of progress; die when the driver at the other end of ``lifeline`` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    die_with(lifeline)
    try:
        registry = Registry.load(job.plugins, without=job.without)
        cells = [Cell.from_spec(spec, registry) for spec in job.specs]
    except Exception as error:  # noqa: BLE001 # the driver turns it into rows
        _tell(events, "broken", {"reason": f"{type(error).__name__}: {error}", "log": traceback.format_exc()})
        return
    try:
        _train_all([(i, Trial(cells[place], seed)) for i, (place, seed) in enumerate(job.trials)], job, events)
    except CrowdedError as error:
        _tell(events, "crowded", {"reason": str(error)})
    except (OSError, GanbenchError) as error:
        fault = storage_fault(error)
        if fault is None:
            raise
        _tell(events, "full", {"reason": fault.message, "place": fault.place, "hint": fault.hint})


def _train_all(trials: Sequence[tuple[int, Trial]], job: Job, events: Connection) -> None:
    """Train together what the cells' engine trains together."""
    stacked = trials[0][1].cell.stacked
    for together in [trials] if stacked else [[trial] for trial in trials]:
        if _train(together, job, events) == "oom":
            return  # memory is not to be trusted after that: the other trials get a new process


def _train(numbered: Sequence[tuple[int, Trial]], job: Job, events: Connection) -> str:
    """Train trials together, with one log, which lies in the folder of the first; the last one's status."""
    trials = [trial for _, trial in numbered]
    places: dict[tuple[str, int | None], int] = {(trial.cell.name, trial.seed): i for i, trial in numbered}
    order = [i for i, _ in numbered]
    folders = [job.folder / trial.folder for trial in trials]
    for (i, _), folder in zip(numbered, folders, strict=True):
        if i in job.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".*.partial"):  # what a killed process was writing
            torn.unlink()
        _tell(events, "started", {"trial": i})
    last = ""

    def finished(record: Record) -> None:
        nonlocal last
        last = record.status
        own = folders[order.index(places[record.cell, record.seed])]
        if record.status in FAILED and own != folders[0]:
            told = f"ganbench: {record.status}: {record.reason}; it trained with others, whose log is in {folders[0]}"
            (own / LOG).write_text(f"{told}\n", encoding="utf-8")
        _tell(events, "finished", {"trial": places[record.cell, record.seed], "status": record.status})

    with _logging(folders[0] / LOG):
        reports = [_report(events, i) for i, _ in numbered]
        run_trials(trials, folders, job.training, reports, finished, job.numbers)
    return last


def _report(events: Connection, place: int) -> Report:
    def report(kind: str, content: Mapping[str, Any]) -> None:
        _tell(events, kind, {"trial": place, **content})

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
