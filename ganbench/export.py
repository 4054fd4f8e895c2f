"""A run's records in the formats of other tools: CSV, JSON, Parquet, and what ``pytest-benchmark compare`` reads."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.errors import ConfigError, ResultsError, nearest
from ganbench.records import ROLES, read_json
from ganbench.timing import quantile

if TYPE_CHECKING:
    from ganbench.results import Results

FORMATS = ("csv", "json", "parquet", "pytest-benchmark")


def export(results: Results, style: str, path: Path | None = None) -> str | None:
    """The records of ``results`` as text, or into ``path``, where parquet has to go.

    Raises:
        ConfigError: there is no such format, or it needs a file or a package that is not there.
        ResultsError: the file cannot be written.
    """
    if style not in FORMATS:
        raise ConfigError(f"there is no format {style!r}", place="--format", hint=nearest(style, FORMATS))
    if style == "parquet":
        _parquet(results, path)
        return None
    if style == "csv":
        text = results.records.to_csv(index=False)
    elif style == "json":
        text = json.dumps(rows(results), indent=1, allow_nan=False) + "\n"
    else:
        text = json.dumps(pytest_benchmark(results), indent=1, allow_nan=False) + "\n"
    if path is None:
        return text
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"cannot be written: {error.strerror or error}", place=str(path)) from error
    return None


def _parquet(results: Results, path: Path | None) -> None:
    if path is None:
        raise ConfigError("parquet is not text", place="--format", hint="name a file with -o FILE.parquet")
    try:
        results.records.to_parquet(path, index=False)
    except ImportError as error:
        raise ConfigError("parquet needs pyarrow", place="--format", hint="pip install pyarrow") from error
    except OSError as error:
        raise ResultsError(f"cannot be written: {error.strerror or error}", place=str(path)) from error


def rows(results: Results) -> list[dict[str, Any]]:
    """The records as JSON has them: what is missing or not finite is null."""
    import pandas as pd

    def plain(value: Any) -> Any:
        if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
            return None
        return value.item() if hasattr(value, "item") else value

    return [{str(k): plain(v) for k, v in row.items()} for row in results.records.to_dict("records")]


def pytest_benchmark(results: Results) -> dict[str, Any]:
    """The step times of a run as a file of pytest-benchmark, in seconds: one benchmark for each cell.

    A datum is one round of the timing pass, or, where there was none, the median of one seed's training.
    """
    facts = read_json(results.path / "environment.json") or {}
    git = facts.get("git") or {}
    versions = facts.get("versions", {})
    done: dict[str, list[float]] = {}
    labels: dict[str, Mapping[str, str]] = {}
    started = ""
    for record in results.trials:
        if record.status == "done" and ("step_ms" in record.timing or record.cell in results.step_times.blocks):
            found = done.setdefault(record.cell, [])
            found += [ms / 1e3 for ms in [record.timing.get("step_ms")] if ms is not None]
            labels[record.cell] = record.labels
            started = max(started, record.finished)
    benchmarks = []
    for cell, in_training in done.items():
        block = results.step_times.blocks.get(cell)
        data = [ms / 1e3 for ms in block.rounds[cell]] if block is not None else in_training
        name = "-".join(labels[cell].get(role, "") for role in ROLES)
        benchmarks.append(
            {
                "group": labels[cell].get("dataset"),
                "name": name,
                "fullname": name,
                "params": dict(labels[cell]),
                "param": None,
                "extra_info": {"cell": cell, "timed": "in training" if block is None else "apart"},
                "options": {"timer": "perf_counter", "min_rounds": len(data), "warmup": True},
                "stats": stats_of(data),
            }
        )
    return {
        "machine_info": {
            "cpu": {"brand_raw": facts.get("cpu"), "count": facts.get("cores")},
            "gpus": facts.get("gpus"),
            "platform": facts.get("platform"),
            "python_version": versions.get("python"),
            "versions": versions,
        },
        "commit_info": {"id": git.get("commit"), "dirty": git.get("dirty"), "project": "ganbench"},
        "benchmarks": benchmarks,
        "datetime": started,
        "version": "5.3.1",  # of pytest-benchmark, whose layout this is
    }


def stats_of(data: Sequence[float]) -> dict[str, Any]:
    """The statistics that a file of pytest-benchmark has of ``data``, in seconds, under its names."""
    ordered = sorted(data)
    q1, median, q3 = (quantile(ordered, q) for q in (0.25, 0.5, 0.75))
    mean, spread = statistics.fmean(ordered), statistics.stdev(ordered) if len(ordered) > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    wide = sum(abs(x - mean) > spread for x in ordered)
    beyond = sum(not low <= x <= high for x in ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": spread,
        "rounds": len(ordered),
        "median": median,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond,
        "stddev_outliers": wide,
        "outliers": f"{wide};{beyond}",
        "ld15iqr": next(x for x in ordered if x >= low),
        "hd15iqr": next(x for x in reversed(ordered) if x <= high),
        "ops": 1 / mean,
        "total": math.fsum(ordered),
        "iterations": 1,
        "data": list(data),
    }
