"""What all loggers ask of a run: whether their package is there, and flat names and numbers of rows and records."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ganbench import ConfigError

if TYPE_CHECKING:
    from ganbench import Record, Trial

IDENTITY = ("seed", "step")
"""Numbers of a row that say what it is about, and measure nothing."""


def require(package: str, extra: str) -> None:
    """Refuse to load without ``package``.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"it needs {package}, which is not installed", hint=f'pip install "ganbench[{extra}]"')


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The finite numbers of a row that was measured during training: losses, measures, seconds of training."""
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name not in IDENTITY and math.isfinite(value)
    }


def final(record: Record) -> dict[str, float]:
    """The finite numbers of a finished trial: its measures, with ``_ema`` and ``_floor``, its times and costs."""
    values: dict[str, float | None] = {}
    for name, value in record.measures.items():
        values |= {name: value.last, f"{name}_ema": value.ema, f"{name}_floor": value.floor}
    values |= {**record.timing, **record.cost}
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def settings(trial: Trial) -> dict[str, str | int]:
    """What was trained: the label of each component, the seed, steps and batch."""
    return {**trial.cell.labels, "seed": trial.seed, "steps": trial.cell.steps, "batch": trial.cell.batch}


def step_of(row: Mapping[str, object]) -> int:
    """The steps that were finished when ``row`` was measured."""
    step = row["step"]
    assert isinstance(step, int)
    return step
