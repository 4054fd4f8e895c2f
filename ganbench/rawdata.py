"""Tables with their raw numbers: CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ganbench.records import ROLES
from ganbench.stats import Estimate
from ganbench.table import OK, PValue, Row, Table, Tally
from ganbench.text import printable


def _data(table: Table, row: Row) -> dict[str, Any]:
    """A row with its raw numbers: NAME, NAME_low, NAME_high, NAME_n and NAME_floor for each estimate."""
    data: dict[str, Any] = dict(table.constants)
    for column in table.columns:
        entry, name = row.entries.get(column.name), column.name
        if isinstance(entry, Tally):
            data |= {OK: entry.ok, "total": entry.total, "failures": entry.failed}
        elif isinstance(entry, PValue):
            data |= {name: entry.p, f"{name}_flip": entry.flip, f"{name}_need": entry.need}
        elif column.kind in ("measure", "time", "ratio", "change", "percent", "share") or isinstance(entry, Estimate):
            estimate = entry if isinstance(entry, Estimate) else Estimate(math.nan, None, None, 0)
            mean = None if math.isnan(estimate.mean) else estimate.mean
            data |= {name: mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high, f"{name}_n": estimate.n}
            if column.kind == "measure":
                data |= {
                    f"{name}_floor": column.floor,
                    f"{name}_best": name in row.best,
                    f"{name}_tied": name in row.tied,
                }
        else:
            data[name] = entry
    return data | {"shared_timing": row.shared, "note": row.note}


def flat(tables: Sequence[Table]) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of columns and the rows of ``tables`` as one, the skipped cells among them."""
    rows: list[dict[str, Any]] = []
    for table in tables:
        rows += [{"table": table.title} | _data(table, row) for row in table.rows]
        rows += [
            {"table": table.title, **labels, OK: 0, "total": 0, "failures": "skipped", "note": skip.reason}
            for skip in table.skipped
            for labels in skip.labels
        ]
    return list(dict.fromkeys(["table", *(r for r in ROLES if any(r in row for row in rows)), *_keys(rows)])), rows


def csv_text(tables: Sequence[Table]) -> str:
    """``tables`` as one CSV file with one header."""
    head, rows = flat(tables)
    out = io.StringIO()
    writer = csv.DictWriter(out, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: printable(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def _keys(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Every key, in order of appearance, those that explain a row last."""
    keys = dict.fromkeys(key for row in rows for key in row)
    last = ("shared_timing", "note")
    return [*(k for k in keys if k not in last), *(k for k in last if k in keys)]


def json_text(tables: Sequence[Table]) -> str:
    """``tables`` as a JSON list."""
    value = [
        {
            "title": table.title,
            "constants": dict(table.constants),
            "columns": [asdict(column) for column in table.columns],
            "rows": [_data(table, row) for row in table.rows],
            "skipped": [asdict(skip) for skip in table.skipped],
            "footers": list(table.footers),
        }
        for table in tables
    ]
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
