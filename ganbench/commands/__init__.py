"""The commands of the command line: what each takes, and what it calls."""

from __future__ import annotations

from ganbench.commands import catalogue, keeping, running, samples, tables, timing
from ganbench.commands.options import Adder

MODULES = (running, timing, tables, samples, catalogue, keeping)


def add_all(command: Adder) -> None:
    """Add every command of ganbench's own, in the order of its help."""
    for module in MODULES:
        module.add(command)
