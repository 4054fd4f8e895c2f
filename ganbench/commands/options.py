"""Options that several commands share, and what they do with them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ganbench.registry import Registry


class Adder(Protocol):
    """Adds a command to the command line; with ``plugins``, it takes ``--plugin`` and ``--without``."""

    def __call__(
        self, name: str, call: Callable[[argparse.Namespace], int], text: str, *, plugins: bool = True
    ) -> argparse.ArgumentParser:
        """The parser of the new command ``name``, which is carried out by ``call``; ``text`` is its help."""
        ...


def grid_options(parser: argparse.ArgumentParser) -> None:
    """``--grid`` and what overrides parts of it."""
    parser.add_argument("--grid", required=True, metavar="FILE", help="the grid file")
    parser.add_argument("--results", default="results", metavar="DIR", help="the folder of runs (default: results)")
    parser.add_argument("--seeds", type=seeds, metavar="N|A,B,...", help="seeds instead of the grid's")
    parser.add_argument("--steps", type=whole_number, metavar="N", help="steps instead of the grid's")


def run_argument(parser: argparse.ArgumentParser) -> None:
    """The run that a command reads."""
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in the folder of runs")
    parser.add_argument("--results", default="results", metavar="DIR", help="the folder of runs (default: results)")


def json_option(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def measure_option(parser: argparse.ArgumentParser) -> None:
    """``--measure``, which may be repeated."""
    parser.add_argument("--measure", action="append", default=[], metavar="NAME,...", help="only these measures")


def names(given: str | Sequence[str]) -> list[str]:
    """The words of an option that takes ``A,B,...``, once or several times."""
    listed = [given] if isinstance(given, str) else given
    return [word for text in listed for word in text.split(",") if word]


def whole_number(text: str) -> int:
    """``3`` is 3; an option's type."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seeds(text: str) -> tuple[int, ...]:
    """``3`` is seeds 0, 1, 2; ``3,`` or ``1,3`` are those seeds."""
    parts = [p for p in text.split(",") if p]
    if not parts or not all(p.isdigit() for p in parts) or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list such as 0,1,2")
    return tuple(range(int(text))) if "," not in text else tuple(int(p) for p in parts)


def load_registry(args: argparse.Namespace, files: Sequence[str | Path] = (), without: Sequence[str] = ()) -> Registry:
    """Everything installed, with ``files`` and those of ``--plugin``, less those of ``--without``."""
    from ganbench.registry import Registry

    return Registry.load((*files, *args.plugin), without=(*without, *args.without))


def print_json(value: Any) -> None:
    """``value`` on the standard output, as JSON."""
    print(json.dumps(value, indent=2, default=str))
