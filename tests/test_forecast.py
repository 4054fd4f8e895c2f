"""How long a plan takes: exactly what the phases of trials like its own add up to."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ganbench.forecast import CACHED, Cost, Expected, Forecast, forecast
from ganbench.grid import Grid
from ganbench.plan import make
from ganbench.records import Record, write_json
from ganbench.registry import Registry

PHASES = {"build": 1.0, "prepare": 2.0, "first_step": 4.0, "warm_up": 1.0, "train": 18.0, "look": 1.0, "evaluate": 6.0}
PHASES |= {"checkpoint": 0.5, "sample": 0.25, "record": 0.0, "other": 0.05}


def add(
    run: Path,
    cell: Any,
    phases: dict[str, float],
    *,
    seed: int = 0,
    steps: int = 104,
    windows: Any = (),
    started: str = "",
    wall: float = 0.0,
    **facts: Any,
) -> None:
    """A trial that took these seconds for ``steps`` steps, 4 of them in its first window, and 2 evaluations."""
    folder = run / "trials" / cell.name / f"seed-{seed}"
    folder.mkdir(parents=True)
    write_json(folder / "spec.json", {"spec": cell.spec, "seed": seed, "code": {}})
    write_json(folder / "state.json", {"step": steps, "warm_up": [[4, 4.0], [10, 1.0]], "windows": list(windows)})
    (folder / "curves.jsonl").write_text("".join(json.dumps({"step": s}) + "\n" for s in (steps // 2, steps)))
    timing = {f"phase_{name}_s": seconds for name, seconds in phases.items()} | {"wall_s": wall}
    about: dict[str, Any] = {"cell": cell.name, "id": cell.id, "seed": seed, "status": "done", "labels": cell.labels}
    Record(**about, timing=timing, facts=facts, started=started).write(folder)


def planned(small: dict[str, Any], folder: Path):
    grid = Grid.load(small)
    return make(grid, Registry.load(), folder), grid.settings


def test_a_cost_grows_with_steps_evaluations_and_checkpoints_and_with_nothing_else(small, tmp_path):
    plan, _ = planned(small, tmp_path / "small")
    cell = plan.combinations[0].cell
    add(tmp_path, cell, PHASES)
    folder = tmp_path / "trials" / cell.name / "seed-0"
    record = Record.read(folder)
    assert record is not None
    cost = Cost.of(record, folder)
    assert cost == Cost(each=3.25, first=4.0, once=0.05, step=0.2, evaluation=3.0, checkpoint=0.5)
    assert cost.total(1000, 5, 2) == pytest.approx(7.3 + 200 + 15 + 1)


def test_a_smoke_run_tells_what_every_cell_of_the_run_takes(small, tmp_path):
    small["run"] |= {"steps": 3_000, "timing": False, "evaluations": 4}
    plan, settings = planned(small, tmp_path / "small")
    none, r1 = (c.cell for c in plan.combinations)
    add(tmp_path / "small-smoke", none, PHASES)
    found = forecast(plan, settings, tmp_path / "small", workers=2)
    each = 7.3 + 0.2 * 3_000 + 3.0 * 4 + 0.5 * 3
    assert [job.cells for job in found.jobs] == [(none.name,), (r1.name,)]
    assert [job.seconds for job in found.jobs] == pytest.approx([2 * each, 2 * each])  # r1 is nearest to none
    assert [job.source for job in found.jobs] == ["the smoke run", "cells with the same networks, the smoke run"]
    assert found.makespan == pytest.approx(2 * each)
    assert found.busy == pytest.approx(4 * each)
    assert "40 min of process time" in found.text("g.toml") or "41 min of process time" in found.text("g.toml")


def test_trials_of_the_run_go_before_those_of_its_smoke_run_and_resumed_ones_tell_nothing(small, tmp_path):
    small["run"] |= {"timing": False}
    plan, settings = planned(small, tmp_path / "small")
    none = plan.combinations[0].cell
    add(tmp_path / "small-smoke", none, PHASES)
    add(tmp_path / "small", none, {name: seconds / 10 for name, seconds in PHASES.items()}, resumed=1)
    found = forecast(plan, settings, tmp_path / "small", workers=1)
    assert found.jobs[0].source == "the smoke run"


def test_what_nothing_is_known_of_is_said(small, tmp_path):
    plan, settings = planned(small, tmp_path / "small")
    found = forecast(plan, settings, tmp_path / "small", workers=2)
    assert found.makespan is None
    assert found.facts()["unknown_cells"] == [c.cell.name for c in plan.combinations]
    assert "--smoke" in found.text("g.toml")


def test_the_timing_pass_is_counted_where_it_will_be_made(small, tmp_path):
    for timing, steps, seconds in ((True, 20, 12.0), (False, 20, 0.0), ("auto", 100_000, 12.0)):
        small["run"] |= {"timing": timing, "steps": steps}
        plan, settings = planned(small, tmp_path / str(timing))
        add(tmp_path / f"{timing}-smoke", plan.combinations[0].cell, PHASES)
        found = forecast(plan, settings, tmp_path / str(timing), workers=2)
        assert found.timing == seconds  # two cells, and the baseline twice, of 3 s each


def test_processes_take_the_next_cell_as_soon_as_they_are_free():
    jobs = [Expected((name,), seconds) for name, seconds in (("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0))]
    assert Forecast(jobs, workers=2).makespan == 4.0  # a and d beside b and c
    assert Forecast(jobs[:1], workers=8).makespan == 3.0  # never less than the longest
    assert Forecast(jobs, workers=2, launch=1.5).makespan == 5.5


def test_the_pace_is_that_of_steady_windows_and_the_rest_of_the_warm_up_is_paid_once(small, tmp_path):
    plan, _ = planned(small, tmp_path / "small")
    cell = plan.combinations[0].cell
    add(tmp_path, cell, PHASES | {"warm_up": 3.0, "train": 9.0}, windows=[[50, 5.0], [40, 4.0]])
    folder = tmp_path / "trials" / cell.name / "seed-0"
    record = Record.read(folder)
    assert record is not None
    cost = Cost.of(record, folder)
    assert cost is not None
    assert cost.step == pytest.approx(0.1 + 1.0 / 100)
    assert cost.once == pytest.approx(0.05 + 3.0 - 10 * 0.1)


def test_seeds_that_train_together_share_their_process_and_the_last_record_has_all_of_it(small, tmp_path):
    small["run"] |= {"timing": False, "steps": 1_000, "evaluations": 4, "engine": "fused", "compile": True}
    plan, settings = planned(small, tmp_path / "small")
    none = plan.combinations[0].cell
    smoke = tmp_path / "small-smoke"
    for seed in (0, 1):  # the first record is written when only its own evaluation is done
        spent = {"evaluate": 3.0 * (seed + 1)}
        add(smoke, none, PHASES | spent, seed=seed, wall=sum(PHASES.values()) + seed, together=2, engine=none.engine)
    found = forecast(plan, settings, tmp_path / "small", workers=2)
    each = 3.25 + CACHED * 4.0 + 0.05 + 0.2 * 1_000 + 3.0 * 4 + 0.5
    assert found.jobs[0].seconds == pytest.approx(each)
    cost = Cost(each=1.0, first=4.0, once=1.0, step=0.2, evaluation=2.0, checkpoint=0.0, together=2)
    assert cost.total(100, 1, 0, trials=4) == pytest.approx(4 + 1 + 4 + 4 + 0.4 * 100)
    assert cost.total(100, 1, 0, trials=1) == pytest.approx(4 + 1 + 1 + 1 + 0.2 * 100)


def test_the_time_until_the_first_process_trains_is_that_of_the_smoke_run(small, tmp_path):
    small["run"] |= {"timing": False}
    plan, settings = planned(small, tmp_path / "small")
    smoke = tmp_path / "small-smoke"
    for age, launch in ((5, 5.0), (600, 0.0)):  # a file of another start says nothing
        add(smoke, plan.combinations[0].cell, PHASES, seed=age, started="2026-01-01T00:00:05+00:00")
        write_json(smoke / "environment.json", {})
        began = datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC).timestamp()
        os.utime(smoke / "environment.json", (began - age, began - age))
        assert forecast(plan, settings, tmp_path / "small", workers=2).launch == launch


RECORDED = json.loads(Path(__file__).with_name("forecasts.json").read_text())
"""What smoke runs of three grids recorded, and the seconds that each cell of the runs after them took.

Measured on a machine at other work, so the seconds are CPU time of one thread: 2,000 steps of two seeds (serial), 3,000
of eight seeds (fused and compiled), 600 with twelve evaluations by six metrics (many evaluations).
"""
GRIDS: dict[str, dict[str, Any]] = {
    "serial": {"seeds": 2, "steps": 2_000},
    "fused and compiled": {"seeds": 8, "steps": 3_000, "engine": "fused", "compile": True},
    "many evaluations": {"seeds": 2, "steps": 600, "batch": 32, "evaluations": 12, "samples": 599},
}


@pytest.mark.parametrize("name", GRIDS)
def test_what_a_smoke_run_predicts_is_within_a_quarter_of_what_the_run_took(name, tmp_path):
    run = {"name": "r", "engine": "serial", "compile": False, "timing": False} | GRIDS[name]
    axes: dict[str, Any] = dict.fromkeys(("generator", "discriminator"), "mlp")
    axes |= {"dataset": "digits" if name == "many evaluations" else "ring"}
    axes |= {"loss": ["non-saturating", "hinge"], "regularizer": ["none", "r1"]}
    if name == "fused and compiled":
        axes |= {role: {"use": "mlp", "width": 32} for role in ("generator", "discriminator")}
    plan, settings = planned({"run": run, "grid": axes}, tmp_path / "r")
    recorded = RECORDED[name]
    for combination in plan.combinations:
        cell = combination.cell
        seen = recorded["smoke"][f"{cell.loss.label} {cell.labels['regularizer']}"]
        folder = tmp_path / "r-smoke" / "trials" / cell.name / "seed-0"
        folder.mkdir(parents=True)
        write_json(folder / "spec.json", {"spec": cell.spec | {"steps": 2_000}, "seed": 0, "code": {}})
        write_json(folder / "state.json", {key: seen[key] for key in ("step", "warm_up", "windows")})
        (folder / "curves.jsonl").write_text("{}\n" * seen["evaluations"])
        timing = {f"phase_{phase}_s": seconds for phase, seconds in seen["phases"].items()} | {"wall_s": seen["wall"]}
        about: dict[str, Any] = {"cell": cell.name, "id": cell.id, "seed": 0, "status": "done", "labels": cell.labels}
        facts = {"together": seen["together"], "engine": cell.engine, "checkpoint_every": settings.checkpoint_every}
        Record(**about, timing=timing, facts=facts, started=cell.id).write(folder)
    found = forecast(plan, settings, tmp_path / "r", workers=1)
    assert found.sources == ["the smoke run"]
    assert found.busy == pytest.approx(sum(recorded["took"].values()), rel=0.25)
