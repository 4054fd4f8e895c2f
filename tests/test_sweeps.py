"""A run whose cells differ in numbers: they train in one step, and each has its own record, fate and resume."""

from __future__ import annotations

import json
from typing import Any

import pytest
from making import Heard

from ganbench import views
from ganbench.forecast import forecast
from ganbench.grid import Grid
from ganbench.plan import make
from ganbench.records import read_json
from ganbench.registry import Registry
from ganbench.runner import Options, execute

MEASURES = ["sw2", "sw2_ema"]


@pytest.fixture
def swept(small: dict[str, Any]) -> dict[str, Any]:
    """Two families of three cells and two seeds."""
    small["run"] |= {"engine": "fused", "compile": False, "precision": "float64", "timing": True}
    small["run"] |= {"timing_seconds": 0.01, "checkpoint_every": 5}
    small["grid"] |= {
        "regularizer": ["none", "r1"],
        "optimizer": {"use": "adam", "lr_d": {"sweep": [1e-3, 1e-2, 1e200]}},
    }
    return small


def records(outcome: Any):
    return outcome.results.records.set_index(["regularizer", "optimizer", "seed"]).sort_index()


def test_a_sweep_ends_as_its_cells_do_alone_but_for_the_cell_that_diverges_and_resumes(swept, tmp_path):
    outcome = execute(Grid.load(swept), tmp_path / "fused", Options(device="cpu", workers=1))
    together = records(outcome)
    assert outcome.exit_code == 3
    assert len(together) == 12
    assert set(together["together"]) == {6}
    assert set(together["status"].xs("adam(lr_d=1e+200)", level="optimizer")) == {"diverged"}
    done = together[together["status"] == "done"]
    assert len(done) == 8
    logs = [p.read_text() for p in outcome.results.path.glob("trials/*/seed-*/log.txt") if "diverged" in p.read_text()]
    assert len(logs) == 4
    assert all("whose log is in" in log for log in logs)
    for path in outcome.results.path.glob("trials/*/seed-*"):
        record, spec = read_json(path / "result.json"), read_json(path / "spec.json")
        assert path.parent.name.endswith(record["id"])
        assert spec["seed"] == record["seed"]
    assert done["stack"].eq(6).all()

    swept["run"]["engine"] = "serial"
    swept["grid"]["optimizer"]["lr_d"]["sweep"].pop()
    alone = records(execute(Grid.load(swept), tmp_path / "serial", Options(device="cpu")))
    assert (done[MEASURES] - alone[MEASURES]).abs().max().max() < 1e-9

    folder = outcome.results.path  # one cell of a family is to go on, from step 20; its family is on disk
    swept["run"]["engine"] = "fused"
    wanted = {"regularizer": "none", "optimizer": "adam(lr_d=0.01)"}
    every = folder.glob("trials/*/seed-*/result.json")
    (cell,) = {p.parent.parent for p in every if wanted.items() <= read_json(p)["labels"].items()}
    for path in cell.glob("seed-*/result.json"):
        path.write_text(json.dumps(read_json(path) | {"status": "interrupted"}))
    again = execute(Grid.load(swept), tmp_path / "fused", Options(device="cpu"))
    assert [len(stack.trials) for stack in again.run.stacks] == [2]
    assert again.run.stacks[0].numbers == ("optimizer.lr_d",)
    resumed = records(again)
    assert (resumed.loc[done.index, MEASURES] - done[MEASURES]).abs().max().max() < 1e-12
    assert resumed["resumed"].sum() == 2


def test_a_family_that_falls_apart_says_why_once_and_trains(swept, tmp_path):
    swept["grid"] |= {"loss": {"use": "non-saturating", "smoothing": {"sweep": [0.0, 0.1, 0.2]}}, "regularizer": "none"}
    swept["grid"]["optimizer"]["lr_d"]["sweep"].pop()
    swept["run"]["stack"] = 7  # so that there are two of them, which are told of as one
    heard = Heard()
    found = records(execute(Grid.load(swept), tmp_path, Options(device="cpu"), heard))
    assert found["status"].eq("done").all()
    assert found["stack"].max() == 4
    (note,) = [n for n in heard.notes if "loss.smoothing" in n]
    assert note.startswith("loss.smoothing of non-saturating cannot vary within a step")


@pytest.mark.parametrize(("trouble", "status"), [("crash", "crashed"), ("raises", "error")])
def test_what_breaks_the_step_of_a_family_is_a_row_for_every_trial_of_it(swept, tmp_path, plugins, trouble, status):
    swept["run"] |= {"plugins": [str(plugins / "trouble.py")], "stack": 5, "seeds": 3}
    swept["grid"]["regularizer"] = trouble
    outcome = execute(Grid.load(swept), tmp_path, Options(device="cpu"))
    assert outcome.results.records["status"].tolist() == [status] * 9


def test_a_plan_says_how_many_stacks_there_are(swept, tmp_path, capsys):
    plan = make(Grid.load(swept), Registry.load(), tmp_path)
    views.print_plan(plan, plan.stacks(plan.to_run(), 2, 64))
    told = capsys.readouterr().out
    assert "6 cells x 2 seeds = 12 trials" in told
    assert "12 trials in 2 stacks, each of one training step" in told
    (first, _) = views.plan_facts(plan, plan.stacks(plan.to_run(), 2, 64))["stacks"]
    assert first["numbers"] == ["optimizer.lr_d"]
    assert (first["together"], first["trials"], len(first["cells"])) == (True, 6, 3)
    assert [len(job.cells) for job in forecast(plan, Grid.load(swept).settings, tmp_path, 2).jobs] == [3, 3]
    assert [len(s.trials) for s in plan.stacks(plan.to_run(), 1, 64)] == [6, 6]
    assert [len(s.trials) for s in plan.stacks(plan.to_run(), 1, 4)] == [3, 3, 3, 3]
    swept["run"]["engine"] = "serial"
    plan = make(Grid.load(swept), Registry.load(), tmp_path)
    assert [len(s.trials) for s in plan.stacks(plan.to_run(), 4, 64)] == [2] * 6
