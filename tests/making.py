"""A run's folder as training leaves it, made by hand: for tests of what reads one."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganbench.component import digest
from ganbench.observers import Silent
from ganbench.records import ROLES, Record, Value, write_json

STEPS = 10
SMALL: dict[str, Any] = {
    "run": {"name": "small", "seeds": 2, "steps": 20, "batch": 8, "samples": 64, "evaluations": 2},
    "grid": {
        "dataset": "ring",
        "generator": {"use": "mlp", "width": 8, "latent": 4},
        "discriminator": {"use": "mlp", "width": 8},
        "loss": "non-saturating",
        "regularizer": ["none", "r1"],
        "metrics": ["sliced-wasserstein"],
    },
}


class Heard(Silent):
    """A display that keeps what it is told in words."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def toml(grid: dict[str, dict[str, object]]) -> str:
    """The grid as a file; JSON values are TOML values but for tables, which are inline here."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in item.items()) + " }"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        return json.dumps(item)

    tables = [f"[{name}]\n" + "\n".join(f"{k} = {value(v)}" for k, v in table.items()) for name, table in grid.items()]
    return "\n\n".join(tables)


def labels(**changed: str) -> dict[str, str]:
    return dict.fromkeys(ROLES, "x") | {"dataset": "ring", "regularizer": "none"} | changed


def spec(loss: str) -> dict[str, Any]:
    return {"loss": {"use": loss}, "steps": STEPS}


def cell_of(loss: str) -> str:
    return f"ring-{loss}-{digest(spec(loss), 12)}"


def make_run(folder: Path, losses: Mapping[str, str | None], seeds: tuple[int, ...] = (0, 1)) -> Path:
    """A run with a cell for each loss, which is skipped if it has a reason; no trial is on disk yet."""
    folder.mkdir(parents=True)
    cells = [
        {
            "cell": cell_of(loss),
            "id": digest(spec(loss), 12),
            "labels": labels(loss=loss),
            "skip": reason,
            "seeds": [] if reason else list(seeds),
            "steps": STEPS,
        }
        for loss, reason in losses.items()
    ]
    write_json(folder / "run.json", {"schema": 1, "name": folder.name, "cells": cells})
    write_json(folder / "environment.json", {"versions": {}})
    (folder / "grid.toml").write_text('[grid]\ndataset = "ring"\n')
    return folder


def trial_folder(run: Path, loss: str, seed: int) -> Path:
    folder = run / "trials" / cell_of(loss) / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def add_trial(run: Path, loss: str, seed: int, *, step: int = STEPS, **changed: Any) -> Path:
    """A trial with every file of a finished one; ``changed`` are fields of its record."""
    folder = trial_folder(run, loss, seed)
    (folder / "curves.jsonl").write_text("".join(json.dumps({"step": s}) + "\n" for s in (step // 2, step)))
    (folder / "samples.png").write_bytes(b"")
    (folder / "log.txt").write_text("")
    (folder / "checkpoint.safetensors").write_bytes(safetensors({"x": (0, 4)}, b"1234"))
    write_json(folder / "state.json", {"step": step})
    write_json(folder / "spec.json", {"spec": spec(loss), "seed": seed, "code": {}})
    values: dict[str, Any] = {
        "cell": cell_of(loss),
        "id": digest(spec(loss), 12),
        "seed": seed,
        "status": "done",
        "labels": labels(loss=loss),
        "measures": {"fd": Value(last=1.0, ema=0.5, better="lower")},
        "timing": {"step_ms": 2.0},
        "facts": {"steps": STEPS},
    }
    Record(**values | changed).write(folder)
    return folder


def safetensors(tensors: Mapping[str, tuple[int, int]], data: bytes) -> bytes:
    """The bytes of a safetensors file with bytes ``start`` to ``end`` of ``data`` as each tensor."""
    header = {name: {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for name, (a, b) in tensors.items()}
    text = json.dumps(header | {"__metadata__": {"step": "1"}}).encode()
    return struct.pack("<Q", len(text)) + text + data
