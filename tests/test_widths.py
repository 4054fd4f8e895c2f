"""Stacks that run out of memory go on narrower, from what is on disk, down to trials that fail alone."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from making import Heard

from ganbench import driver, processes, widths
from ganbench.grid import Grid
from ganbench.runner import Options, Outcome, execute
from ganbench.widths import Width

MEASURES = ["sw2", "sw2_ema"]
LACK = "CUDA out of memory. Tried to allocate 1 EiB."


@pytest.fixture
def crowded(small: dict[str, Any], plugins: Path) -> dict[str, Any]:
    """One cell of five seeds, of which two may share a step."""
    small["run"] |= {"engine": "fused", "compile": False, "precision": "float64", "seeds": 5, "timing": False}
    small["run"] |= {"plugins": [str(plugins / "trouble.py")], "checkpoint_every": 5, "evaluations": 1}
    small["grid"]["regularizer"] = {"use": "crowded", "room": 2}
    return small


def run(grid: dict[str, Any], folder: Path, workers: int = 1) -> tuple[Outcome, Heard]:
    heard = Heard()
    return execute(Grid.load(grid), folder, Options(device="cpu", workers=workers), heard), heard


def rows(outcome: Outcome) -> pd.DataFrame:
    return outcome.results.records.set_index("seed").sort_index()


def alone(grid: dict[str, Any], folder: Path) -> pd.DataFrame:
    """What the trials measure that have room from the beginning."""
    serial = grid | {"run": grid["run"] | {"engine": "serial"}}
    return rows(run(serial, folder)[0])


def test_a_stack_that_runs_out_of_memory_is_cut_until_it_fits_and_the_run_remembers(crowded, tmp_path, monkeypatch):
    hooks: list[str] = []
    monkeypatch.setattr(driver, "call_observers", lambda registry, name, *_: hooks.append(name))
    outcome, heard = run(crowded, tmp_path / "fused")
    counts = Counter(hooks)
    assert counts["ganbench_trial_started"] == counts["ganbench_trial_finished"] == 5, "nobody is told of it twice"
    found = rows(outcome)
    assert outcome.exit_code == 0
    assert found["status"].eq("done").all()
    assert sorted(found["stack"]) == [1, 2, 2, 2, 2]
    assert (found["stack"] == found["together"]).all()
    assert (found[MEASURES] - alone(crowded, tmp_path / "serial")[MEASURES]).abs().max().max() < 1e-9
    told = [note for note in heard.notes if "ran out of memory" in note]
    about = "ring, mlp(latent=4, width=8), non-saturating, crowded"
    assert told == [
        f"{about}: 5 trials in one step ran out of memory ({LACK}): 3 trials at a time from now on",
        f"{about}: 3 trials in one step ran out of memory ({LACK}): 2 trials at a time from now on",
    ]
    (known,) = widths.read(outcome.results.path).values()
    assert known == Width(2, about, {"5": LACK, "3": LACK})

    crowded["run"]["seeds"] = 9  # of the others of its kind, none is tried in a step that is too wide
    again, heard = run(crowded, tmp_path / "fused")
    assert f"{about}: at most 2 trials in one step: 5, 3 ran out of memory" in heard.notes
    assert not [note for note in heard.notes if "ran out of memory (" in note]
    assert rows(again)["status"].eq("done").all()


def test_only_a_trial_that_fails_alone_is_out_of_memory(crowded, tmp_path):
    crowded["run"]["seeds"] = 3
    crowded["grid"]["regularizer"]["room"] = 0
    outcome, heard = run(crowded, tmp_path)
    found = rows(outcome)
    assert found["status"].tolist() == ["oom"] * 3
    assert found["reason"].tolist() == [LACK] * 3
    assert found["together"].tolist() == [1] * 3
    assert len([note for note in heard.notes if "ran out of memory" in note]) == 2
    assert outcome.exit_code == 3


@pytest.mark.parametrize("trouble", ["crowded", "killed"])
def test_a_narrower_stack_goes_on_from_the_checkpoints(crowded, tmp_path, monkeypatch, trouble):
    counter = itertools.count()  # the system's, of processes killed for want of memory
    monkeypatch.setattr(driver, "kills", counter.__next__)
    monkeypatch.setattr(processes, "kills", counter.__next__)
    crowded["run"]["seeds"] = 4
    crowded["grid"]["regularizer"] = {"use": trouble, "room": 2, "calls": 4 * 2 * 8}  # in the eighth step of four
    outcome, heard = run(crowded, tmp_path / "fused")
    found = rows(outcome)
    assert found["status"].eq("done").all()
    assert found["resumed"].eq(1).all(), "from step 5, and not from the beginning"
    assert found["stack"].eq(2).all()
    assert (found[MEASURES] - alone(crowded, tmp_path / "serial")[MEASURES]).abs().max().max() < 1e-9
    assert len([note for note in heard.notes if "4 trials in one step ran out of memory" in note]) == 1


@pytest.mark.slow
def test_a_sweep_that_was_cut_and_killed_goes_on_in_the_width_that_worked(crowded, tmp_path):
    crowded["run"] |= {"steps": 600, "seeds": 2, "name": "killed", "checkpoint_every": 50}
    crowded["grid"]["optimizer"] = {"use": "adam", "lr_d": {"sweep": [1e-3, 1e-2]}}
    folder = tmp_path / "killed"
    (tmp_path / "g.json").write_text(json.dumps(crowded))
    code = "import json, ganbench; ganbench.run(json.load(open('g.json')), results='.', device='cpu', workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(folder.glob("trials/*/*/checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert widths.read(folder), "kept before the narrower stacks began"
    assert not list(folder.glob("trials/*/*/result.json"))
    outcome, heard = run(crowded, tmp_path)
    found = rows(outcome)
    assert found["status"].eq("done").all()
    assert found["stack"].eq(2).all()
    assert found["resumed"].max() == 1
    assert not [note for note in heard.notes if "ran out of memory (" in note]
    assert len(found) == 4


def test_who_kills_a_process_matters(crowded, tmp_path, monkeypatch):
    crowded["grid"]["regularizer"] = {"use": "killed", "room": 0}
    crowded["run"]["seeds"] = 2
    monkeypatch.setattr(driver, "kills", lambda: 3)
    monkeypatch.setattr(processes, "kills", lambda: 3)
    outcome, _ = run(crowded, tmp_path / "somebody")
    assert rows(outcome)["status"].tolist() == ["crashed"] * 2
    assert not widths.read(outcome.results.path)
    counter = itertools.count()
    monkeypatch.setattr(driver, "kills", counter.__next__)
    monkeypatch.setattr(processes, "kills", counter.__next__)
    assert rows(run(crowded, tmp_path / "system")[0])["status"].tolist() == ["oom"] * 2
