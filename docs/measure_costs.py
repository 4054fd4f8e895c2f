"""Measures what a step costs with each loss, regularizer and update rule, into docs/data/step_costs.json.

Run it as ``.venv/bin/python docs/measure_costs.py``, on a machine that does little else; ``--missing`` measures what
the file lacks or has with a wide interval, and keeps the rest. The reference pages show its numbers; nothing ever
compares them with the clock.

Each component, with its defaults, trains beside the same cell without it, in one process and on one thread, in short
windows in the order ABBA. A ratio is that of the two windows with it to the two without, so that what slows the
machine down for longer than a moment slows both; the file has the median of the ratios, and an interval that covers
the median with at least 95 %, from their order alone.
"""
# ruff: noqa: INP001 # a script, not a package

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import scipy.stats
import torch

from ganbench import Dataset, Sampler, Samples, SampleSpec
from ganbench.component import Component
from ganbench.environment import cores, cpu
from ganbench.errors import GanbenchError
from ganbench.grid import Cell, Trial
from ganbench.registry import Registry
from ganbench.timing import now, quantile
from ganbench.training import Trainer, Training

FILE = Path(__file__).parent / "data" / "step_costs.json"
ROLES = ("loss", "regularizer", "update")
BASELINES = {"loss": "non-saturating", "regularizer": "none", "update": "alternating"}
PROTOCOL = (
    "Median over ABBA quadruples of windows of (time with the component) / (time of the same cell without it), serial "
    "engine, float32, one CPU thread, both in one process; the interval covers the median with at least 95 %, by order "
    "statistics. Losses that ask for embeddings or energies are measured with the discriminator that returns them."
)
SHARED = (
    "other work ran on the machine, so that only paired ratios are kept; those with an interval wider than 0.18 of the "
    "ratio were measured once more"
)
WIDE = 0.18
"""Width of an interval, as a share of its ratio, from which it is measured anew."""
WARM, QUADRUPLES, WINDOW_S, LONGEST_S = 8, 31, 0.02, 12.0
"""Steps before the first window; quadruples; least length of a window; seconds after which no quadruple begins."""


class Noise(Dataset, name="cost-noise"):
    """Gaussian noise [3, 32, 32]: no time goes into data, and a step does not depend on what is in it."""

    def spec(self) -> SampleSpec:
        return SampleSpec(shape=(3, 32, 32))

    def load(self, split: Literal["train", "test"], rng: torch.Generator) -> Sampler:
        del split, rng
        return Normal()


class Normal:
    """An endless source of images of noise."""

    def sample(self, n: int, rng: torch.Generator) -> Samples:
        """``n`` images."""
        return Samples(torch.randn(n, 3, 32, 32, generator=rng).clamp(-1.0, 1.0))


CELLS: dict[str, dict[str, Any]] = {
    "mlp": {
        "about": "ring, mlp with two hidden layers of 128 units, batch 128",
        "dataset": "ring",
        "generator": {"width": 128, "depth": 2},
        "discriminator": {"width": 128, "depth": 2},
        "batch": 128,
    },
    "dcgan": {
        "about": "32x32 images in three colours, dcgan of width 16 (layer normalisation in the generator), batch 32",
        "dataset": Noise(),
        "generator": {"width": 16, "norm": "layer"},
        "discriminator": {"width": 16},
        "batch": 32,
    },
}


def made(registry: Registry, role: str, name: str, **fields: Any) -> Any:
    """The component ``name`` of ``role``; its class is known to the registry only."""
    return registry.create(role, name, **fields)


def base(name: str, registry: Registry) -> Cell:
    """The cell that is measured without any of the components."""
    about = CELLS[name]
    dataset = about["dataset"] if isinstance(about["dataset"], Dataset) else made(registry, "dataset", about["dataset"])
    return Cell(
        dataset=dataset,
        generator=made(registry, "generator", name, **about["generator"]),
        discriminator=discriminator(name, "scores", registry),
        loss=made(registry, "loss", BASELINES["loss"]),
        regularizers=(),
        optimizer=made(registry, "optimizer", "adam"),
        update=made(registry, "update", BASELINES["update"]),
        metrics=(made(registry, "metric", "sliced-wasserstein"),),
        steps=1_000_000,
        batch=about["batch"],
        ema=0.999,
        ema_warmup=10.0,
        samples=2,
        precision="float32",
        engine="serial",
    )


NEEDED: dict[tuple[str, str], dict[str, Any]] = {("dcgan", "generator-guided"): {"decoder": 16}}
"""What a discriminator must have for a regularizer; that the cell without it lacks it is part of what it costs."""


def discriminator(name: str, output: str, registry: Registry, **fields: Any) -> Any:
    """The discriminator of the cell called ``name`` that returns what a loss asks for."""
    kind = {"scores": name, "embedding": f"{name}-embedding", "energy": f"{name}-autoencoder"}[output]
    return made(registry, "discriminator", kind, **CELLS[name]["discriminator"], **fields)


def changed(cell: Cell, component: Any, name: str, registry: Registry) -> Cell:
    """``cell`` with ``component`` in it."""
    if component.role == "regularizer":
        needed = NEEDED.get((name, component.name), {})
        cell = replace(cell, discriminator=discriminator(name, "scores", registry, **needed))
        return replace(cell, regularizers=(component,) if component.hook_points() else ())
    if component.role == "loss":
        return replace(cell, loss=component, discriminator=discriminator(name, component.output, registry))
    return replace(cell, update=component)


def measure(cell: Cell, other: Cell) -> dict[str, float]:
    """The ratio of the time of a step of ``other`` to one of ``cell``."""
    without, with_it = (
        Trainer(Trial(c, seed=0), Path("unused"), Training(threads=1), lambda *_: None) for c in (cell, other)
    )
    period = max(without.period, with_it.period)
    for trainer in (without, with_it):
        trainer.advance(max(WARM, period))
    seconds = window(with_it, period)
    steps = period * max(1, round(WINDOW_S / seconds))
    ratios: list[float] = []
    begun = now()
    while len(ratios) < QUADRUPLES and (len(ratios) < 7 or now() - begun < LONGEST_S):
        a1, b1, b2, a2 = (window(t, steps) for t in (without, with_it, with_it, without))
        ratios.append((b1 + b2) / (a1 + a2))
    rank = int(scipy.stats.binom.ppf(0.025, len(ratios), 0.5))
    ordered = sorted(ratios)
    values = {"ratio": quantile(ratios, 0.5), "low": ordered[max(rank - 1, 0)], "high": ordered[-max(rank, 1)]}
    return {key: round(value, 3) for key, value in values.items()} | {"n": len(ratios), "steps": steps}


def window(trainer: Trainer, steps: int) -> float:
    """Seconds that ``steps`` steps take."""
    begun = now()
    trainer.advance(steps)
    return now() - begun


def components(registry: Registry) -> Iterator[type[Component]]:
    """Every component that comes with ganbench and is measured."""
    for role, _, cls in registry.components():
        if role in ROLES and registry.origin(cls).where.partition(" ")[0] == "ganbench":
            yield cls


def entry(cls: type[Component], name: str, registry: Registry) -> dict[str, Any]:
    """What the file says of a component in the cell called ``name``: a ratio, or why there is none."""
    cell = base(name, registry)
    try:
        other = changed(cell, cls(), name, registry)
        reason = other.refusal()
        return {"skip": reason} if reason else measure(cell, other)
    except GanbenchError as error:
        return {"skip": error.message}


def narrow(found: Mapping[str, Any] | None) -> bool:
    """Whether an entry of the file can stay: a refusal, or a ratio with a narrow interval."""
    return found is not None and ("skip" in found or found["high"] - found["low"] <= WIDE * found["ratio"])


def main() -> int:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true", help="keep what the file has with a narrow interval")
    missing = parser.parse_args().missing
    before: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if missing and FILE.exists() else {}
    torch.set_num_threads(1)
    registry = Registry.load()
    ratios: dict[str, dict[str, Any]] = {role: {} for role in ROLES}
    for cls in components(registry):
        kept = before.get("ratios", {}).get(cls.role, {}).get(cls.name, {})
        ratios[cls.role][cls.name] = found = {
            n: kept[n] if narrow(kept.get(n)) else entry(cls, n, registry) for n in CELLS
        }
        sys.stdout.write(f"{cls.role} {cls.name}: {json.dumps(found)}\n")
        sys.stdout.flush()
    content = {
        "protocol": PROTOCOL,
        "machine": {"cpu": cpu(), "cores": cores(), "system": platform.system(), "note": SHARED},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "cells": {name: cell["about"] for name, cell in CELLS.items()},
        "baselines": BASELINES,
        "ratios": ratios,
    }
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
