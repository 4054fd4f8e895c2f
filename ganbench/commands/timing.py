"""Commands about step times: time."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ganbench.commands.options import Adder, json_option, load_registry, print_json, run_argument


def add(command: Adder) -> None:
    """Add the commands of this module."""
    time = command("time", _time, "measure the step times of a run's cells apart from training")
    run_argument(time)
    time.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    time.add_argument("--seconds", type=float, metavar="S", help="budget for each cell (default: the grid's, or 3)")
    time.add_argument("--compiled", action="store_true", help="the compiled step instead of the serial one")
    time.add_argument("--again", action="store_true", help="also what was timed before")
    json_option(time)


def _time(args: argparse.Namespace) -> int:
    from ganbench.cell import Cell
    from ganbench.devices import find_devices
    from ganbench.processes import only_driver
    from ganbench.results import load
    from ganbench.steptimes import StepTimes
    from ganbench.timingpass import Pass, specs_of

    results = load(args.run, args.results)
    specs, settings, files = specs_of(results)
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

        print_step_times(times)
    return 3 if troubles else 0
