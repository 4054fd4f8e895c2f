"""Commands about samples: pictures of what a run's generators make."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ganbench.commands.options import Adder, load_registry, run_argument


def add(command: Adder) -> None:
    """Add the commands of this module."""
    samples = command("samples", _samples, "draw what the generators of a run make, all from the same latents")
    run_argument(samples)
    samples.add_argument(
        "--cell", action="append", default=[], metavar="LABEL", help="only cells with this label, or of this ID"
    )
    samples.add_argument("--seed", type=_listed, default=(), metavar="A,B,...", help="only these seeds")
    samples.add_argument("--which", choices=("last", "ema"), default="ema", help="last iterate or average (default)")
    samples.add_argument("--extractor", metavar="NAME", help="in whose features neighbours are the nearest")
    samples.add_argument("--gif", action="store_true", help="animations of training, where it has kept snapshots")
    samples.add_argument("-o", "--output", metavar="DIR", help="the folder to write (default: samples in the run)")


def _listed(text: str) -> tuple[int, ...]:
    parts = [p for p in text.split(",") if p]
    if not parts or not all(p.isdecimal() for p in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds such as 0,1,2")
    return tuple(int(p) for p in parts)


def _samples(args: argparse.Namespace) -> int:
    from ganbench.looking import Wanted, look
    from ganbench.metric import Extractor
    from ganbench.results import load

    results = load(args.run, args.results)
    registry = load_registry(args)
    extractor = registry.parse("extractor", args.extractor, "--extractor") if args.extractor else None
    assert extractor is None or isinstance(extractor, Extractor)
    wanted = Wanted(cells=tuple(args.cell), seeds=args.seed, which=args.which, extractor=extractor, gif=args.gif)
    out = Path(args.output) if args.output else results.path / "samples"
    for path in look(results, registry, out, wanted, lambda text: print(text, file=sys.stderr)):
        print(path)
    return 0
