"""A grid becomes a plan, the plan a folder, and the driver fills it; nothing finished is ever lost."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ganbench import choices, claims, environment, heartbeat, widths
from ganbench import plan as planning
from ganbench.choices import OPEN, candidates
from ganbench.choosing import choose
from ganbench.devices import find_devices
from ganbench.driver import Driver
from ganbench.errors import ConfigError, ResultsError, nearest
from ganbench.grid import Grid
from ganbench.heartbeat import Beacon
from ganbench.observers import Display, Several, Silent
from ganbench.plan import Plan, Planned, Stack
from ganbench.processes import only_driver, terminating
from ganbench.records import FAILED, Record, read_json, write_json
from ganbench.registry import Registry, located
from ganbench.results import Results
from ganbench.runfolder import RUN
from ganbench.timingpass import Pass

SMOKE_STEPS = 2_000
"""Of a smoke run, at most: it ends after a second or two of training."""
RETRYABLE = (*FAILED, "failed")


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
        smoke: two seconds of each cell, into ``NAME-smoke``: of one seed, or of all where they train together.
        timing: instead of the grid's.
        helping: train what is free of a run that another process has begun, and end when nothing is.
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
    timing: bool | None = None
    helping: bool = False


@dataclass(frozen=True)
class Run:
    """One execution of a grid, as hooks see it."""

    name: str
    folder: Path
    plan: Plan
    todo: Sequence[Planned]
    devices: Sequence[str]
    workers: int
    stacks: Sequence[Stack] = ()
    """``todo`` by the processes that train them."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its results, and the exit code that says it."""

    results: Results
    exit_code: int
    run: Run


def execute(grid: Grid, results: Path, options: Options, display: Display | None = None) -> Outcome:
    """Run ``grid`` into ``results/NAME``, or go on with what is there.

    Raises:
        GanbenchError: the grid, a plugin, the data, the device or the results folder is at fault; nothing was trained.
    """
    _check_retry(options.retry)
    registry = Registry.load((*grid.plugin_files, *options.plugins), without=(*grid.settings.without, *options.without))
    folder = results / (f"{grid.name}-smoke" if options.smoke else grid.name)
    seeds = options.seeds or grid.settings.seed_list
    make = partial(
        planning.make,
        grid,
        registry,
        folder,
        seeds=seeds[:1] if options.smoke and grid.settings.engine == "serial" else seeds,
        steps=SMOKE_STEPS if options.smoke else options.steps,
    )
    plan = make()
    _check_targets(grid, plan)
    if absent := planning.absent(plan.to_run(options.retry)):
        raise ConfigError("; ".join(absent))
    devices = find_devices(options.device)
    if grid.settings.precision == "tf32" and devices[0] == "cpu":
        raise ConfigError("tf32 is arithmetic of NVIDIA GPUs, and this run is on the CPU", place="[run].precision")
    threads = grid.settings.threads or 1
    workers = _workers(options, devices, threads)
    if _choose(plan, folder, grid, options, display or Silent(), devices, threads, workers):
        plan = make()
    run = _run(grid, folder, plan, plan.to_run(options.retry), devices, workers)
    with only_driver(folder):
        make_folder(run, grid, options)  # not before: another driver's plan is not to be replaced
        shown = Several(display or Silent(), Beacon(folder))
        driver = Driver(run, grid, registry, options, shown, threads)
        driver.drive()
        if not driver.interrupted and not options.smoke:
            try:
                with terminating():
                    _time(driver)
            except KeyboardInterrupt:  # blocks that were timed are on disk, like the trials
                driver.interrupted = True
        driver.finished()
        _tidy(driver)
    return Outcome(Results(folder), 130 if driver.interrupted else _exit_code(run), run)


def join(folder: Path, options: Options, display: Display | None = None) -> Outcome:
    """Help with the run in ``folder``, which another process, perhaps of another machine, has begun.

    Its grid, seeds, steps and plugins are those of the run. What others train is left to them, and so is the timing
    pass; it ends when all is done or others are at what is left.

    Raises:
        GanbenchError: there is no run yet, a plugin, the data or the device is at fault; nothing was trained.
    """
    facts = read_json(folder / RUN)
    if facts is None or "asked" not in facts:
        raise ResultsError("no run has begun here", place=str(folder), hint="`ganbench run --grid FILE` begins one")
    asked, source = facts["asked"], str(facts.get("grid", "grid"))
    text = (folder / "grid.toml").read_text(encoding="utf-8")
    loaded = Grid.load(json.loads(text)) if text.startswith("{") else Grid.load(folder / "grid.toml")
    grid = replace(loaded, name=folder.name, source=source, folder=Path(source).resolve().parent)
    options = replace(
        options,
        helping=True,
        timing=False,
        seeds=tuple(asked["seeds"]),
        steps=asked["steps"],
        plugins=(*asked["plugins"], *options.plugins),
        without=(*asked["without"], *options.without),
    )
    registry = Registry.load((*grid.plugin_files, *options.plugins), without=(*grid.settings.without, *options.without))
    plan = planning.make(grid, registry, folder, seeds=options.seeds, steps=options.steps)
    if any(c.cell.engine == OPEN for c in plan.combinations if c.skip is None):
        raise ResultsError("its engines are not chosen yet", place=str(folder), hint="wait until it trains")
    if absent := planning.absent(plan.to_run()):
        raise ConfigError("; ".join(absent))
    threads = grid.settings.threads or 1
    devices = find_devices(options.device)
    run = _run(grid, folder, plan, plan.to_run(), devices, _workers(options, devices, threads))
    driver = Driver(run, grid, registry, options, Several(display or Silent(), Beacon(folder)), threads)
    driver.drive()
    driver.finished()
    _tidy(driver)
    return Outcome(Results(folder), 130 if driver.interrupted else _exit_code(run), run)


def _workers(options: Options, devices: Sequence[str], threads: int) -> int:
    """Processes at a time: those asked for, or one per GPU, or as many as the cores allow."""
    return options.workers or (len(devices) if devices[0] != "cpu" else max(1, environment.cores() // threads))


def _run(grid: Grid, folder: Path, plan: Plan, todo: Sequence[Planned], devices: Sequence[str], workers: int) -> Run:
    """The execution of ``todo`` by at most ``workers`` processes."""
    stacks = plan.stacks(todo, workers, grid.settings.stack)
    return Run(folder.name, folder, plan, todo, devices, max(1, min(workers, len(stacks))), stacks)


def _tidy(driver: Driver) -> None:
    """Remove the claims of a run in which all is done, and nobody at work."""
    folder = driver.run.folder
    if not driver.interrupted and not driver.elsewhere and not heartbeat.read(folder):
        shutil.rmtree(folder / claims.FOLDER, ignore_errors=True)


def _choose(  # what a choice depends on, and whom to tell
    plan: Plan,
    folder: Path,
    grid: Grid,
    options: Options,
    display: Display,
    devices: Sequence[str],
    threads: int,
    workers: int,
) -> bool:
    """Measure and keep the engines of the cells whose engine is open, if there are any."""
    cells = [c.cell for c in plan.combinations if c.skip is None]
    waiting = [cell for cell in cells if cell.engine == OPEN and not cell.dataset.missing()]
    if not waiting:
        return False
    with _writable(folder), only_driver(folder):
        chosen = choose(
            waiting,
            plan.seeds,
            candidates(grid.settings),
            display.note,
            partial(widths.record, folder),
            workers=workers,
            most=grid.settings.stack,
            sharing=-(-workers // len(devices)),
            device=devices[0],
            threads=threads,
            plugins=tuple(located(p, Path.cwd()) for p in (*grid.plugin_files, *options.plugins)),
            without=(*grid.settings.without, *options.without),
        )
        choices.record(folder, choices.recorded(folder) | chosen)
    return True


def _time(driver: Driver) -> None:
    """The timing pass, if the grid asks for it: over the cells of which a trial is done."""
    run, grid, options, display = driver.run, driver.grid, driver.options, driver.display
    records = Results(run.folder).trials
    done = {record.cell for record in records if record.status == "done"}
    timing = Pass(
        folder=run.folder,
        cells=[c.cell for c in run.plan.combinations if c.cell.name in done],
        device=run.devices[0],
        threads=driver.threads,
        seconds=grid.settings.timing_seconds,
        plugins=tuple(map(Path, (*grid.plugin_files, *options.plugins))),
        without=(*grid.settings.without, *options.without),
        tell=display.note,
    )
    if driver.timing == "auto":
        shares = [1 / r.facts.get("together", 1) for r in records]
        # by the processes that could train them, not by those that had something left to train
        workers = max(1, min(_workers(options, run.devices, driver.threads), round(sum(shares))))
        spent = sum(r.timing.get("wall_s", 0.0) * share for r, share in zip(records, shares, strict=True)) / workers
        if spent < timing.expected:
            if timing.todo():
                display.note(f"step times are those of training: `ganbench time {run.name}` measures them apart")
            return
    if driver.timing:
        for trouble in timing.run():
            display.note(trouble)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Make a run's folder, and say so where it or what is written next cannot be.

    Raises:
        ResultsError: it cannot be made or written.
    """
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ResultsError(
            f"the results folder is not writable: {error.strerror or error}",
            place=str(folder),
            hint="choose another with --results DIR",
        ) from error


def make_folder(run: Run, grid: Grid, options: Options) -> None:
    """Make the run's folder and write ``grid.toml``, ``run.json`` and ``environment.json``.

    Raises:
        ResultsError: it cannot be made or written.
    """
    with _writable(run.folder):
        (run.folder / "grid.toml").write_text(grid.text, encoding="utf-8")
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
    write_json(
        run.folder / "run.json",
        {
            "schema": 1,
            "name": run.name,
            "grid": grid.source,
            "settings": {"targets": dict(grid.settings.targets or {})},
            "asked": {
                "seeds": list(run.plan.seeds),
                "steps": SMOKE_STEPS if options.smoke else options.steps,
                "plugins": [str(located(plugin, Path.cwd())) for plugin in options.plugins],
                "without": list(options.without),
            },
            "cells": cells,
        },
    )
    write_json(run.folder / "environment.json", environment.facts())


def _check_targets(grid: Grid, plan: Plan) -> None:
    """Every target must be of a measure with a better way that some cell has."""
    measures = {m.name: m.better for c in plan.combinations for metric in c.cell.metrics for m in metric.named()}
    for name in grid.settings.targets or {}:
        place = f"{grid.source}: [run].targets"
        base = name.removesuffix("_ema")
        if base not in measures:
            raise ConfigError(f"no cell has a measure {name!r}", place=place, hint=nearest(name, measures))
        if measures[base] is None:
            raise ConfigError(f"{name!r} is better neither lower nor higher, so no value is a target", place=place)


def _check_retry(retry: Sequence[str]) -> None:
    for status in retry:
        if status not in RETRYABLE:
            raise ConfigError(f"{status!r} is not a status to retry", place="--retry", hint=nearest(status, RETRYABLE))


def _exit_code(run: Run) -> int:
    paths = (run.folder / p.trial.folder for p in run.plan.trials)
    statuses = [record.status for record in map(Record.read, paths) if record is not None]
    return 3 if any(status in FAILED for status in statuses) else 0
