"""Where the numbers come from, and how to make them again."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganbench.errors import ResultsError
from ganbench.records import read_json
from ganbench.report.text import esc
from ganbench.results import Results


def environment(results: Results) -> str:
    """Versions and machine, as the run recorded them."""
    found = _object(results.path / "environment.json")
    if not found:
        return ""
    rows = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in _flat(found) if k != "git.dirty")
    return f"<dl>{rows}</dl>"


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_json(path) or {}
    except ResultsError:
        return {}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{key}." if key != "versions" else "")
        elif inner not in (None, [], ""):
            yield f"{prefix}{key}", ", ".join(map(_words, inner)) if isinstance(inner, list) else inner


def _words(value: object) -> str:
    """An item of a list: a GPU is its name and its memory."""
    return " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def reproduce(results: Results) -> str:
    """The commit, the commands and the grid."""
    found = _object(results.path / "environment.json")
    version = found.get("versions", {}).get("ganbench")
    git = found.get("git") or {}
    try:
        grid = (results.path / "grid.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        grid = ""
    parts = []
    if git.get("commit"):
        dirty = ", with uncommitted changes, so the commit alone may not give these numbers" if git.get("dirty") else ""
        parts.append(f"<p>Run from git commit <code>{esc(git['commit'])}</code>{dirty}.</p>")
    commands = [f"pip install ganbench=={version}"] if version else []
    options = _overridden(results, grid)
    commands += [f"ganbench plan --grid grid.toml{options}", f"ganbench run --grid grid.toml{options}"]
    parts.append(f"<pre><code>{esc(chr(10).join(commands))}</code></pre>")
    if grid:
        parts.append(f"<p>The grid, as it was:</p><pre><code>{esc(grid)}</code></pre>")
    return "".join(parts)


def _overridden(results: Results, grid: str) -> str:
    """``--seeds 0,1`` if the seeds of the plan are not those of the grid."""
    try:
        run = tomllib.loads(grid).get("run", {})
    except tomllib.TOMLDecodeError:
        return ""
    asked = run.get("seeds") if isinstance(run, dict) else None
    seeds = sorted({seed for cell in results.plan for seed in cell.seeds})
    same = seeds == (
        list(range(asked)) if isinstance(asked, int) else sorted(asked) if isinstance(asked, list) else seeds
    )
    return "" if same or not seeds else f" --seeds {','.join(map(str, seeds))}" + ("," if len(seeds) == 1 else "")
