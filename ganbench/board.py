"""What a run looks like while it goes on: what trains, what has finished with its measures so far, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ganbench.eta import duration
from ganbench.facts import name_of
from ganbench.text import printable, width_of

if TYPE_CHECKING:
    from ganbench.records import Record
    from ganbench.standing import CellSoFar
    from ganbench.tracking import Current

T = TypeVar("T")
LEAST = 18
"""Columns that a name keeps at least, and three fifths of the width if it is longer, before measures are left out."""
LEAST_BAR = 10
"""Columns without which there is no bar."""
MOST_BAR = 40
"""Columns of the longest bar: what is not drawn cannot wrap when a window becomes narrower."""


@dataclass(frozen=True)
class Board:
    """All there is to show; the last of ``cells`` and ``failures`` is the latest, ``roles`` tell cells apart."""

    roles: Sequence[str]
    finished: int
    planned: int
    failed: int
    seconds: float
    left_s: float | None
    running: Sequence[Current]
    cells: Sequence[CellSoFar]
    failures: Sequence[Record] = ()
    mixed: Sequence[str] = ()
    """Measures that have values of several protocols, and so are in no cell."""
    doing: Sequence[str] = ()
    """What is going on beside training."""


def draw(board: Board, width: int, height: int) -> Group:
    """``board`` in at most ``height`` lines of ``width``: what trains comes first, then failures, then cells.

    Of what does not fit, the latest is shown and the rest is counted.
    """
    roles, room = board.roles, max(0, height - 1)
    parts: list[RenderableType] = [_bar(board, width)]
    for text in board.doing[:room]:
        line = Text(text)
        line.truncate(width, overflow="ellipsis")
        parts.append(line)
        room -= 1
    if board.running and room > 1:
        parts.append(running(board.running, roles, width, room))
        room -= len(board.running) + 1
    if board.failures and room > 1:
        parts.append(_failures(board.failures, roles, width, room))
        room -= len(board.failures) + 1
    if board.cells and room > 1:
        parts.append(cells(board.cells, roles, width, room, board.mixed))
    return Group(*parts)


def _bar(board: Board, width: int) -> RenderableType:
    told = f" {board.finished}/{board.planned}"
    failed = f" {board.failed} failed" if board.failed else ""
    left = "" if board.left_s is None else f" {duration(board.left_s)} left"
    tail = Text.assemble(told, (failed, "red"), f" {duration(board.seconds)}", (left, "cyan"))
    room = min(MOST_BAR, width - len("trials ") - tail.cell_len)
    if room < LEAST_BAR:
        tail.truncate(width, overflow="crop")
        return tail
    line = Table.grid()
    line.add_row(
        Text("trials ", "bold"),
        ProgressBar(total=max(1, board.planned), completed=board.finished, width=room),
        tail,
    )
    return line


def running(trials: Sequence[Current], roles: Sequence[str], width: int, lines: int) -> Group:
    """The trials in training: step and losses."""
    losses = list(dict.fromkeys(name for current in trials for name in current.losses if name.endswith("_loss")))
    heads = ["step", *(name.removesuffix("_loss").upper() for name in losses)]
    rows = [
        (
            f"{name_of(current.labels, roles)} / seed {current.seed}",
            [
                f"{current.step:,}/{current.steps:,}" if current.step else "starting",
                *(_number(current.losses.get(name)) for name in losses),
            ],
        )
        for current in trials
    ]
    return _columns("training", heads, rows, width, lines)


def cells(rows: Sequence[CellSoFar], roles: Sequence[str], width: int, lines: int, mixed: Sequence[str] = ()) -> Group:
    """The cells with finished trials: how many were done, and the means of their measures, but of ``mixed`` ones."""
    names = list(dict.fromkeys(name for cell in rows for name in cell.measures if name != "step_ms"))
    if any("step_ms" in cell.measures for cell in rows):
        names.append("step_ms")
    told = [
        (
            name_of(cell.labels, roles),
            [
                f"{cell.done}/{cell.planned}" + ("!" if cell.failures else ""),
                *(_number(cell.measures.get(name)) for name in names),
            ],
        )
        for cell in rows
    ]
    heads = ["done", *(name.replace("_", " ") for name in names)]
    several = f"; {', '.join(mixed)} not shown: several protocols" if mixed else ""
    return _columns(f"finished so far (means{several})", heads, told, width, lines)


def _failures(failures: Sequence[Record], roles: Sequence[str], width: int, lines: int) -> Group:
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
) -> Group:
    """A name and numbers at its right, in as many columns as fit; the last ``lines - 1`` rows."""
    shown, told = _latest(rows, lines)
    widths = [max(width_of(head), *(width_of(cells[n]) for _, cells in shown)) for n, head in enumerate(heads)]
    kept = list(range(len(heads)))
    longest = max((width_of(name) + 1 for name, _ in shown), default=0)
    least = min(max(LEAST, longest), max(LEAST, width * 3 // 5))
    while len(kept) > 1 and sum(widths[n] + 2 for n in kept) > width - least:
        kept.pop(-2 if heads[kept[-1]] == "step ms" and len(kept) > 2 else -1)
    text = []
    left_out = f", {len(heads) - len(kept)} columns left out" if len(kept) < len(heads) else ""
    named = [(title + told + left_out, heads), *((f" {printable(name)}", cells) for name, cells in shown)]
    left = min(max(width_of(name) for name, _ in named), max(1, width - sum(widths[n] + 2 for n in kept)))
    for i, (name, cells) in enumerate(named):
        first = Text(name)
        first.truncate(left, overflow="ellipsis", pad=True)
        line = first + Text("".join(f"  {cells[n]:>{widths[n]}}" for n in kept))
        line.truncate(width, overflow="crop")
        line.stylize("bold" if i == 0 else "")
        text.append(line)
    return Group(*text)


def _latest(rows: Sequence[T], lines: int) -> tuple[Sequence[T], str]:
    """The last rows that fit under a heading, and what the heading says of the others."""
    shown = rows[-(lines - 1) :]
    return shown, f", {len(rows) - len(shown)} more before these" if len(shown) < len(rows) else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
