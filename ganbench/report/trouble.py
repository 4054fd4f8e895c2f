"""What was not done: failures with their messages and logs, and skipped cells with their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ganbench.records import ROLES, Record, read_json
from ganbench.report.text import esc
from ganbench.results import Results
from ganbench.runfolder import RUN, Planned
from ganbench.text import kinds_of, plural

LOGS = 50
"""Failures whose logs are quoted at most, each with its last lines."""
LOG_LINES, LOG_BYTES = 20, 6000


def failures(results: Results) -> str:
    """Failed trials by status and message, with the last lines of the first one's log."""
    failed: dict[str, list[Record]] = {}
    for record in results.trials:
        if record.status != "done":
            failed.setdefault(record.status, []).append(record)
    if not failed:
        return "<p>No trial failed.</p>" if results.trials else ""
    kinds = [
        (status, kind, [r for r in records if r.reason in set(reasons)])
        for status, records in failed.items()
        for kind, reasons in kinds_of(r.reason for r in records).items()
    ]
    parts = []
    for i, (status, kind, records) in enumerate(kinds):
        names = "".join(
            f"<li>{esc(r.cell)}, seed {r.seed}{'' if r.reason == kind else f': {esc(r.reason)}'}</li>" for r in records
        )
        tail = _tail(results.folder(records[0].cell, records[0].seed) / "log.txt") if i < LOGS else ""
        log = f"<details><summary>Last lines of the log</summary><pre>{esc(tail)}</pre></details>" if tail else ""
        many = plural(len(records), "trial")
        listed = (
            f"<details><summary>{many}</summary><ul>{names}</ul></details>" if len(records) > 3 else f"<ul>{names}</ul>"
        )
        parts.append(f'<h3><span class="failed">{esc(status)}</span>: {esc(kind or "no message")}</h3>{listed}{log}')
    if len(kinds) > LOGS:
        parts.append(
            f'<p class="soft">Logs of the first {LOGS} kinds of failure are quoted; each trial has its log.txt.</p>'
        )
    return "".join(parts)


def _tail(path: Path) -> str:
    """The last lines of a log; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-LOG_LINES:])


def advice(results: Results) -> str:
    """What components said is doubtful about cells that were trained all the same."""
    raw = read_json(results.path / RUN) or {}
    names = {cell.cell: cell for cell in results.plan if cell.skip is None}
    found: dict[str, list[Planned]] = {}
    for cell in raw.get("cells", []):
        for said in cell.get("advice") or ():
            if cell.get("cell") in names:
                found.setdefault(str(said), []).append(names[cell["cell"]])
    return _by_reason(found)


def skipped(results: Results) -> str:
    """Skipped cells by the reason that they share."""
    reasons: dict[str, list[Planned]] = {}
    for cell in results.plan:
        if cell.skip is not None:
            reasons.setdefault(cell.skip, []).append(cell)
    return _by_reason(reasons)


def _by_reason(reasons: Mapping[str, Sequence[Planned]]) -> str:
    parts = []
    for reason, cells in reasons.items():
        names = "".join(f"<li>{esc(' · '.join(filter(None, map(cell.labels.get, ROLES))))}</li>" for cell in cells)
        parts.append(
            f"<h3>{esc(reason)}</h3><details><summary>{plural(len(cells), 'cell')}</summary><ul>{names}</ul></details>"
        )
    return "".join(parts)
