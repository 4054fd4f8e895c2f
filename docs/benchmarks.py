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
FIRST = ("first_step_s", "capture_s", "compile_s")
SIDES = textwrap.fill(
    "What a step takes: of the clock; of the host, to issue it to an idle GPU; of the GPU, when it need not wait for"
    " the host (≤ where it had to). The larger of the two limits the loop. MiB are the peak of GPU memory from fresh"
    " trials to the end of the first steps. The first step traces, captures and loads the graph from the compiler's"
    " cache; capture is the part of it that warms the step up and captures it; compiling is the first step of the"
    " process that filled the cache, beside others.",
    120,
)
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


def between(values: Iterable[float]) -> str:
    """``1755 to 1980``, or one number where all round to it."""
    whole = sorted({round(value) for value in values})
    return " to ".join(str(value) for value in (whole[0], whole[-1])[: len(whole)])


def heading(content: Mapping[str, Any]) -> str:
    """The machine, and how far its numbers can be trusted."""
    about, cases = content["machine"], content["cases"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(about["versions"].items()))
    gpus = ", ".join(gpu["name"] for gpu in about["gpus"])
    cores = f"{about['cores']} cores" if about["cores"] > 1 else "1 core"
    text = (
        f"{gpus or about['cpu']}" + ("" if gpus else f" ({cores}, {content['threads']} thread used)") + f"; {versions}"
    )
    states = [case["gpu"] for case in cases if case.get("gpu")]
    if gpus:
        text += f"; CUDA {about['cuda']}"
    if states:
        clocks = sorted(float(state["clocks.sm"]) for state in states if state.get("clocks.sm"))
        drivers = sorted({str(state["driver_version"]) for state in states if state.get("driver_version")})
        text += f"; driver {', '.join(drivers)}" * bool(drivers)
        text += f"; SM clock {between(clocks)} MHz" * bool(clocks)
    windows = [1e3 * case["window_s"] for case in cases if case.get("window_s")]
    if gpus and windows:
        text += f"; windows of {between(windows)} ms"
    text += "."
    floors = [case["noise_floor"] for case in cases if case["noise_floor"] is not None]
    others = [case["others"] for case in cases if case["others"] is not None]
    if floors:
        text += f" Noise floor: the same loop timed twice differed by up to {100 * max(floors):.2g} %"
        text += f" (median {100 * sorted(floors)[len(floors) // 2]:.2g} %)."
    if others:
        text += f" Other programs kept up to {max(others):.2g} cores busy."
    return textwrap.fill(text, 120, break_on_hyphens=False)


def table(content: Mapping[str, Any]) -> str:
    """What a file says, as Markdown."""
    lines = [heading(content), ""]
    lines.append("| networks | regularizer | loop by hand, ms a step | seeds | " + " | ".join(ENGINES) + " |")
    lines.append("| --- | --- | ---: | ---: |" + " ---: |" * len(ENGINES))
    for (networks, regularizer), cases in merged(content["cases"]).items():
        rows = {(row["engine"], row["seeds"]): row for case in cases for row in case["rows"]}
        hand = sorted(case["by_hand_ms"] for case in cases)[len(cases) // 2]
        for n, seeds in enumerate(sorted({seeds for _, seeds in rows})):
            head = [networks, regularizer, digits(hand)] if n == 0 else ["", "", ""]
            lines.append(f"| {' | '.join([*head, str(seeds), *(entry(rows.get((e, seeds))) for e in ENGINES)])} |")
    return "\n".join(lines + sides(content)) + "\n"


def sides(content: Mapping[str, Any]) -> list[str]:
    """A table of what a step takes of the host and of the GPU, and what comes before it; none where it is unknown."""
    lines: list[str] = []
    for (networks, regularizer), cases in merged(content["cases"]).items():
        rows = {(row["engine"], row["seeds"]): row for case in cases for row in case["rows"] if "host_ms" in row}
        hand = next((case for case in cases if "host_ms" in case.get("by_hand", {})), None)
        if hand is None:
            continue
        listed = [("loop", 1, {**hand["by_hand"], "step_ms": hand["by_hand_ms"]})]
        listed += [
            (engine, n, rows[engine, n])
            for n in sorted({n for _, n in rows})
            for engine in ENGINES
            if (engine, n) in rows
        ]
        for place, (name, seeds, row) in enumerate(listed):
            head = [networks, regularizer] if place == 0 else ["", ""]
            device = ("" if row["queued"] else "≤ ") + digits(row["device_ms"])
            first = [f"{row[key]:.1f}" if row.get(key) else "" for key in FIRST]
            cells = [*head, name, str(seeds), digits(row["step_ms"]), digits(row["host_ms"]), device]
            columns = [*cells, f"{row['peak_mib']:.0f}", *first]
            lines.append(f"| {' | '.join(columns)} |")
    if not lines:
        return []
    about = "| networks | regularizer | loop | seeds | ms a step | of the host | of the GPU | MiB | first step, s |"
    return ["", SIDES, "", about + " capture, s | compiling, s |", "| --- | --- | --- |" + " ---: |" * 8, *lines]


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
