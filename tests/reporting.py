"""A run for tests of what reads whole runs: any grid of losses and regularizers, with values that are told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from ganbench.records import ROLES, Record, Value, write_json

FACTS = {
    "steps": 10,
    "batch": 8,
    "samples": 64,
    "arithmetic": "float32",
    "engine": "serial",
    "device": "cpu",
    "exclusive": True,
}


def png(side: int = 16, seed: int = 0) -> bytes:
    """A picture of noise, which does not compress."""
    import numpy as np

    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def make(
    folder: Path,
    *,
    losses: Sequence[str] = ("hinge", "minimax"),
    regularizers: Sequence[str] = ("none", "r1"),
    seeds: int = 3,
    fd: Callable[[str, str, int], float | None] = lambda _loss, _regularizer, seed: 1.0 + seed,
    skip: Callable[[str, str], str | None] = lambda _loss, _regularizer: None,
    picture: bytes | None = None,
    reason: str | Callable[[float | None, int], str] = "d_loss is nan at step 7",
    **changed: Any,
) -> Path:
    """Cells of each loss with each regularizer; a trial whose ``fd`` is None has diverged."""
    folder.mkdir(parents=True)
    cells = []
    for i, loss in enumerate(losses):
        for j, regularizer in enumerate(regularizers):
            labels = dict.fromkeys(ROLES, "x") | {"dataset": "ring", "loss": loss, "regularizer": regularizer}
            id_ = f"{i:06x}{j:06x}"
            why = skip(loss, regularizer)
            of = [] if why else list(range(seeds))
            cells.append({"cell": f"ring-{id_}", "id": id_, "labels": labels, "skip": why, "seeds": of, "steps": 10})
            for seed in of:
                trial = folder / "trials" / f"ring-{id_}" / f"seed-{seed}"
                trial.mkdir(parents=True)
                value = fd(loss, regularizer, seed)
                done = value is not None
                lines = (
                    [{"step": step, "train_s": step * (1 + j) / 10, "fd": value * 10 / step} for step in (5, 10)]
                    if value is not None
                    else []
                )
                (trial / "curves.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
                (trial / "log.txt").write_text("" if done else "first\n" * 30 + "the <last> line\x1b[0m\n")
                if picture is not None and done:
                    (trial / "samples.png").write_bytes(picture)
                values: dict[str, Any] = {
                    "cell": f"ring-{id_}",
                    "id": id_,
                    "seed": seed,
                    "status": "done" if done else "diverged",
                    "labels": labels,
                    "reason": "" if done else reason(value, seed) if callable(reason) else reason,
                    "measures": {"fd": Value(last=value, ema=value, floor=0.5, better="lower")} if done else {},
                    "timing": {"step_ms": (1 + j) * (1 + 0.01 * seed)} if done else {},
                    "facts": FACTS,
                }
                values |= {k: v(value, seed) if callable(v) else v for k, v in changed.items()}
                # without the fsync of Record.write, which a thousand trials would wait for
                text = json.dumps(asdict(Record(**values)))
                (trial / "result.json").write_text(text, encoding="utf-8")
    write_json(folder / "run.json", {"schema": 1, "name": folder.name, "cells": cells})
    environment = {"versions": {"ganbench": "9.8.7", "torch": "2.0"}, "git": {"commit": "0a1b2c", "dirty": True}}
    write_json(folder / "environment.json", environment)
    (folder / "grid.toml").write_text('# as it was\n[run]\nseeds = 3\n\n[grid]\ndataset = "ring"\n')
    return folder
