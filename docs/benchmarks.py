"""Write the tables of docs/benchmarks.md from the files in results/benchmarks; with --check only compare.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``, where NAME.json is a file that
tests/benchmarks/engine_speed.py wrote.
"""
# ruff: noqa: INP001 # a script, not a package

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE, FILES = ROOT / "docs" / "benchmarks.md", ROOT / "results" / "benchmarks"
BLOCK = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
ENGINES = ("serial", "serial+compiled", "fused", "fused+compiled")


def digits(value: float) -> str:
    """Three significant digits: ``0.985``, ``5.38``, ``17.0``, ``120``."""
    text = f"{value:#.3g}".rstrip(".")
    return f"{value:.0f}" if "e" in text else text


def entry(row: Mapping[str, Any] | None) -> str:
    """The ratio of one row with its interval, or why there is none."""
    if row is None:
        return ""
    if "error" in row:
        return "*" + str(row["error"]).replace("|", "\\|")[:60] + "*"
    return f"**{digits(row['trials'])}** [{digits(row['low'])}, {digits(row['high'])}]"


def merged(cases: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """The cases of one pair of networks and one regularizer, which may have been measured in several goes."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for case in cases:
        found.setdefault((case["networks"], case["regularizer"]), []).append(case)
    return found


def table(content: Mapping[str, Any]) -> str:
    """What a file says, as Markdown."""
    about = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(about["versions"].items()))
    gpus = ", ".join(gpu["name"] for gpu in about["gpus"])
    cores = f"{about['cores']} cores" if about["cores"] > 1 else "1 core"
    lines = [
        f"{gpus or about['cpu']}" + ("" if gpus else f" ({cores}, {content['threads']} thread used)") + f"; {versions}."
    ]
    floors = [case["noise_floor"] for case in content["cases"] if case["noise_floor"] is not None]
    others = [case["others"] for case in content["cases"] if case["others"] is not None]
    if floors:
        lines[0] += f" Noise floor: the same loop timed twice differed by up to {100 * max(floors):.2g} %"
        lines[0] += f" (median {100 * sorted(floors)[len(floors) // 2]:.2g} %)."
    if others:
        lines[0] += f" Other programs kept up to {max(others):.2g} cores busy."
    lines[0] = textwrap.fill(lines[0], 120, break_on_hyphens=False)
    lines.append("")
    lines.append("| networks | regularizer | loop by hand, ms a step | seeds | " + " | ".join(ENGINES) + " |")
    lines.append("| --- | --- | ---: | ---: |" + " ---: |" * len(ENGINES))
    for (networks, regularizer), cases in merged(content["cases"]).items():
        rows = {(row["engine"], row["seeds"]): row for case in cases for row in case["rows"]}
        hand = sorted(case["by_hand_ms"] for case in cases)[len(cases) // 2]
        for n, seeds in enumerate(sorted({seeds for _, seeds in rows})):
            head = [networks, regularizer, digits(hand)] if n == 0 else ["", "", ""]
            lines.append(f"| {' | '.join([*head, str(seeds), *(entry(rows.get((e, seeds))) for e in ENGINES)])} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """``text`` with its tables made anew; a table whose file is not there says so."""

    def made(match: re.Match[str]) -> str:
        path = FILES / f"{match[2]}.json"
        body = table(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else "Not measured yet.\n"
        return f"{match[1]}{body}{match[4]}"

    return BLOCK.sub(made, text)


def main(words: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is what it would be."""
    before = PAGE.read_text(encoding="utf-8")
    after = page(before)
    if words == ["--check"]:
        if before != after:
            sys.stderr.write("docs/benchmarks.md is not what results/benchmarks says: run python docs/benchmarks.py\n")
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
