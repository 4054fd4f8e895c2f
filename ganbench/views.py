"""What the reading commands print: with rich on a terminal, plain text without escape codes off it; nothing is cut."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ganbench import board
from ganbench.eta import duration
from ganbench.facts import (
    by_reason,
    component_facts,
    merged,
    name_of,
    named,
    one_component,
    plan_facts,
    stacking,
    state,
    status_facts,
    toml,
    varying,
)
from ganbench.standing import CellSoFar
from ganbench.text import longest_word, plural, printable, share, wrap
from ganbench.tracking import Current

if TYPE_CHECKING:
    from ganbench.component import Component
    from ganbench.doctor import Verdict
    from ganbench.plan import Plan, Stack
    from ganbench.steptimes import StepTimes
    from ganbench.testing import Finding

__all__ = [
    "component_facts",
    "one_component",
    "plan_facts",
    "print_component",
    "print_components",
    "print_findings",
    "print_pairs",
    "print_plan",
    "print_problems",
    "print_status",
    "print_step_times",
    "print_verdicts",
    "status_facts",
]
SHOWN = 8
"""Skipped cells that are named for each reason; ``--json`` has them all."""
GAP = 2
"""Blanks between columns."""
COLOURS = {"done": "green", "missing": "cyan", "stale": "yellow", "interrupted": "yellow", "skipped": "dim"}


def print_plan(plan: Plan, stacks: Sequence[Stack] = ()) -> None:
    """The cells of a plan with what is on disk of each, the skipped ones with their reasons, and the sum.

    ``stacks`` are what is left to do by the processes that train it.
    """
    facts = plan_facts(plan, stacks)
    out = _Out()
    cells = [cell for cell in facts["cells"] if cell["skip"] is None]
    roles = varying(facts["cells"])
    if facts["cells"]:
        same = [role for role in facts["cells"][0]["labels"] if role not in roles]
        out.print(_text(", ".join(f"{role} {facts['cells'][0]['labels'][role]}" for role in same)))
    for dataset, group in _sections(cells, roles):
        varied = [role for role in varying(group) if role != "dataset"]
        columns = varied or ["regularizer"]
        here = ", ".join(f"{role} {group[0]['labels'][role]}" for role in roles if role not in {*varied, "dataset"})
        heads, picks = merged(group, columns)
        rows = [[*(cell["labels"][p] for p in picks), state(cell["trials"])] for cell in group]
        out.print()
        if dataset:
            out.print(_text(dataset, "bold"))
        if here:
            out.print(_text(here))
        _table(out, [*heads, "trials"], rows, colour=True)
    _print_skips(out, [cell for cell in facts["cells"] if cell["skip"] is not None], roles)
    if facts["notes"]:
        out.print()
    for note in facts["notes"]:
        out.print(_text("note: ", "yellow") + _text(note))
    out.print()
    counts = {k: n for k, n in facts["counts"].items() if k not in {"trials", "skipped"} and n}
    told = ", ".join(f"{n} {stage}" for stage, n in counts.items())
    total = plural(facts["counts"]["trials"], "trial")
    line = f"{plural(len(cells), 'cell')} x {plural(len(facts['seeds']), 'seed')} = {total}" + (told and f": {told}")
    skipped = facts["counts"]["skipped"]
    out.print(_text(line + (f"; {plural(skipped, 'cell')} skipped" if skipped else ""), "bold"))
    if told := stacking([(stack["together"], stack["trials"]) for stack in facts["stacks"]]):
        out.print(_text(f"{told}, each of one training step"))


def print_status(facts: Mapping[str, Any]) -> None:
    """How far a run is, who is at work on what, then failures with reasons and logs, then unfinished trials."""
    out = _Out()
    counts = {k: n for k, n in facts["counts"].items() if k != "skipped"}
    line = Text.assemble(
        _text(facts["name"], "bold"), f": {plural(facts['cells'], 'cell')}, {plural(facts['trials'], 'trial')}"
    )
    for i, (status, n) in enumerate(counts.items()):
        line.append(": " if i == 0 else ", ")
        line.append_text(_text(f"{n} {status}", COLOURS.get(status, "red")))
    out.print(line)
    for driver in facts["drivers"]:
        out.print(_driver(driver))
    trials = [
        Current(**trial) for driver in facts["drivers"] if driver["state"] != "gone" for trial in driver["running"]
    ]
    rows = [CellSoFar(**row) for row in facts["finished"]] if facts["counts"].get("missing") else []
    shown = facts["roles"]
    width = out.console.width
    if trials:
        out.print()
        out.print(board.running(trials, shown, width, len(trials) + 1))
    if rows:
        out.print()
        out.print(board.cells(rows, shown, width, len(rows) + 1))
        for refused in facts["not_shown"]:
            out.print(_text(refused, "yellow"))
    cells = [*facts["failures"], *facts["unfinished"], *facts["skipped"]]
    roles = varying(cells)
    for failure in facts["failures"]:
        out.print()
        out.print(_text(failure["status"], "red") + _text(f"  {named(failure, roles)}"))
        out.print(_indented(failure["reason"]))
        if failure["log"]:  # on one line, so that it can be copied
            out.print(_text(f"    {failure['log']}", "dim"), soft_wrap=True)
    if facts["unfinished"]:
        out.print()
    for trial in facts["unfinished"]:
        of = f" of {trial['steps']:,}" if isinstance(trial["steps"], int) else ""
        at = f"checkpoint at step {trial['step']:,}{of}" if trial["step"] else "no checkpoint yet"
        out.print(_text(trial["status"], "yellow") + _text(f"  {named(trial, roles)}: {at}"))
    _print_skips(out, facts["skipped"], roles)
    if facts["stale"]:
        out.print()
        out.print(_text(f"{plural(facts['stale'], 'trial')} on disk that the grid no longer has"))


def _driver(driver: Mapping[str, Any]) -> Text:
    """What one process that works on a run was last heard saying."""
    who = f"process {driver['pid']} on {driver['host']}"
    if driver["state"] == "gone":
        ago = duration(driver["heard_s"])
        text = f"  {who} ended without a word, heard of {ago} ago; the same `ganbench run` goes on"
        return _text("killed", "red") + _text(text)
    done = f"{driver['finished']} of {driver['todo']} trials in {duration(driver['seconds'])}"
    left = "" if driver["left_s"] is None else f", {duration(driver['left_s'])} left"
    if driver["doing"]:
        done = f"{driver['doing']}, {duration(driver['seconds'])} so far"
    if driver["state"] == "silent":
        return _text("silent", "yellow") + _text(f"  {who}, not heard of for {duration(driver['heard_s'])}: {done}")
    return _text("running", "green") + _text(f"  {who}: {done}{left}")


def _print_skips(out: _Out, skips: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> None:
    for reason, cells in by_reason(skips).items():
        out.print()
        out.print(_text(f"{plural(len(cells), 'cell')} skipped: ", "yellow") + _text(reason))
        if roles:
            for cell in cells[:SHOWN]:
                out.print(_indented(named(cell, roles)))
        if len(cells) > SHOWN and roles:
            out.print(_indented(f"and {len(cells) - SHOWN} more; --json has them all"))


def print_components(facts: Sequence[Mapping[str, str]]) -> None:
    """Components by role: name, summary and plugin."""
    out = _Out()
    roles = dict.fromkeys(fact["role"] for fact in facts)
    for i, role in enumerate(roles):
        rows = [[f["name"], f"{f['summary']} ({f['plugin']})"] for f in facts if f["role"] == role]
        if i:
            out.print()
        _table(out, [role, "what it is (plugin)"], rows)
    if not facts:
        out.print("none")


def print_component(facts: Mapping[str, Any]) -> None:
    """One component: its docstring whole, its fields, hook points or measures, its origin, a line for a grid."""
    out = _Out()
    out.print(_text(f"{facts['role']} {facts['name']}", "bold"))
    for paragraph in facts["doc"].split("\n\n"):
        if paragraph:
            out.print()
            out.print(_lines(paragraph))
    if facts["fields"]:
        rows = [
            [f["name"], f["type"], "required" if f["required"] else _value(f["default"]), f["range"], f["doc"]]
            for f in facts["fields"]
        ]
        out.print()
        _table(out, ["field", "type", "default", "range", ""], rows)
    if facts["measures"]:
        rows = [[m["name"], m["better"] or "neither", m["unit"]] for m in facts["measures"]]
        out.print()
        _table(out, ["measure", "better", "unit"], rows)
    out.print()
    about = [("hook points", ", ".join(facts["hook_points"])), ("source", facts["source"])]
    about.append(("Dirac-GAN", facts.get("dirac", "")))
    about.append(("plugin", f"{facts['plugin']['name']} ({facts['plugin']['from']})"))
    out.print(_pairs([(k, v) for k, v in about if v]))
    if facts["toml"]:
        out.print()
        out.print(_text(facts["toml"], "cyan"), soft_wrap=True)


def print_findings(findings: Sequence[tuple[type[Component], Finding]]) -> None:
    """What a check found, component by component."""
    out = _Out()
    last: type[Component] | None = None
    for cls, finding in findings:
        if cls is not last:
            out.print(_text(cls.title(), "bold"))
            last = cls
        out.print(_verdict(finding.ok, finding.name, finding.message))
    if findings and all(finding.ok for _, finding in findings):
        out.print(_text(f"{plural(len(findings), 'check')} passed", "green"))


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """What the doctor says, one line for each matter."""
    out = _Out()
    for verdict in verdicts:
        out.print(_verdict(verdict.ok, verdict.what, verdict.message))


def print_step_times(times: StepTimes, labels: Mapping[str, Mapping[str, str]]) -> None:
    """The timing pass: for each cell milliseconds a step and the ratio to the cell without regularizers."""
    out = _Out()
    rows = []
    roles = varying([{"labels": labels[cell]} for cell in times.blocks if cell in labels])
    for cell, block in times.blocks.items():
        columns = block.columns(cell)
        ratio = f"{columns['step_ratio']:.3f}" if "step_ratio" in columns else ""
        if "step_ratio_low" in columns:
            ratio += f" [{columns['step_ratio_low']:.3f}, {columns['step_ratio_high']:.3f}]"
        doubts = [
            *([] if block.quiet else ["beside other work"]),
            *([] if columns["steady"] else ["not steady"]),
            *([f"pace changed in {plural(int(columns['drifted']), 'round')}"] if columns["drifted"] else []),
        ]
        floor = f"{100 * columns['noise_floor']:.2g} %" if "noise_floor" in columns else ""
        first = f"{columns['first_step_s']:.2g}" if "first_step_s" in columns else ""
        name = name_of(labels[cell], roles) if cell in labels else cell
        rows.append((name, f"{columns['step_ms']:.4g}", ratio, floor, first, ", ".join(doubts)))
    _table(out, ("cell", "step ms", "× none", "noise floor", "first step s", "doubts"), rows)  # noqa: RUF001 # times


def print_problems(problems: Sequence[Mapping[str, str]]) -> None:
    """What is wrong with the files of a run, and what to do."""
    out = _Out()
    for problem in problems:
        out.print(_text(problem["path"], "bold"), soft_wrap=True)
        out.print(_indented(problem["problem"]))
        if problem.get("advice"):
            out.print(_indented(problem["advice"]))
    out.print(_text(plural(len(problems), "problem") if problems else "no problems", "red" if problems else "green"))


def print_pairs(title: str, pairs: Sequence[tuple[str, str]]) -> None:
    """Names and what belongs to each, under a title."""
    out = _Out()
    out.print(_text(title, "bold"))
    out.print(_pairs(pairs))


# -- pieces --------------------------------------------------------------------------------------------------------


class _Out:
    """Standard output through rich, without the blanks that it pads lines with."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def print(self, item: RenderableType = "", *, soft_wrap: bool = False) -> None:
        with self.console.capture() as captured:
            self.console.print(item, soft_wrap=soft_wrap)
        sys.stdout.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def _text(content: str, style: str = "") -> Text:
    """``content`` as it is: no markup, no control characters, long words folded rather than cut."""
    return Text(printable(content), style=style, overflow="fold")


def _lines(paragraph: str) -> Text:
    """A paragraph of a docstring as it fits; one with indented lines keeps its line breaks."""
    lines = paragraph.splitlines()
    if not any(line.startswith(" ") for line in lines):
        return _text(" ".join(lines))
    return Text("\n").join(_text(line) for line in lines)


def _indented(content: str) -> Padding:
    return Padding(_text(content), (0, 0, 0, 4), expand=False)


def _verdict(ok: bool, what: str, message: str) -> Table:  # noqa: FBT001 # it is the thing that is shown
    row = Table.grid(padding=(0, 2))
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(
        _text("  ok" if ok else "FAIL", "green" if ok else "bold red"), _text(f"{what}: {message}" if message else what)
    )
    return row


def _table(out: _Out, heads: Sequence[str], rows: Iterable[Sequence[str]], *, colour: bool = False) -> None:
    """Print left-aligned columns that share the width; columns without content are left out, long cells wrapped."""
    table = [[printable(cell) for cell in row] for row in (heads, *rows)]
    kept = [i for i in range(len(heads)) if any(row[i] for row in table[1:])]
    columns = [[row[i] for row in table] for i in kept]
    room = out.console.width - GAP * (len(kept) - 1)
    widths = share([longest_word(c) for c in columns], [max(map(cell_len, c)) for c in columns], room)
    for n, row in enumerate(zip(*columns, strict=True)):
        cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        status = row[-1].partition(" ")[2].partition(" ")[0] if colour and "," not in row[-1] else ""
        style = "bold" if n == 0 else COLOURS.get(status, "")
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            *first, last = (
                part + " " * (width - cell_len(part) + GAP) for part, width in zip(parts, widths, strict=True)
            )
            text = Text("".join(first), style="bold" if n == 0 else "") + Text(last.rstrip(), style=style)
            out.print(text, soft_wrap=True)
        if n == 0:
            out.print(Text("─" * (sum(widths) + GAP * (len(widths) - 1)), style="dim"), soft_wrap=True)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(_text(name), _text(value))
    return table


def _sections(
    cells: Sequence[Mapping[str, Any]], roles: Sequence[str]
) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
    """Cells by data set, if there are several."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault(cell["labels"]["dataset"] if "dataset" in roles else "", []).append(cell)
    return groups.items()


def _value(value: object) -> str:
    return "none" if value is None else toml(value)
