"""Plan -> processes -> records: one process a cell, failures as rows, and nothing finished is ever lost."""

from __future__ import annotations

import contextlib
import hashlib
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ganbench import environment
from ganbench import plan as planning
from ganbench.errors import ConfigError, DeviceError, ResultsError, nearest
from ganbench.grid import Cell, Grid, Trial, parse_duration
from ganbench.plan import Plan, Planned
from ganbench.records import FAILED, Record, Status, write_json
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.timing import now
from ganbench.training import Training, make_record
from ganbench.worker import LOG, Job, work

if TYPE_CHECKING:
    import pluggy

SMOKE_STEPS = 2
RETRYABLE = (*FAILED, "failed")
GRACE = 5.0
"""Seconds between asking a process to end and killing it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is executed; nothing here enters a trial's identity but ``steps``.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1``.
        workers: processes at a time; 0 means one per GPU, or as many as the cores allow.
        seeds: instead of the grid's.
        steps: instead of the grid's.
        retry: statuses to run again, or ``failed`` for all of them.
        timeout: seconds for a trial, instead of the grid's.
        plugins: plugin files besides the grid's.
        without: plugins to block besides the grid's.
        smoke: two steps of one seed of each cell, into ``NAME-smoke``.
    """

    device: str = "auto"
    workers: int = 0
    seeds: tuple[int, ...] | None = None
    steps: int | None = None
    retry: tuple[str, ...] = ()
    timeout: float | None = None
    plugins: tuple[str | Path, ...] = ()
    without: tuple[str, ...] = ()
    smoke: bool = False


@dataclass(frozen=True)
class Run:
    """One execution of a grid, as hooks see it."""

    name: str
    folder: Path
    plan: Plan
    todo: Sequence[Planned]
    devices: Sequence[str]
    workers: int


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its results, and the exit code that says it."""

    results: Results
    exit_code: int
    run: Run


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, run: Run) -> None:
        """The run begins."""

    def started(self, slot: int, trial: Trial) -> None:
        """A trial began in the process of a slot."""

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        """A trial has finished ``step`` steps."""

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        """A trial's record is on disk."""

    def note(self, text: str) -> None:
        """Something a user should read once."""

    def end(self) -> None:
        """The run ended, well or not."""


class Silent:
    """A display that shows nothing."""

    def begin(self, run: Run) -> None: ...
    def started(self, slot: int, trial: Trial) -> None: ...
    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None: ...
    def finished(self, slot: int, trial: Trial, record: Record) -> None: ...
    def note(self, text: str) -> None: ...
    def end(self) -> None: ...


def execute(grid: Grid, results: Path, options: Options, display: Display | None = None) -> Outcome:
    """Run ``grid`` into ``results/NAME``, or go on with what is there.

    Raises:
        GanbenchError: the grid, a plugin, the device or the results folder is at fault; nothing was trained.
    """
    display = display or Silent()
    _check_retry(options.retry)
    registry = Registry.load((*grid.plugin_files, *options.plugins), without=(*grid.settings.without, *options.without))
    folder = results / (f"{grid.name}-smoke" if options.smoke else grid.name)
    seeds = options.seeds or grid.settings.seed_list
    plan = planning.make(
        grid,
        registry,
        folder,
        seeds=seeds[:1] if options.smoke else seeds,
        steps=SMOKE_STEPS if options.smoke else options.steps,
    )
    devices = find_devices(options.device)
    threads = grid.settings.threads or 1
    workers = options.workers or (len(devices) if devices[0] != "cpu" else max(1, environment.cores() // threads))
    todo = plan.to_run(options.retry)
    cells = len({p.trial.cell.id for p in todo})
    run = Run(folder.name, folder, plan, todo, devices, max(1, min(workers, cells)))
    make_folder(run, grid)
    with _only_driver(folder):
        return _Driver(run, grid, registry, options, display, threads).drive()


def find_devices(asked: str) -> list[str]:
    """The devices that ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1`` names.

    Raises:
        DeviceError: it is not there, or not a device.
    """
    if asked == "cpu":
        return ["cpu"]
    kind, _, numbers = asked.partition(":")
    if kind not in {"auto", "cuda"} or (numbers and not all(n.isdigit() for n in numbers.split(","))):
        raise DeviceError(f"{asked!r} is not a device", place="--device", hint="auto, cpu, cuda, cuda:0 or cuda:0,1")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        if kind == "auto":
            return ["cpu"]
        raise DeviceError(
            "no CUDA device was found", place=f"--device {asked}", hint="use --device cpu, or see ganbench doctor"
        )
    chosen = [int(n) for n in numbers.split(",")] if numbers else list(range(count))
    for number in chosen:
        if number >= count:
            raise DeviceError(f"there is no cuda:{number}", place=f"--device {asked}", hint=f"{count} found")
    return [f"cuda:{n}" for n in chosen]


def make_folder(run: Run, grid: Grid) -> None:
    """Make the run's folder and write ``grid.toml``, ``run.json`` and ``environment.json``.

    Raises:
        ResultsError: it cannot be made or written.
    """
    try:
        (run.folder / "trials").mkdir(parents=True, exist_ok=True)
        (run.folder / "grid.toml").write_text(grid.text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(
            f"the results folder is not writable: {error.strerror or error}",
            place=str(run.folder),
            hint="choose another with --results DIR",
        ) from error
    cells = [
        {
            "cell": c.cell.name,
            "id": c.cell.id,
            "labels": c.cell.labels,
            "skip": c.skip,
            "advice": list(c.advice),
            "seeds": [] if c.skip else list(run.plan.seeds),
            "steps": c.cell.steps,
            "batch": c.cell.batch,
        }
        for c in run.plan.combinations
    ]
    write_json(run.folder / "run.json", {"schema": 1, "name": run.name, "grid": grid.source, "cells": cells})
    write_json(run.folder / "environment.json", environment.facts())


@dataclass
class _Slot:
    """A process at work, and what it was last heard of."""

    number: int
    device: str
    job: Job
    cell: Cell
    process: BaseProcess
    events: Connection
    lifeline: Connection
    left: list[int]
    running: list[int] = field(default_factory=list)
    """Seeds in training: one, or all those that train together."""
    deadline: float = math.inf
    verdict: tuple[Status, str] | None = None
    """Why the driver killed it."""


@dataclass
class _Driver:
    """Hands cells to processes and turns whatever happens to them into records."""

    run: Run
    grid: Grid
    registry: Registry
    options: Options
    display: Display
    threads: int
    slots: list[_Slot] = field(default_factory=list)
    complained: set[str] = field(default_factory=set)
    interrupted: bool = False

    def drive(self) -> Outcome:
        limit = self.options.timeout
        self.limit = parse_duration(self.grid.settings.timeout) if limit is None else limit
        queue = self._jobs()
        free = deque((n, self.run.devices[n % len(self.run.devices)]) for n in range(self.run.workers))
        self._hook("ganbench_run_started", run=self.run)
        self.display.begin(self.run)
        for note in self.run.plan.notes:
            self.display.note(note)
        try:
            with _terminating():
                while queue or self.slots:
                    while queue and free:
                        number, device = free.popleft()
                        cell, seeds, fresh = queue.popleft()
                        self.slots.append(self._start(number, device, cell, seeds, fresh))
                    for slot in self._listen():
                        self.slots.remove(slot)
                        free.append((slot.number, slot.device))
                        if slot.left:
                            queue.appendleft((slot.cell, tuple(slot.left), slot.job.fresh))
        except KeyboardInterrupt:
            self.interrupted = True
            self._stop()
        finally:
            self.display.end()
            for slot in self.slots:
                slot.process.kill()
        results = Results(self.run.folder)
        self._hook("ganbench_run_finished", run=self.run, results=results)
        return Outcome(results, self._exit_code(), self.run)

    def _jobs(self) -> deque[tuple[Cell, tuple[int, ...], frozenset[int]]]:
        """For each cell with something to do, its seeds, and those to begin from nothing."""
        cells: dict[str, tuple[Cell, list[int], set[int]]] = {}
        for planned in self.run.todo:
            _, seeds, fresh = cells.setdefault(planned.trial.cell.id, (planned.trial.cell, [], set()))
            seeds.append(planned.trial.seed)
            if planned.stage in {"stale", "failed"}:
                fresh.add(planned.trial.seed)
        return deque((cell, tuple(seeds), frozenset(fresh)) for cell, seeds, fresh in cells.values())

    def _start(self, number: int, device: str, cell: Cell, seeds: tuple[int, ...], fresh: frozenset[int]) -> _Slot:
        settings = self.grid.settings
        job = Job(
            folder=self.run.folder.resolve(),
            spec=cell.spec,
            seeds=seeds,
            plugins=tuple(Path(f).resolve() for f in (*self.grid.plugin_files, *self.options.plugins)),
            without=(*settings.without, *self.options.without),
            training=Training(
                device=device,
                threads=self.threads,
                evaluations=settings.evaluations,
                checkpoint_every=settings.checkpoint_every,
                exclusive=self.run.workers == 1,
            ),
            fresh=fresh,
        )
        context = _context()
        events, events_end = context.Pipe(duplex=False)
        lifeline_end, lifeline = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(job, events_end, lifeline_end), daemon=True)
        with _without_main():
            process.start()
        events_end.close()
        lifeline_end.close()
        return _Slot(number, device, job, cell, process, events, lifeline, list(seeds))

    # -- listening ---------------------------------------------------------------------------------------------

    def _listen(self) -> list[_Slot]:
        """Wait a moment for news; the slots whose process has ended, with their records written."""
        ready = wait([s.events for s in self.slots] + [s.process.sentinel for s in self.slots], timeout=0.2)
        ended = []
        for slot in self.slots:
            if slot.events in ready:
                self._read(slot)
            if slot.process.sentinel in ready:
                self._read(slot)
                self._bury(slot)
                ended.append(slot)
            elif now() > slot.deadline and slot.verdict is None:
                slot.verdict = ("timeout", f"not finished after {self.limit:g} s")
                slot.process.kill()
        return ended

    def _read(self, slot: _Slot) -> None:
        with contextlib.suppress(EOFError, OSError):
            while slot.events.poll():
                kind, content = slot.events.recv()
                self._hear(slot, kind, content)

    def _hear(self, slot: _Slot, kind: str, content: dict[str, Any]) -> None:
        if kind == "broken":
            for seed in slot.left:
                self._commit(slot, seed, "error", content["reason"], content["log"])
            slot.left.clear()
            return
        trial = Trial(slot.cell, content["seed"])
        if kind == "started":
            slot.running.append(trial.seed)
            slot.deadline = now() + self.limit * len(slot.running)
            self.display.started(slot.number, trial)
            self._hook("ganbench_trial_started", run=self.run, trial=trial)
        elif kind == "step":
            self.display.stepped(slot.number, trial, content["step"], content["logs"])
        elif kind == "record":
            row = {"trial": str(trial.folder), "cell": trial.cell.name, **trial.cell.labels, **content}
            self._hook("ganbench_record", run=self.run, record=row)
        elif kind == "finished":
            slot.running.remove(trial.seed)
            slot.deadline = slot.deadline if slot.running else math.inf
            slot.left.remove(trial.seed)
            record = Record.read(self.run.folder / trial.folder)
            if record is not None:
                self._announce(slot, trial, record)

    def _bury(self, slot: _Slot) -> None:
        """A process has ended: the trial that it left unfinished becomes a row, the others go to a new process."""
        slot.process.join()
        code = slot.process.exitcode or 0
        slot.events.close()
        slot.lifeline.close()
        if not slot.running and (code == 0 or not slot.left):
            return
        status, reason = slot.verdict or ("crashed", _death(code))
        for seed in slot.running or slot.left[:1]:
            self._commit(slot, seed, status, reason)
            slot.left.remove(seed)

    def _commit(self, slot: _Slot, seed: int, status: Status, reason: str, log: str = "") -> None:
        trial = Trial(slot.cell, seed)
        folder = self.run.folder / trial.folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{log}ganbench: {status}: {reason}\n")
        record = make_record(trial, status, reason, training=slot.job.training)
        record.write(folder)
        self._announce(slot, trial, record)

    def _announce(self, slot: _Slot, trial: Trial, record: Record) -> None:
        self.display.finished(slot.number, trial, record)
        self._hook("ganbench_trial_finished", run=self.run, result=record)

    # -- ending ------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Interrupted: end the processes; a trial in training keeps its checkpoint and is marked."""
        for slot in self.slots:
            slot.process.kill()
        for slot in self.slots:
            slot.process.join(GRACE)
            self._read(slot)
            for seed in slot.running:
                with contextlib.suppress(ResultsError):
                    self._commit(slot, seed, "interrupted", "the run was interrupted")

    def _exit_code(self) -> int:
        if self.interrupted:
            return 130
        paths = (self.run.folder / p.trial.folder for p in self.run.plan.trials)
        statuses = [record.status for record in map(Record.read, paths) if record is not None]
        return 3 if any(status in FAILED for status in statuses) else 0

    def _hook(self, name: str, **arguments: Any) -> None:
        """Call every observer; one that raises is reported once, and the run goes on."""
        call_observers(self.registry, name, arguments, self.complained, self.display.note)


def call_observers(
    registry: Registry,
    name: str,
    arguments: Mapping[str, Any],
    complained: set[str],
    note: Callable[[str], None],
) -> None:
    """Call each implementation of the hook ``name`` by itself, so that one that raises stops no other."""
    implementations: list[pluggy.HookImpl] = getattr(registry.manager.hook, name).get_hookimpls()
    for impl in reversed(implementations):
        try:
            impl.function(*(arguments[a] for a in impl.argnames))
        except Exception as error:  # noqa: BLE001 # somebody's observer may raise anything
            origin = str(registry.origins.get(impl.plugin, impl.plugin_name))
            if origin not in complained:
                complained.add(origin)
                note(f"plugin {origin} failed in {name}: {type(error).__name__}: {error} (reported once)")


def _check_retry(retry: Sequence[str]) -> None:
    for status in retry:
        if status not in RETRYABLE:
            raise ConfigError(f"{status!r} is not a status to retry", place="--retry", hint=nearest(status, RETRYABLE))


def _death(code: int) -> str:
    """What an exit code says of how a process died."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    more = ", perhaps by the system for want of memory" if -code == signal.SIGKILL else ""
    return f"its process was killed by {name}{more}"


def _context() -> ForkServerContext | SpawnContext:
    """Processes forked from a server that has torch and the plugins loaded; fresh ones where there is no fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ganbench.preload"])
    return context


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start a process that does not import the caller's main script: a script without a guard must not run twice."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM end a run as an interrupt does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _only_driver(folder: Path) -> Iterator[None]:
    """Refuse a second driver of one run folder on this machine; the lock dies with its holder and lies in no results.

    Raises:
        ResultsError: another process of this machine is at it.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"ganbench-{os.getuid()}-{key}.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResultsError("another ganbench is running this grid", place=str(folder), hint="wait for it") from None
        yield
