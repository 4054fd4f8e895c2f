"""Whole runs on a GPU by the command line: train, measure, time, be killed, run out of memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from making import toml
from safetensors.torch import load_file

from ganbench import environment
from ganbench.component import Component
from ganbench.errors import ConfigError
from ganbench.evaluation import Bench
from ganbench.grid import Cell, Grid, Trial
from ganbench.records import Record
from ganbench.registry import Registry
from ganbench.results import Results
from ganbench.samples import Samples
from ganbench.steptimes import AGAIN, BASELINE, StepTimes
from ganbench.training import Trainer, Training

pytestmark = pytest.mark.gpu

REGISTRY = Registry.load()
METRICS = ["sliced-wasserstein", "frechet-distance", "mmd", "kid", "precision-recall", "density-coverage", "prd"]
IMAGES = {
    "dataset": "digits",
    "generator": {"use": "dcgan", "width": 4, "latent": 4},
    "discriminator": {"use": "dcgan", "width": 4},
}


def ganbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ganbench.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run(grid: dict[str, Any], folder: Path, device: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "g.toml").write_text(toml(grid))
    return ganbench(folder, "run", "--grid", "g.toml", "--device", device, *more)


def records(folder: Path, name: str = "small") -> dict[tuple[str, str, int], Record]:
    found = [Record.read(p.parent) for p in (folder / "results" / name).glob("trials/*/*/result.json")]
    return {(r.labels["loss"], r.labels["regularizer"], r.seed): r for r in found if r is not None}


def logs(folder: Path) -> str:
    """What processes printed, for the message of a test that failed."""
    return "\n".join(f"{p}:\n{p.read_text()[-2000:]}" for p in folder.glob("results/*/trials/*/*/log.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("axes", [{}, IMAGES], ids=["mlp", "dcgan"])
@pytest.mark.parametrize("engine", ["serial", "fused"])
def test_a_grid_trains_side_by_side_is_measured_and_tabled(
    engine: str, axes: dict[str, Any], device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    small["run"] |= {"engine": engine, "compile": False, "timing": False}
    small["grid"] |= axes | {"loss": ["hinge", "non-saturating"], "metrics": METRICS}
    done = run(small, tmp_path, device, "--workers", "3")
    found = records(tmp_path)
    assert done.returncode == 0, f"{done.stderr}\n{[r.reason for r in found.values()]}\n{logs(tmp_path)}"
    assert len(found) == 8
    assert {r.status for r in found.values()} == {"done"}
    for record in found.values():
        assert record.facts["device"] == device
        assert record.facts["engine"] == engine
        assert record.cost["peak_mib"] > 0
        assert record.timing["step_ms"] > 0
        assert record.facts["accounted"], record.timing
        assert all(math.isfinite(v.last) for v in record.measures.values() if v.last is not None)
        assert record.fingerprints["hardware"] == environment.fingerprints(device)["hardware"]
    facts = json.loads((tmp_path / "results" / "small" / "environment.json").read_text())
    if device.startswith("cuda"):
        assert facts["gpus"][0]["name"] == torch.cuda.get_device_name()
        assert facts["cuda"] == torch.version.cuda
    told = "".join(log.read_text() for log in tmp_path.glob("results/small/trials/*/*/log.txt"))
    assert told == "", "nothing warns and nothing falls back"
    table = ganbench(tmp_path, "table", "small")
    assert table.returncode == 0, table.stderr
    assert "hinge" in table.stdout
    again = run(small, tmp_path, device)
    assert again.returncode == 0, again.stderr
    assert records(tmp_path) == found, "the same command again trains nothing"


@pytest.mark.slow
def test_an_engine_is_chosen_by_measurement(device: str, small: dict[str, Any], tmp_path: Path) -> None:
    small["run"] |= {"engine": "auto", "steps": 3_000, "evaluations": 1, "timing": False}
    done = run(small, tmp_path, device)
    found = records(tmp_path)
    assert done.returncode == 0, f"{done.stderr}\n{logs(tmp_path)}"
    assert {r.status for r in found.values()} == {"done"}
    engines = {r.facts["engine"] for r in found.values()}
    assert len(engines) == 1, "cells that are compared share an engine"
    if device.startswith("cuda"):
        assert engines != {"serial"}, f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "fused"])
def test_a_run_that_is_killed_goes_on_and_ends_as_one_that_is_not(
    engine: str, device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    small["run"] |= {"engine": engine, "compile": False, "timing": False, "seeds": 1, "steps": 2_000}
    small["run"] |= {"checkpoint_every": 50, "evaluations": 1}
    small["grid"]["regularizer"] = "r1"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    done = run(small, whole, device)
    assert done.returncode == 0, f"{done.stderr}\n{logs(whole)}"
    (killed / "g.toml").write_text(toml(small))
    command = [sys.executable, "-m", "ganbench.cli", "run", "--grid", "g.toml", "--device", device]
    with subprocess.Popen(command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(killed.glob("results/*/trials/*/*/state.json")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    resumed = run(small, killed, device)
    assert resumed.returncode == 0, f"{resumed.stderr}\n{logs(killed)}"
    (record,) = records(killed).values()
    assert record.facts["resumed"] == 1
    ((one,), (other,)) = (list(f.glob("results/*/trials/*/*/checkpoint.safetensors")) for f in (killed, whole))
    found, expected = load_file(one), load_file(other)
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["serial", "fused"])
def test_a_trial_without_memory_is_a_row_and_the_others_go_on(
    engine: str, cuda: torch.device, small: dict[str, Any], tmp_path: Path, plugins: Path
) -> None:
    small["run"] |= {"engine": engine, "compile": False, "timing": False, "plugins": [str(plugins / "greedy.py")]}
    small["grid"]["regularizer"] = ["greedy", "none"]
    done = run(small, tmp_path, str(cuda))
    assert done.returncode == 3, f"{done.stderr}\n{logs(tmp_path)}"
    found = {(regularizer, seed): record for (_, regularizer, seed), record in records(tmp_path).items()}
    told = {key: (record.status, record.reason) for key, record in found.items()}
    assert {key: status for key, (status, _) in told.items()} == {
        (r, seed): status for r, status in (("greedy", "oom"), ("none", "done")) for seed in (0, 1)
    }, told
    assert "out of memory" in found["greedy", 0].reason


@pytest.mark.slow
def test_step_times_are_measured_apart(device: str, small: dict[str, Any], tmp_path: Path) -> None:
    small["run"] |= {"engine": "fused", "compile": False, "timing": True, "timing_seconds": 0.5, "seeds": 1}
    small["grid"]["regularizer"] = ["none", "r1", {"use": "r1", "every": 4}]
    done = run(small, tmp_path, device)
    assert done.returncode == 0, f"{done.stderr}\n{logs(tmp_path)}"
    folder = tmp_path / "results" / "small"
    check_times(folder, device, "serial")
    frame = Results(folder).records
    assert set(frame["timed"]) == {"apart"}
    assert (frame["step_ms"] > 0).all()
    table = ganbench(tmp_path, "table", "small")
    assert "noise floor" in table.stdout, table.stdout + table.stderr
    compiled = ganbench(tmp_path, "time", "small", "--device", device, "--seconds", "0.5", "--compiled")
    assert compiled.returncode == 0, compiled.stderr
    check_times(folder, device, "compiled")


def check_times(folder: Path, device: str, mode: str) -> None:
    (file,) = (folder / "timing").glob(f"*-{mode}.json")
    content = json.loads(file.read_text())
    assert content["device"] == device
    timed = [content[BASELINE], content[AGAIN], *content["cells"].values()]
    for cell in timed:
        assert "error" not in cell, cell
        assert min(cell["rounds"]) > 0
        assert 0 < cell["summary"]["step_ms_p5"] <= cell["summary"]["step_ms_p99"]
        assert cell["first_s"] > 0
        assert cell["warm_up_s"] > 0
    if device.startswith("cuda"):
        assert all(state["name"] for state in content["gpu"] or ())  # there is no nvidia-smi everywhere
        assert all(cell["step_mib"] > 0 and cell["warm_up_mib"] > 0 for cell in timed)
    if mode == "serial":
        times = StepTimes.read(folder)
        (floor,) = times.floors(times.blocks)
        assert floor > 0


# -- measures -----------------------------------------------------------------------------------------------------


def metrics() -> list[type[Component]]:
    zoo = [c for *_, c in REGISTRY.components() if c.role == "metric" and "ganbench_zoo" in c.__module__]
    return [c for c in zoo if c.name != "stacked-modes"]  # of digits that have to be downloaded


DATA: list[dict[str, Any]] = [
    {"dataset": "ring"},
    {"dataset": "digits"},
    {"dataset": "digits", "extractor": "classifier"},
]


def measured(cls: type[Component], small: dict[str, Any]) -> Cell | None:
    for data in DATA:
        table = {"use": cls.name} | {k: v for k, v in data.items() if k == "extractor"}
        grid = small["grid"] | {"dataset": data["dataset"], "regularizer": "none", "metrics": [table]}
        try:
            (combination,) = Grid.load(
                {"run": small["run"] | {"samples": 128, "engine": "serial"}, "grid": grid}
            ).combinations(REGISTRY)
        except ConfigError:
            continue
        if combination.skip is None and combination.cell.metrics:
            return combination.cell
    return None


@pytest.mark.parametrize("cls", metrics(), ids=lambda cls: cls.name)
def test_a_metric_measures_on_a_gpu_what_it_measures_on_a_cpu(
    cls: type[Component], device: str, small: dict[str, Any], tmp_path: Path
) -> None:
    cell = measured(cls, small)
    assert cell is not None, f"no cell fits {cls.title()}"
    trainer = Trainer(Trial(cell, 0), tmp_path, Training("cpu"), lambda *_: None)
    trainer.advance(20)
    found = []
    for place in ("cpu", device):
        bench = Bench.prepare(cell.dataset, cell.metrics, n=cell.samples, seed=0, device=torch.device(place))
        trainer.bench = bench
        drawn = trainer.generated("last")
        samples = Samples(drawn.x.to(place), None if drawn.y is None else drawn.y.to(place))
        found.append(dict(bench.measure(samples)))
    assert found[0].keys() == found[1].keys()
    assert found[0]
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name
