"""The notebook in docs: its code runs, and what stands in it was printed by that code, on no machine in particular."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.axes import Axes

NOTEBOOK = Path(__file__).parent.parent / "docs" / "study.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    return [c for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def test_the_code_of_the_notebook_runs_and_gives_frames_and_axes(cells, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names: dict[str, Any] = {}
    for cell in cells:
        code = "".join(cell["source"])
        for key, value in {"seeds": 1, "steps": 20, "samples": 64, "evaluations": 2}.items():  # so that it is quick
            code = re.sub(rf'"{key}": \d+', f'"{key}": {value}', code)
        exec(compile(code, str(NOTEBOOK), "exec"), names)  # noqa: S102 # it is ours
    results = names["results"]
    assert results.counts == {"done": 4}
    for frame in (results.records, results.table(), results.compare(), results.curves):
        assert isinstance(frame, pd.DataFrame)
        assert len(frame)
    assert isinstance(names["ax"], Axes)
    assert len(names["ax"].get_lines()) == 4
    assert "did you mean 'sw2'" in capsys.readouterr().out


def test_the_notebook_is_executed_in_order_and_small(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [output["output_type"] for cell in cells for output in cell["outputs"]]
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/", text)


def test_plot_refuses_what_is_no_measure_role_or_data_set(cells, tmp_path, monkeypatch):
    import making

    from ganbench.errors import ResultsError
    from ganbench.results import Results

    run = making.make_run(tmp_path / "run", {"hinge": None})
    making.add_trial(run, "hinge", 0)
    results = Results(run)
    for wrong in ({"measure": "loss"}, {"measure": "seed"}):
        with pytest.raises(ResultsError, match="no curve of"):
            results.plot(**wrong)
    with pytest.raises(ResultsError, match="no role 'los'; did you mean 'loss'"):
        results.plot("fd", by=["los"])
