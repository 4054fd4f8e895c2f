"""Two runs as tables: one for each data set, a row for each cell, the change of each measure and its test."""

from __future__ import annotations

from collections.abc import Sequence

from ganbench.records import ROLES
from ganbench.table import OK, Column, Entry, PValue, Row, Table
from ganbench.versus import ALL, Change, Versus, varying_roles


def tables_of(found: Versus) -> list[Table]:
    """A table for each data set: a row for each cell, the change of each measure in a column."""
    parts: dict[str, list[Change]] = {}
    for change in found.changes:
        parts.setdefault(change.dataset, []).append(change)
    first, second = found.names
    about = f"Change from {first} to {second}: in % on the log scale for positive measures that are better when lower"
    footers = (
        f"{about}, else in units; with its 95 % Student-t interval over seeds. One seed gives neither that nor a test.",
        "All cells: averaged over the cells that all seeds completed in both runs, within a seed first.",
        *_tests(found.changes),
        *found.notes,
    )
    return [_table(dataset, part, found, footers) for dataset, part in parts.items()]


def _table(dataset: str, part: Sequence[Change], found: Versus, footers: tuple[str, ...]) -> Table:
    roles = [role for role in varying_roles(part) if role != "dataset"] or ["regularizer"]
    cells = [c for c in part if c.cell != ALL]
    constants = {r: labels.pop() for r in ROLES if r not in roles and len(labels := {c.labels[r] for c in cells}) == 1}
    columns = [Column(role, role, "role", keep=1000) for role in roles]
    for i, name in enumerate(dict.fromkeys(c.measure for c in part)):
        scales = {c.effect.scale for c in part if c.measure == name and c.effect.n}
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[next(c.better for c in part if c.measure == name)]
        ratio = scales == {"ratio"}
        columns.append(Column(name, f"{name}{arrow}", "percent" if ratio else "change", keep=600 - 2 * i))
        if any(c.test.need for c in part if c.measure == name):
            columns.append(Column(f"{name}_p", "p", "test", keep=599 - 2 * i))
    columns.append(Column(OK, OK, "ok", keep=800))
    inner = "regularizer" if "regularizer" in roles else roles[-1]  # the one that is no heading
    rows = []
    for id_ in dict.fromkeys(c.cell for c in (*cells, *part)):
        mine = [c for c in part if c.cell == id_]
        entries: dict[str, Entry] = {role: mine[0].labels.get(role, ALL if role == inner else "") for role in roles}
        for column in columns:
            if column.kind in ("percent", "change"):
                change = next((c for c in mine if c.measure == column.name), None)
                if change is not None:
                    e, tested = change.effect, change.test
                    entries[column.name] = e.percent if column.kind == "percent" else e.difference
                    entries[f"{column.name}_p"] = PValue(tested.p, tested.flip, tested.need)
        entries[OK] = found.tallies.get(id_)
        lost = max(c.failures for c in mine)
        rows.append(Row(entries, note=f"{lost} failed only in {found.names[1]}" if lost else ""))
    return Table(
        f"{found.names[1]} against {found.names[0]}: {dataset}", constants, tuple(columns), tuple(rows), footers=footers
    )


def _tests(changes: Sequence[Change]) -> list[str]:
    """What the p values are, or why there are none."""
    told = [c.test for c in changes if c.test.need]
    said = []
    if able := [t for t in told if t.p is not None]:
        said.append(
            f"p: paired t test of the change before it, Holm's correction over the {able[0].tests} tests of these "
            "runs; (flip): of the exact sign-flip test, corrected likewise, where the two disagree."
        )
    if unable := [t for t in told if t.p is None]:
        tests, need = unable[0].tests, unable[0].need
        said.append(
            f"need {need}: n too small to test; {tests} tests take {need} seeds before an exact test can reject "
            "(fewer with --measure)."
        )
    return said
