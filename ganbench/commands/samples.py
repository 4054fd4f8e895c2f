"""Commands about samples: pictures of what a run's generators make, and metrics of what anybody made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench.commands.options import Adder, load_registry, print_json, run_argument, whole_number
from ganbench.errors import ConfigError, nearest

if TYPE_CHECKING:
    from ganbench.component import Component


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

    evaluate = command("evaluate", _evaluate, "measure samples that anybody made against a dataset")
    evaluate.add_argument("samples", metavar="SAMPLES", help="a folder of images, an npz file or a trial's folder")
    evaluate.add_argument("--dataset", metavar="NAME", help="what they imitate (default: the trial's)")
    evaluate.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help="a metric; several times for several"
    )
    evaluate.add_argument("--extractor", metavar="NAME", help="the extractor of every metric")
    evaluate.add_argument("--n", type=whole_number, metavar="N", help="how many samples (default: all there are)")
    evaluate.add_argument("--seed", type=_seed, metavar="S", help="of what is random (default: the trial's, or 0)")
    evaluate.add_argument("--which", choices=("last", "ema"), default="ema", help="of a trial (default: ema)")
    evaluate.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, html, csv or json")


def _listed(text: str) -> tuple[int, ...]:
    parts = [p for p in text.split(",") if p]
    if not parts or not all(p.isdecimal() for p in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of seeds such as 0,1,2")
    return tuple(int(p) for p in parts)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: a whole number")
    return int(text)


def _samples(args: argparse.Namespace) -> int:
    from ganbench.gallery import Wanted
    from ganbench.looking import look
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


def _evaluate(args: argparse.Namespace) -> int:
    from ganbench.assessment import Question, answer
    from ganbench.dataset import Dataset
    from ganbench.metric import Extractor, Metric
    from ganbench.render import STYLES, render

    if args.format not in STYLES:
        raise ConfigError(f"no table style {args.format!r}", place="--format", hint=nearest(args.format, STYLES))
    registry = load_registry(args)

    def named(role: str, text: str) -> Component:
        return registry.parse(role, _as_in_a_grid(text, f"--{role}"), f"--{role}")

    metrics = [named("metric", text) for text in args.metric]
    dataset = named("dataset", args.dataset) if args.dataset else None
    extractor = named("extractor", args.extractor) if args.extractor else None
    assert dataset is None or isinstance(dataset, Dataset)
    assert extractor is None or isinstance(extractor, Extractor)
    question = Question(
        Path(args.samples),
        dataset,
        tuple(metric for metric in metrics if isinstance(metric, Metric)),
        extractor,
        n=args.n,
        seed=args.seed,
        which=args.which,
    )
    found = answer(question, registry)
    if args.format == "json":
        print_json(found.facts())
    else:
        print(render(found.table(), args.format), end="")
    return 0


def _as_in_a_grid(text: str, place: str) -> object:
    """What an option names: ``NAME``, or a table as a grid has it, ``{ use = "NAME", ... }``."""
    import tomllib

    if not text.lstrip().startswith("{"):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{text!r} is no table: {error}", place=place) from error
