"""Records for other tools: what they read must be what a run says."""

from __future__ import annotations

import csv
import io
import json
import statistics
import subprocess
import sys
from pathlib import Path

import making
import pytest

from ganbench.cli import main
from ganbench.errors import ConfigError
from ganbench.export import export, pytest_benchmark, rows, stats_of
from ganbench.results import load


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = making.make_run(tmp_path / "results" / "made", {"hinge": None, "ebgan": "refused"})
    making.add_trial(folder, "hinge", 0, timing={"step_ms": 2.0})
    making.add_trial(folder, "hinge", 1, timing={"step_ms": 4.0})
    return folder


def test_csv_and_json_have_a_row_for_every_record(run, capsys):
    results = load(run)
    read = list(csv.DictReader(io.StringIO(export(results, "csv") or "")))
    assert [row["status"] for row in read] == ["done", "done", "skipped"]
    assert [row["step_ms"] for row in rows(results)] == [2.0, 4.0, None]
    assert main(["export", str(run), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows(results)


def test_parquet_holds_the_records_or_says_what_it_needs(run, tmp_path):
    results = load(run)
    with pytest.raises(ConfigError, match="parquet is not text"):
        export(results, "parquet")
    path = tmp_path / "records.parquet"
    try:
        import pyarrow as pa  # noqa: F401 # an optional package
    except ImportError:
        with pytest.raises(ConfigError, match="pip install pyarrow"):
            export(results, "parquet", path)
        return
    import pandas as pd

    export(results, "parquet", path)
    assert list(pd.read_parquet(path)["step_ms"])[:2] == [2.0, 4.0]


def test_an_unknown_format_names_the_nearest(run):
    with pytest.raises(ConfigError, match="pytest-benchmark"):
        export(load(run), "pytest-bench")


def test_statistics_are_those_of_the_standard_library():
    data = [3.0, 1.0, 2.0, 10.0, 2.5]
    found = stats_of(data)
    assert (found["mean"], found["median"]) == (statistics.fmean(data), 2.5)
    assert found["stddev"] == pytest.approx(statistics.stdev(data))
    assert (found["q1"], found["q3"]) == tuple(statistics.quantiles(data, n=4, method="inclusive")[::2])
    assert found["outliers"] == "1;1"
    assert (found["ld15iqr"], found["hd15iqr"]) == (1.0, 3.0)
    assert found["data"] == data
    assert stats_of([2.0])["stddev"] == 0.0


def test_pytest_benchmark_compares_what_was_exported(run, tmp_path):
    path = tmp_path / "0001_made.json"
    assert main(["export", str(run), "--format", "pytest-benchmark", "-o", str(path)]) == 0
    (benchmark,) = pytest_benchmark(load(run))["benchmarks"]
    assert benchmark["stats"]["data"] == [2e-3, 4e-3]
    assert benchmark["extra_info"]["timed"] == "in training"
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(path), "--csv", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    (read,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert float(read["median"]) == pytest.approx(3e-3)
    assert "hinge" in read["name"]
