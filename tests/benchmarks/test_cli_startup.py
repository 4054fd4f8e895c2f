"""How long the command line takes to answer, and what the harness costs beside training; nothing timed is asserted."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ganbench
from ganbench.records import ROLES, Record, Value

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


def ganbench_says(*words: str) -> str:
    command = [sys.executable, "-m", "ganbench.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_help_starts_up(benchmark: BenchmarkFixture, tell: Callable[[str], None]) -> None:
    text = benchmark.pedantic(ganbench_says, args=("--help",), rounds=15, warmup_rounds=2)
    assert "run a grid" in text
    if benchmark.stats is not None:
        tell(f"ganbench --help: {1e3 * benchmark.stats.stats.median:.0f} ms")


def test_a_table_of_a_thousand_trials(benchmark: BenchmarkFixture, tmp_path: Path, tell: Callable[[str], None]) -> None:
    folder = synthetic_run(tmp_path / "synthetic", cells=200, seeds=5)
    text = benchmark.pedantic(ganbench_says, args=("table", str(folder), "--format", "csv"), rounds=7, warmup_rounds=1)
    assert text.count("\n") >= 200
    if benchmark.stats is not None:
        tell(f"ganbench table, 1,000 trials: {1e3 * benchmark.stats.stats.median:.0f} ms")


def synthetic_run(folder: Path, *, cells: int, seeds: int) -> Path:
    """The folder of a run that never was: as many cells as coefficients, each with its seeds."""
    rng = random.Random(0)
    planned = []
    for i in range(cells):
        labels = dict.fromkeys(ROLES, "mlp") | {"dataset": "ring", "regularizer": f"r1(gamma={i})" if i else "none"}
        name = f"ring-mlp-mlp-mlp-r1-{i:012x}"
        planned.append({"cell": name, "id": f"{i:012x}", "labels": labels, "skip": None, "seeds": list(range(seeds))})
        for seed in range(seeds):
            record = Record(
                cell=name,
                id=f"{i:012x}",
                seed=seed,
                status="done",
                labels=labels,
                measures={
                    m: Value(last=rng.random(), ema=rng.random(), floor=0.1, better="lower")
                    for m in ("sw2", "rkl", "hq")
                },
                timing={"step_ms": 1 + rng.random(), "step_ms_n": 20.0, "train_s": 9.0, "wall_s": 10.0},
                cost={"params_g": 1e4, "params_d": 1e4, "peak_mib": 400.0},
                facts={"steps": 5000, "batch": 64, "samples": 2500, "exclusive": True, "n": 2500},
                fingerprints={"code": "c", "environment": "e", "hardware": "h"},
            )
            place = folder / "trials" / name / f"seed-{seed}"
            place.mkdir(parents=True)
            (place / "result.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"schema": 1, "name": "synthetic", "cells": planned}), encoding="utf-8")
    return folder


def test_what_the_harness_costs_a_cell(
    benchmark: BenchmarkFixture, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    cells = 10 if benchmark.enabled else 2
    rounds = iter(range(100))

    def run() -> dict[str, float]:
        results = ganbench.run(tiny_grid(cells), results=tmp_path / str(next(rounds)), device="cpu", workers=1)
        records = results.records
        assert list(records["status"]) == ["done"] * cells
        return {name: float(records[name].sum()) for name in ("train_s", "eval_s", "wall_s")}

    inside: list[dict[str, float]] = []
    # the first run starts the server that processes are forked from
    benchmark.pedantic(lambda: inside.append(run()), rounds=5, warmup_rounds=1)
    if benchmark.stats is None:
        return
    cell_ms = 1e3 * benchmark.stats.stats.median / cells
    trained = [1e3 * (r["train_s"] + r["eval_s"]) / cells for r in inside]
    trial = [1e3 * r["wall_s"] / cells for r in inside]
    benchmark.extra_info |= {
        "cells": cells,
        "cell_ms": round(cell_ms, 1),
        "of_which_trial_ms": round(statistics.median(trial), 1),
        "of_which_training_and_evaluation_ms": round(statistics.median(trained), 1),
    }
    tell(
        "a cell of one step: {cell_ms} ms, of which {of_which_trial_ms} ms in its trial".format(**benchmark.extra_info)
    )


def tiny_grid(cells: int) -> dict[str, Any]:
    """Cells that train for one step: what is left is the harness."""
    return {
        "run": {"name": "tiny", "seeds": 1, "steps": 1, "samples": 16, "evaluations": 1},
        "grid": {
            "dataset": "dirac",
            "generator": "dirac",
            "discriminator": {"use": "dirac", "start": {"sweep": [float(i) for i in range(cells)]}},
            "loss": "wasserstein",
        },
    }
