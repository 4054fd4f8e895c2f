"""Commands that train and that say what would be trained: run, plan."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench.commands.options import (
    Adder,
    grid_options,
    json_option,
    load_registry,
    names,
    print_json,
    run_argument,
    whole_number,
)
from ganbench.commands.tables import print_tables

if TYPE_CHECKING:
    from ganbench.observers import Display


def add(command: Adder) -> None:
    """Add the commands of this module."""
    run = command("run", _run, "run a grid, or go on with it: the same command resumes")
    grid_options(run)
    run.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0,1 (default: auto)")
    run.add_argument(
        "--workers", type=whole_number, default=0, metavar="N", help="processes at a time (default: all cores)"
    )
    run.add_argument("--retry", default="", metavar="STATUS,...", help="run failed trials of these statuses again")
    run.add_argument("--timeout", metavar="T", help="longest time for a trial, such as 90s, 30m or 2h")
    run.add_argument("--smoke", action="store_true", help="two seconds of each cell, into NAME-smoke")

    run.add_argument(
        "--timing",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="measure step times apart, after training, or not (default: as the grid says)",
    )

    worker = command("worker", _worker, "help with a run that another process or machine has begun")
    run_argument(worker)
    worker.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0,1 (default: auto)")
    worker.add_argument(
        "--workers", type=whole_number, default=0, metavar="N", help="processes at a time (default: all cores)"
    )
    worker.add_argument("--timeout", metavar="T", help="longest time for a trial, such as 90s, 30m or 2h")

    plan = command("plan", _plan, "show cells, skips with reasons, what is on disk and what time it takes")
    grid_options(plan)
    plan.add_argument(
        "--workers", type=whole_number, default=0, metavar="N", help="processes to expect (default: all cores)"
    )
    json_option(plan)


def _run(args: argparse.Namespace) -> int:
    from ganbench.grid import Grid, parse_duration
    from ganbench.processes import begin_server

    grid = Grid.load(args.grid)
    begin_server(args.device, grid.settings.engine, compiled=grid.settings.compile)
    from ganbench.runner import Options, execute  # with torch

    options = Options(
        device=args.device,
        workers=args.workers,
        seeds=args.seeds,
        steps=args.steps,
        retry=tuple(names(args.retry)),
        timeout=None if args.timeout is None else parse_duration(args.timeout, place="--timeout"),
        plugins=tuple(args.plugin),
        without=tuple(args.without),
        smoke=args.smoke,
        timing=args.timing,
    )
    outcome = execute(grid, Path(args.results), options, _display())
    print_tables(outcome.results, args)
    folder = outcome.run.folder
    if outcome.exit_code == 130:
        print(f"\ninterrupted: finished trials are kept in {folder}; the same command goes on", file=sys.stderr)
    else:
        print(f"\nresults: {folder}", file=sys.stderr)
    return outcome.exit_code


def _worker(args: argparse.Namespace) -> int:
    from ganbench.grid import parse_duration
    from ganbench.results import load
    from ganbench.runner import Options, join

    options = Options(
        device=args.device,
        workers=args.workers,
        timeout=None if args.timeout is None else parse_duration(args.timeout, place="--timeout"),
        plugins=tuple(args.plugin),
        without=tuple(args.without),
    )
    outcome = join(load(args.run, args.results).path, options, _display())
    results = outcome.results
    counts = ", ".join(f"{n} {status}" for status, n in results.counts.items())
    print(f"{results.name}: {counts or 'nothing done yet'}; ganbench status {results.path}")
    return outcome.exit_code


def _display() -> Display:
    """Bars on a terminal, lines elsewhere."""
    from rich.console import Console

    from ganbench import progress

    console = Console(stderr=True)
    live = console.is_terminal and not console.is_dumb_terminal
    return progress.Bars(console) if live else progress.Lines(sys.stderr)


def _plan(args: argparse.Namespace) -> int:
    from ganbench import environment, forecast, views
    from ganbench import plan as planning
    from ganbench.grid import Grid

    grid = Grid.load(args.grid)
    registry = load_registry(args, grid.plugin_files, grid.settings.without)
    folder = Path(args.results) / grid.name
    made = planning.make(grid, registry, folder, seeds=args.seeds, steps=args.steps)
    workers = args.workers or max(1, environment.cores() // (grid.settings.threads or 1))
    expected = forecast.forecast(made, grid.settings, folder, workers)
    stacks = made.stacks(made.to_run(), workers, grid.settings.stack)
    if args.json:
        print_json(views.plan_facts(made, stacks) | {"forecast": expected.facts()})
    else:
        views.print_plan(made, stacks)
        if made.to_run():
            print(expected.text(grid.source))
    return 0
