"""Every run-level hook. Plugins implement any of them with ``@hookimpl``; all run on the host, none inside a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from ganbench.component import Component
    from ganbench.grid import Trial
    from ganbench.records import Record
    from ganbench.results import Results
    from ganbench.runner import Run
    from ganbench.table import Table

hookspec = pluggy.HookspecMarker("ganbench")
hookimpl = pluggy.HookimplMarker("ganbench")


@hookspec
def ganbench_components() -> Iterable[type[Component]]:  # type: ignore[empty-body] # a specification
    """The component classes this plugin offers; the role follows from the base class."""


@hookspec
def ganbench_commands(cli: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add subcommands: ``cli.add_parser("mine").set_defaults(call=function)``; ``function(args) -> exit code``."""


@hookspec
def ganbench_run_started(run: Run) -> None:
    """A run begins: its folder is made and its plan is known."""


@hookspec
def ganbench_run_finished(run: Run, results: Results) -> None:
    """A run ended, whether complete or interrupted; ``results`` reads what is on disk."""


@hookspec
def ganbench_trial_started(run: Run, trial: Trial) -> None:
    """A trial was handed to a process of its cell."""


@hookspec
def ganbench_trial_finished(run: Run, result: Record) -> None:
    """A trial's ``result.json`` is on disk, whatever its status."""


@hookspec
def ganbench_record(run: Run, record: Mapping[str, object]) -> None:
    """A row was measured during training: trial, seed, step, losses and measures (loggers live here)."""


@hookspec
def ganbench_columns(records: pd.DataFrame) -> Mapping[str, pd.Series]:  # type: ignore[empty-body] # a specification
    """Extra columns for tables, by name; each has the index of ``records``."""


@hookspec(firstresult=True)
def ganbench_render(table: Table, style: str) -> str | None:
    """``table`` as text in a ``style`` that the core does not know, or None."""
