"""A run looked at from another terminal until it ends: a board that fits the terminal, or a line for each trial."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from ganbench import heartbeat
from ganbench.board import Board, draw
from ganbench.facts import named, varying
from ganbench.progress import verdict
from ganbench.records import FAILED
from ganbench.results import Results
from ganbench.standing import several_protocols, so_far

if TYPE_CHECKING:
    from ganbench.records import Record

EVERY = 1.0
"""Seconds between two looks."""
FAILURES = 5
"""Failures on the board, the latest; `ganbench status` has them all."""


def watch(folder: Path, sleep: Callable[[float], None] = time.sleep) -> Results:
    """Show the run in ``folder`` until no process works on it; what it has left then."""
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        _redraw(folder, console, sleep)
    else:
        _follow(folder, sleep)
    return Results(folder)


def look(folder: Path) -> Board | None:
    """What can be seen of the run now; None if no process works on it."""
    at_work = [heard.pulse for heard in heartbeat.read(folder) if heard.state != "gone"]
    if not at_work:
        return None
    results = Results(folder)
    failures = [record for record in results.trials if record.status in FAILED]
    known = [pulse.left_s for pulse in at_work if pulse.left_s is not None]
    return Board(
        roles=varying([{"labels": cell.labels} for cell in results.plan]),
        finished=len(results.trials),
        planned=len(results.trials) + results.missing,
        failed=len(failures),
        seconds=max(pulse.seconds for pulse in at_work),
        left_s=max(known, default=None),
        running=[current for pulse in at_work for current in pulse.running],
        doing=[pulse.doing for pulse in at_work if pulse.doing],
        cells=so_far(results.trials, {cell.cell: len(cell.seeds) for cell in results.plan}),
        failures=sorted(failures, key=lambda record: record.finished)[-FAILURES:],
        mixed=list(several_protocols(results.trials)),
    )


def _redraw(folder: Path, console: Console, sleep: Callable[[float], None]) -> None:
    """The board on a screen of its own, which a new size of the window does not disturb."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while (board := look(folder)) is not None:
            width, height = console.size
            live.update(draw(board, width, height), refresh=True)
            sleep(EVERY)


def _follow(folder: Path, sleep: Callable[[float], None]) -> None:
    """A line for each trial that finishes, and for what is in training at the start."""
    told: set[tuple[str, int | None]] | None = None
    doing: list[str] = []
    while True:
        board = look(folder)  # first, so that what the last trial left is not missed
        results = Results(folder)
        roles = varying([{"labels": cell.labels} for cell in results.plan])
        fresh = [r for r in results.trials if told is not None and (r.cell, r.seed) not in told]
        for record in sorted(fresh, key=lambda record: record.finished):
            _say(record, roles)
        told = {(r.cell, r.seed) for r in results.trials}
        if board is None:
            return
        for text in board.doing:
            if text not in doing:
                sys.stdout.write(f"{text}\n")
                sys.stdout.flush()
        doing = list(board.doing)
        sleep(EVERY)


def _say(record: Record, roles: list[str]) -> None:
    sys.stdout.write(f"{named({'labels': record.labels, 'seed': record.seed}, roles)}: {verdict(record)}\n")
    sys.stdout.flush()
