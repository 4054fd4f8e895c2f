"""What a run looks like while it goes on: what trains, what has finished with its measures so far, what failed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ganbench.eta import duration
from ganbench.facts import name_of, varying
from ganbench.records import FAILED
from ganbench.text import printable, width_of

if TYPE_CHECKING:
    from ganbench.records import Record
    from ganbench.tracking import Current

T = TypeVar("T")
LEAST = 18
"""Columns that a name keeps before measures are left out."""


@dataclass(frozen=True)
class CellSoFar:
    """A cell with finished trials: how many of the planned ones, and the means of their measures.

    Args:
        measures: of those that were done: the running average's value where there is one.
        failures: how many trials ended with each status that is a failure.
    """

    cell: str
    labels: Mapping[str, str]
    done: int
    planned: int
    measures: Mapping[str, float]
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Board:
    """All there is to show; the last of ``cells`` and ``failures`` is the latest."""

    finished: int
    planned: int
    failed: int
    seconds: float
    left_s: float | None
    running: Sequence[Current]
    cells: Sequence[CellSoFar]
    failures: Sequence[Record] = ()


def so_far(records: Iterable[Record], planned: Mapping[str, int]) -> list[CellSoFar]:
    """One row for each cell with finished trials, the one that finished last at the end.

    Args:
        records: of finished trials, in any order.
        planned: how many trials each cell has, by the name of its folder.
    """
    cells: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.finished):
        mine = cells.pop(record.cell, [])
        cells[record.cell] = [*mine, record]
    rows = []
    for cell, mine in cells.items():
        done = [record for record in mine if record.status == "done"]
        values: dict[str, list[float]] = {}
        for record in done:
            for name, value in record.measures.items():
                shown = value.last if value.ema is None else value.ema
                if shown is not None:
                    values.setdefault(name, []).append(shown)
            if "step_ms" in record.timing:
                values.setdefault("step_ms", []).append(record.timing["step_ms"])
        failures: dict[str, int] = {}
        for record in mine:
            if record.status in FAILED:
                failures[record.status] = failures.get(record.status, 0) + 1
        means = {name: statistics.fmean(numbers) for name, numbers in values.items()}
        rows.append(CellSoFar(cell, mine[0].labels, len(done), planned.get(cell, len(mine)), means, failures))
    return rows


def draw(board: Board, width: int, height: int) -> RenderableType:
    """``board`` in at most ``height`` lines of ``width``: what trains comes first, then the latest of the rest.

    What does not fit is counted, never dropped without a word.
    """
    labels = [*({"labels": c.labels} for c in board.cells), *({"labels": c.labels} for c in board.running)]
    roles = varying(labels)
    room = max(0, height - 1)  # the bar
    parts: list[RenderableType] = [_bar(board, width)]
    for needed, make in (
        (len(board.running), lambda lines: _running(board.running, roles, width, lines)),
        (len(board.failures), lambda lines: _failures(board.failures, roles, width, lines)),
        (len(board.cells), lambda lines: _cells(board.cells, roles, width, lines)),
    ):
        lines = min(room, needed + 1)
        if needed and lines > 1:
            parts.append(make(lines))
            room -= lines
    return Group(*parts)


def _bar(board: Board, width: int) -> RenderableType:
    told = f" {board.finished}/{board.planned}"
    failed = f" {board.failed} failed" if board.failed else ""
    left = "" if board.left_s is None else f" {duration(board.left_s)} left"
    tail = Text.assemble(told, (failed, "red"), f" {duration(board.seconds)}", (left, "cyan"))
    tail.truncate(max(1, width - 7), overflow="crop")
    line = Table.grid()
    line.add_row(
        Text("trials ", "bold"),
        ProgressBar(total=max(1, board.planned), completed=board.finished, width=max(1, width - 7 - tail.cell_len)),
        tail,
    )
    return line


def _running(running: Sequence[Current], roles: Sequence[str], width: int, lines: int) -> RenderableType:
    losses = list(dict.fromkeys(name for current in running for name in current.losses if name.endswith("_loss")))
    heads = ["step", *(name.removesuffix("_loss").upper() for name in losses)]
    rows = [
        (
            f"{name_of(current.labels, roles)} / seed {current.seed}",
            [
                f"{current.step:,}/{current.steps:,}" if current.step else "starting",
                *(_number(current.losses.get(name)) for name in losses),
            ],
        )
        for current in running
    ]
    return _columns("training", heads, rows, width, lines)


def _cells(cells: Sequence[CellSoFar], roles: Sequence[str], width: int, lines: int) -> RenderableType:
    names = list(dict.fromkeys(name for cell in cells for name in cell.measures if name != "step_ms"))
    if any("step_ms" in cell.measures for cell in cells):
        names.append("step_ms")
    rows = [
        (
            name_of(cell.labels, roles),
            [
                f"{cell.done}/{cell.planned}" + ("!" if cell.failures else ""),
                *(_number(cell.measures.get(name)) for name in names),
            ],
        )
        for cell in cells
    ]
    heads = ["done", *(name.replace("_", " ") for name in names)]
    return _columns("finished so far (means)", heads, rows, width, lines)


def _failures(failures: Sequence[Record], roles: Sequence[str], width: int, lines: int) -> RenderableType:
    shown, told = _latest(list(failures), lines)
    head = Text("failed" + told, "bold red")
    head.truncate(width)
    text = [head]
    for record in shown:
        name = f"{name_of(record.labels, roles)} / seed {record.seed}"
        line = Text.assemble((f" {record.status}", "red"), f" {printable(name)}: {printable(record.reason)}")
        line.truncate(width, overflow="ellipsis")
        text.append(line)
    return Group(*text)


def _columns(
    title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], width: int, lines: int
) -> RenderableType:
    """A name and numbers at its right, in as many columns as fit; the last ``lines - 1`` rows."""
    shown, told = _latest(rows, lines)
    widths = [max(width_of(head), *(width_of(cells[n]) for _, cells in shown)) for n, head in enumerate(heads)]
    kept = list(range(len(heads)))
    while len(kept) > 1 and sum(widths[n] + 2 for n in kept) > width - LEAST - 1:
        kept.pop(-2 if heads[kept[-1]] == "step ms" and len(kept) > 2 else -1)
    left = max(1, width - sum(widths[n] + 2 for n in kept))
    text = []
    left_out = f", {len(heads) - len(kept)} columns left out" if len(kept) < len(heads) else ""
    for i, (name, cells) in enumerate([(title + told + left_out, heads), *((f" {n}", c) for n, c in shown)]):
        first = Text(printable(name).rstrip() if i else name)
        first.truncate(left, overflow="ellipsis", pad=True)
        line = first + Text("".join(f"  {cells[n]:>{widths[n]}}" for n in kept))
        line.stylize("bold" if i == 0 else "")
        text.append(line)
    return Group(*text)


def _latest(rows: Sequence[T], lines: int) -> tuple[Sequence[T], str]:
    """The last rows that fit under a heading, and what the heading says of the others."""
    shown = rows[-(lines - 1) :]
    return shown, f", {len(rows) - len(shown)} more before these" if len(shown) < len(rows) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
