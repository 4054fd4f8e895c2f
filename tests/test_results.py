import json
import math
import subprocess
import sys
from pathlib import Path

import making
import pandas as pd
import pytest

import ganbench
from ganbench.errors import ResultsError
from ganbench.records import ROLES, Record, Value, append_line, write_json
from ganbench.results import Results, load


def labels(**changed):
    return dict.fromkeys(ROLES, "x") | {"dataset": "ring", "regularizer": "none"} | changed


def make(root: Path, *, seeds=(0, 1), skip=("wasserstein",), losses=("hinge", "wasserstein", "minimax")) -> Path:
    cells = []
    for i, loss in enumerate(losses):
        reason = "no bound on the critic" if loss in skip else None
        cell = f"ring-{loss}-{i:012x}"
        cells.append(
            {"cell": cell, "id": f"{i:012x}", "labels": labels(loss=loss), "skip": reason, "seeds": list(seeds)}
        )
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "run.json", {"name": root.name, "cells": cells, "settings": {"steps": 10}})
    return root


def commit(root: Path, cell: str, seed: int, **changed) -> Path:
    folder = root / "trials" / cell / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "cell": cell,
        "id": cell.rpartition("-")[2],
        "seed": seed,
        "status": "done",
        "labels": labels(loss=cell.split("-")[1]),
        "measures": {"fd": Value(last=1.0 + seed, ema=None, floor=0.5, better="lower", unit="px")},
        "timing": {"step_ms": 2.0},
        "facts": {"steps": 10, "exclusive": True},
        "fingerprints": {"hardware": "h"},
    }
    Record(**values | changed).write(folder)
    return folder


HINGE, MINIMAX = "ring-hinge-000000000000", "ring-minimax-000000000002"


def test_records_have_a_row_for_each_trial_failed_or_not_and_each_skipped_cell(tmp_path):
    root = make(tmp_path / "run")
    commit(root, MINIMAX, 0, status="diverged", reason="nan", measures={"fd": Value(last=None)})
    commit(root, HINGE, 1)
    commit(root, HINGE, 0)
    results = Results(root)
    rows = results.records
    assert rows["status"].tolist() == ["done", "done", "skipped", "diverged"]
    assert rows["loss"].tolist() == ["hinge", "hinge", "wasserstein", "minimax"]
    assert rows["seed"].dtype == "Int64"
    assert rows["seed"].tolist() == [0, 1, pd.NA, 0]
    assert rows["fd"].dtype == float
    assert rows["fd"].tolist()[:2] == [1.0, 2.0]
    assert math.isnan(rows["fd"].iloc[3])
    assert rows["fd_ema"].isna().all()
    assert rows["fd_ema"].dtype == float
    assert rows.loc[2, "reason"] == "no bound on the critic"
    assert results.measures == {"fd": ("lower", "px")}
    assert results.counts == {"done": 2, "diverged": 1, "skipped": 1, "missing": 1}
    assert results.missing == 1
    assert results.settings == {"steps": 10}


def test_trials_of_another_plan_are_only_in_all_records(tmp_path):
    root = make(tmp_path / "run")
    commit(root, HINGE, 0)
    commit(root, HINGE, 9)
    commit(root, "ring-old-00000000dead", 0)
    (root / "trials" / HINGE / "seed-0.old").mkdir()
    results = Results(root)
    assert results.records["seed"].dropna().tolist() == [0]
    everything = results.all_records
    assert everything["planned"].tolist() == [True, True, False, False]
    assert set(everything.loc[~everything["planned"], "cell"]) == {HINGE, "ring-old-00000000dead"}


def test_a_run_without_results_has_an_empty_frame_with_the_columns_of_one(tmp_path):
    results = Results(make(tmp_path / "run", skip=()))
    assert len(results.records) == 0
    assert {"cell", "seed", "status", *ROLES} <= set(results.records.columns)
    assert len(results.all_records) == 0
    assert results.missing == 6
    assert list(results.curves.columns) == ["cell", "seed", *ROLES, "step"]
    assert results.table().empty
    (table,) = results.tables()
    assert table.rows == ()
    assert table.footers == ("Not run yet: 6 of 6 trials.",)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cell": "x"}', '{"measures": 3}', "\x00"])
def test_an_unreadable_result_is_an_error_row_and_the_others_are_read(tmp_path, text):
    root = make(tmp_path / "run")
    commit(root, HINGE, 0)
    (commit(root, HINGE, 1) / "result.json").write_text(text)
    results = Results(root)
    bad = results.records.query("status == 'error'")
    assert bad["seed"].tolist() == [1]
    assert bad["loss"].tolist() == ["hinge"]
    assert "unreadable result" in bad["reason"].iloc[0]
    assert "result.json" in bad["reason"].iloc[0]
    assert results.counts["done"] == 1


def test_curves_are_tidy_and_a_torn_line_is_left_out(tmp_path):
    root = make(tmp_path / "run")
    folder = commit(root, HINGE, 1)
    append_line(folder / "curves.jsonl", {"step": 5, "fd": 3.0})
    append_line(folder / "curves.jsonl", {"step": 10, "fd": None})
    with (folder / "curves.jsonl").open("a") as file:
        file.write('{"step": 15, "f')
    curves = Results(root).curves
    assert curves["step"].tolist() == [5, 10]
    assert curves["seed"].tolist() == [1, 1]
    assert curves["cell"].unique().tolist() == [HINGE]


def test_a_table_is_a_frame_with_intervals_and_counts_and_names_what_it_does_not_know(tmp_path):
    root = make(tmp_path / "run")
    for seed, fd in ((0, 1.0), (1, 2.0)):
        commit(root, HINGE, seed, measures={"fd": Value(last=fd, better="lower", unit="px")})
    results = Results(root)
    table = results.table(measures=["fd"])
    assert isinstance(table, pd.DataFrame)
    hinge = table.set_index("loss").loc["hinge"]
    assert (hinge["fd"], hinge["fd_n"], hinge["ok"], hinge["total"]) == (pytest.approx(2**0.5), 2, 2, 2)
    assert hinge["fd_low"] < 2**0.5 < hinge["fd_high"]
    skipped = table[table["failures"] == "skipped"]
    assert skipped["note"].tolist() == ["no bound on the critic"]
    for wrong in ({"by": ["los"]}, {"measures": ["df"]}, {"baseline": "loss=hing"}, {"pareto": "df"}):
        with pytest.raises(ResultsError, match=r"did you mean|known"):
            results.table(**wrong)


def test_load_takes_a_name_or_a_path(tmp_path, monkeypatch):
    root = make(tmp_path / "results" / "digits-grid")
    monkeypatch.chdir(tmp_path)
    for run in ("digits-grid", root, str(root), "results/digits-grid"):
        assert load(run).path.resolve() == root
    assert ganbench.load("digits-grid").name == "digits-grid"


def test_load_teaches_the_nearest_name(tmp_path):
    make(tmp_path / "digits-grid")
    with pytest.raises(ResultsError, match="no run 'digit-grid'; did you mean 'digits-grid'"):
        load("digit-grid", tmp_path)
    with pytest.raises(ResultsError, match="ganbench run --grid"):
        load("x", tmp_path / "nothing")


def test_load_says_when_a_folder_is_not_a_run(tmp_path):
    (tmp_path / "thing").mkdir()
    with pytest.raises(ResultsError, match=r"not the folder of a run: it has no run\.json"):
        load("thing", tmp_path)
    for text in ("{}", '{"cells": 3}', '{"cells": [3]}', '{"cells": [{"cell": "x"}]}'):
        (tmp_path / "thing" / "run.json").write_text(text)
        with pytest.raises(ResultsError, match="not the plan of a run"):
            load("thing", tmp_path)


def test_reading_and_tabulating_never_import_torch_or_scipy_stats(tmp_path):
    root = make(tmp_path / "run")
    commit(root, HINGE, 0)
    commit(root, HINGE, 1)
    code = f"""
import json, sys
from ganbench.results import load
from ganbench.render import render
print(render(load({str(root)!r}).tables(), "rich", width=80, color=False), file=sys.stderr)
print(json.dumps([m for m in ("torch", "scipy.stats") if m in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_measure_may_be_called_precision_and_old_records_had_a_fact_of_that_name(tmp_path):
    run = making.make_run(tmp_path / "run", {"hinge": None})
    measures = {"precision": Value(last=0.75, better="higher")}
    making.add_trial(run, "hinge", 0, measures=measures, facts={"steps": 10, "precision": "float32"})
    making.add_trial(run, "hinge", 1, measures=measures, facts={"steps": 10, "arithmetic": "float32"})
    results = Results(run)
    assert results.records["precision"].tolist() == [0.75, 0.75]
    assert results.records["arithmetic"].tolist() == ["float32"] * 2
    (table,) = results.tables()
    assert table.rows[0].entries["precision"].mean == 0.75
    assert "float32" in " ".join(table.footers)
