"""Commands about step times and what others do with them: time, export."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from ganbench.commands.options import Adder, json_option, load_registry, print_json, run_argument


def add(command: Adder) -> None:
    """Add the commands of this module."""
    time = command("time", _time, "measure the step times of a run's cells apart from training")
    run_argument(time)
    time.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    time.add_argument("--seconds", type=_positive, metavar="S", help="budget for each cell (default: the grid's, or 3)")
    time.add_argument("--compiled", action="store_true", help="the compiled step instead of the serial one")
    time.add_argument("--again", action="store_true", help="also what was timed before")
    json_option(time)

    export = command("export", _export, "write a run's records for other tools", plugins=False)
    run_argument(export)
    export.add_argument(
        "--format", default="csv", metavar="STYLE", help="csv, json, parquet or pytest-benchmark (default: csv)"
    )
    export.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: standard output)")


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _time(args: argparse.Namespace) -> int:
    from ganbench.cell import Cell
    from ganbench.devices import find_devices
    from ganbench.processes import only_driver
    from ganbench.results import load
    from ganbench.steptimes import StepTimes
    from ganbench.timingpass import Pass, specs_of

    results = load(args.run, args.results)
    specs, settings, named = specs_of(results)
    files = tuple(file for file in named if file.is_file())
    for file in set(named) - set(files):
        print(f"no plugin file {file}, which the run's grid names: give its place with --plugin", file=sys.stderr)
    registry = load_registry(args, files, settings.without)
    made = Pass(
        folder=results.path,
        cells=[Cell.from_spec(spec, registry) for spec in specs],
        mode="compiled" if args.compiled else "serial",
        device=find_devices(args.device)[0],
        threads=settings.threads or 1,
        seconds=args.seconds or settings.timing_seconds,
        plugins=(*files, *map(Path, args.plugin)),
        without=(*settings.without, *args.without),
        again=args.again,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    with only_driver(results.path):
        troubles = made.run()
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    times = StepTimes.read(results.path, made.mode)
    rows = [{"cell": cell} | block.columns(cell) for cell, block in times.blocks.items()]
    if args.json:
        print_json(rows)
    else:
        from ganbench.views import print_step_times

        print_step_times(times, {cell.cell: cell.labels for cell in results.plan})
    return 3 if troubles else 0


def _export(args: argparse.Namespace) -> int:
    from ganbench.export import export
    from ganbench.results import load

    text = export(load(args.run, args.results), args.format, Path(args.output) if args.output else None)
    print(args.output if text is None else text, end="\n" if text is None else "")
    return 0
