"""Rows against the levels of a role: one table for each measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ganbench.table import OK, Column, Entry, Row, Table, Tally


def pivoted(table: Table, pivot: str, show: Sequence[str]) -> list[Table]:
    """Rows against the levels of ``pivot``, one table for each measure to ``show``: by default all but the averages."""
    levels = list(dict.fromkeys(str(row.entries[pivot]) for row in table.rows))
    keys = [c for c in table.columns if c.kind in ("role", "fact") and c.name != pivot]
    built = []
    for column in table.columns:
        if column.kind not in ("measure", "time", "ratio", "change", "percent"):
            continue
        of = column.name.removesuffix("_diff").removesuffix("_percent")
        if of not in show if show else of.endswith("_ema"):
            continue
        rows: dict[tuple[Entry, ...], list[Row]] = {}
        for row in table.rows:
            rows.setdefault(tuple(row.entries[k.name] for k in keys), []).append(row)
        heads = [
            replace(column, name=f"{column.name}[{level}]", header=level, better=None, unit="", keep=300 - i)
            for i, level in enumerate(levels)
        ]
        made = []
        for group in rows.values():
            entries: dict[str, Entry] = {k.name: group[0].entries[k.name] for k in keys}
            entries |= {h.name: None for h in heads}
            entries |= {f"{column.name}[{r.entries[pivot]}]": r.entries[column.name] for r in group}
            tied = {f"{column.name}[{r.entries[pivot]}]" for r in group if column.name in r.tied}
            best = {f"{column.name}[{r.entries[pivot]}]" for r in group if column.name in r.best}
            tallies = [t for r in group if isinstance(t := r.entries[OK], Tally)]
            failures = sum((Counter(t.failures) for t in tallies), Counter[str]())
            entries[OK] = Tally(sum(t.ok for t in tallies), sum(t.total for t in tallies), failures)
            note = "; ".join(f"{r.entries[pivot]}: {r.note}" for r in group if r.note)
            made.append(Row(entries, frozenset(best), note, any(r.shared for r in group), frozenset(tied)))
        about = ", ".join(x for x in (column.unit, f"{column.better} is better" if column.better else "") if x)
        built.append(
            replace(
                table,
                title=f"{table.title}: {column.header}{about and f' ({about})'}, by {pivot}",
                columns=(*keys, *heads, Column(OK, OK, "ok", keep=800)),
                rows=tuple(made),
            )
        )
    return built
