"""Seeds that train together end as they do alone, fail alone where they can, and resume together."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ganbench.cell import Trial
from ganbench.cohort import run_trial
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench.timing import StepClock
from ganbench.training import Training

MEASURES = ["sw2", "sw2_ema", "sw2_floor"]


@pytest.fixture
def fused(small: dict[str, Any]) -> dict[str, Any]:
    small["run"] |= {"engine": "fused", "precision": "float64", "seeds": 3}
    return small


def measured(grid: dict[str, Any], folder: Path):
    frame = execute(Grid.load(grid), folder, Options(device="cpu")).results.records
    assert set(frame["status"]) == {"done"}, frame[["regularizer", "seed", "status", "reason"]]
    return frame.set_index(["regularizer", "update", "seed"]).sort_index()


def test_a_fused_run_measures_what_a_serial_run_measures(fused, tmp_path):
    fused["grid"]["regularizer"] = ["none", "r1", ["spectral-norm", {"use": "gradient-penalty", "every": 3}]]
    together = measured(fused, tmp_path / "fused")
    fused["run"]["engine"] = "serial"
    alone = measured(fused, tmp_path / "serial")
    assert (together[MEASURES] - alone[MEASURES]).abs().max().max() < 1e-9
    assert set(together["engine"]) == {"fused"}
    assert set(together["id"]).isdisjoint(alone["id"]), "the engine is part of a cell's identity"


def test_the_serial_step_of_a_fused_cell_is_timed_apart(fused, tmp_path):
    frame = measured(fused, tmp_path)
    assert (frame["step_ms"] > 0).all()
    assert (frame["fused_step_ms"] > 0).all()
    assert (frame["step_ms_n"] >= 3).all(), "the median of one window is what happened in it"
    assert frame.groupby("regularizer")["step_ms"].nunique().eq(1).all(), "one measurement for the seeds of a cell"


def test_the_serial_step_is_left_to_a_timing_pass_that_is_asked_for(fused, tmp_path):
    fused["run"] |= {"seeds": 2, "timing": True, "timing_seconds": 0.05}
    frame = measured(fused, tmp_path)
    assert "phase_timing_s" not in frame
    assert set(frame["timed"]) == {"apart"}
    assert (frame["step_ms"] > 0).all()
    assert (frame["fused_step_ms"] > 0).all()


def test_rules_that_derive_objectives_stack_too(fused, tmp_path):
    fused["grid"] |= {"update": ["consensus", "unrolled"], "regularizer": "none"}
    together = measured(fused, tmp_path / "fused")
    fused["run"]["engine"] = "serial"
    alone = measured(fused, tmp_path / "serial")
    assert (together[MEASURES] - alone[MEASURES]).abs().max().max() < 1e-9
    assert set(together["engine"]) == {"fused"}


def test_a_seed_that_diverges_leaves_the_others_in_training(fused, tmp_path, plugins):
    fused["run"] |= {"plugins": [str(plugins / "trouble.py")]}
    fused["grid"]["regularizer"] = "diverges-with-some-latents"
    outcome = execute(Grid.load(fused), tmp_path, Options(device="cpu"))
    assert outcome.exit_code == 3
    found = outcome.results.records.set_index("seed")["status"].to_dict()
    assert set(found.values()) == {"done", "diverged"}, found


@pytest.mark.parametrize(("trouble", "status"), [("crash", "crashed"), ("raises", "error"), ("hangs", "timeout")])
def test_what_breaks_a_step_is_a_row_for_every_seed(fused, tmp_path, plugins, trouble, status):
    fused["run"] |= {"plugins": [str(plugins / "trouble.py")], "timeout": "2s"}
    fused["grid"]["regularizer"] = trouble
    outcome = execute(Grid.load(fused), tmp_path, Options(device="cpu"))
    assert outcome.exit_code == 3
    assert outcome.results.records["status"].tolist() == [status] * 3


def test_a_cohort_resumes_from_checkpoints_to_the_same_numbers(fused, tmp_path):
    fused["run"] |= {"checkpoint_every": 5, "evaluations": 1}
    whole = measured(fused, tmp_path / "whole")
    fused["run"]["name"] = "parts"
    execute(Grid.load(fused), tmp_path, Options(device="cpu"))
    folder = tmp_path / "parts"
    for trial in folder.glob("trials/*/seed-*"):  # as an interrupt in step 20 leaves them
        record = json.loads((trial / "result.json").read_text())
        (trial / "result.json").write_text(json.dumps(record | {"status": "interrupted"}))
    again = measured(fused, tmp_path)
    assert (again[MEASURES] - whole[MEASURES]).abs().max().max() == 0
    assert set(again["resumed"]) == {1}


@pytest.mark.parametrize(("engine", "compiled"), [("serial", False), ("serial", True), ("fused", True)])
def test_the_engine_is_in_a_cells_specification(fused, engine, compiled):
    fused["run"] |= {"engine": engine, "compile": compiled}
    engines = {c.cell.spec["engine"] for c in Grid.load(fused).combinations(Registry.load())}
    assert engines == {engine + "+compiled" * compiled}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "serial"])
def test_a_compiled_run_measures_what_a_serial_run_measures(fused, tmp_path, engine):
    fused["run"] |= {"engine": engine, "compile": True}
    fused["grid"]["regularizer"] = {"use": "r1", "every": 2}
    together = measured(fused, tmp_path / "compiled")
    fused["run"] |= {"engine": "serial", "compile": False}
    alone = measured(fused, tmp_path / "serial")
    assert (together[MEASURES] - alone[MEASURES]).abs().max().max() < 1e-9
    assert set(together["engine"]) == {f"{engine}+compiled"}


def trial_of(small: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row of one trial that was trained in this process."""
    folder.mkdir()
    (cell, *_) = (c.cell for c in Grid.load(small).combinations(Registry.load()))
    return run_trial(Trial(cell, 0), folder, Training(evaluations=2, checkpoint_every=5), lambda *_: None).row()


def test_the_phases_of_a_trial_add_up_to_its_wall_time_and_a_hidden_sleep_is_caught(small, tmp_path, monkeypatch):
    row = trial_of(small, tmp_path / "plain")
    phases = {name: seconds for name, seconds in row.items() if name.startswith("phase_")}
    wanted = {"build", "prepare", "first_step", "warm_up", "look", "evaluate", "checkpoint", "sample"}
    assert {f"phase_{name}_s" for name in wanted} <= set(phases)
    assert sum(phases.values()) == pytest.approx(row["wall_s"], rel=0.02)
    assert row["accounted"]
    size = StepClock.size

    def slow(clock: StepClock) -> int:
        time.sleep(0.05)
        return size(clock)

    monkeypatch.setattr(StepClock, "size", slow)
    row = trial_of(small, tmp_path / "slow")
    assert row["phase_other_s"] > 0.05
    assert not row["accounted"]
