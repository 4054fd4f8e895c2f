"""A cell is one combination of components, without a seed; a trial is a cell with one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.component import Component, digest
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, PluginError
from ganbench.loss import Loss
from ganbench.metric import Extractor, Metric
from ganbench.networks import Discriminator, Generator
from ganbench.optimizer import Optimizer
from ganbench.regularizer import Regularizer
from ganbench.update import Update

if TYPE_CHECKING:
    from ganbench.registry import Registry

AXES = ("dataset", "generator", "discriminator", "loss", "regularizer", "optimizer", "update")
SPEC_SCHEMA = 1
_PLAIN = ("steps", "batch", "ema", "ema_warmup", "samples", "precision", "engine", "channels_last")
"""Fields of a cell that are no components."""
LATER: dict[str, Any] = {"deterministic": True}
"""Fields that came later, and the value at which specifications and records leave them out: identities stay."""
NONE = "none"
"""The label of the empty stack of regularizers."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination, without a seed: every component resolved, and what else decides its numbers."""

    dataset: Dataset
    generator: Generator
    discriminator: Discriminator
    loss: Loss
    regularizers: tuple[Regularizer, ...]
    optimizer: Optimizer
    update: Update
    metrics: tuple[Metric, ...]
    steps: int
    batch: int
    ema: float
    ema_warmup: float
    samples: int
    precision: str
    engine: str
    channels_last: bool = False
    deterministic: bool = True

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        """The canonical resolved specification: every field with its default, and nothing of this machine."""
        return {
            "schema": SPEC_SCHEMA,
            "dataset": self.dataset.to_table(),
            "generator": self.generator.to_table(),
            "discriminator": self.discriminator.to_table(),
            "loss": self.loss.to_table(),
            "regularizer": [r.to_table() for r in self.regularizers],
            "optimizer": self.optimizer.to_table(),
            "update": self.update.to_table(),
            "metrics": [m.to_table() | {"version": m.version} for m in self.metrics],
            "steps": self.steps,
            "batch": self.batch,
            "ema": self.ema,
            "ema_warmup": self.ema_warmup,
            "samples": self.samples,
            "precision": self.precision,
            "engine": self.engine,
            "channels_last": self.channels_last,
            **self.later,
        }

    @property
    def later(self) -> dict[str, Any]:
        """The fields of :data:`LATER` that are not as they always were."""
        return {key: value for key, usual in LATER.items() if (value := getattr(self, key)) != usual}

    @functools.cached_property
    def id(self) -> str:
        """12 hexadecimal digits of the hash of the specification."""
        return digest(self.spec, 12)

    @property
    def dtype(self) -> str:
        """The type of weights, data and latents."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def stacked(self) -> bool:
        """Whether its seeds train together, in one step."""
        return self.engine.startswith("fused")

    @property
    def name(self) -> str:
        """``SLUG-ID``, the cell's folder: only the letters of component names, so never a path."""
        stack = "_".join(r.name for r in self.regularizers) or NONE
        parts = [self.dataset.name, self.generator.name, self.discriminator.name, self.loss.name, stack]
        return f"{'-'.join(parts)[:80].rstrip('-_')}-{self.id}"

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """For each role, what tables call this cell's component."""
        single = {role: getattr(self, role).label for role in AXES if role != "regularizer"}
        stack = " + ".join(r.label for r in self.regularizers) or NONE
        return {role: single.get(role, stack) for role in AXES}

    @property
    def components(self) -> tuple[Component, ...]:
        """Every component of the cell."""
        singles = (self.dataset, self.generator, self.discriminator, self.loss, self.optimizer, self.update)
        return (*singles, *self.regularizers, *self.metrics)

    @property
    def extractors(self) -> tuple[Extractor, ...]:
        """The extractors of its metrics, each once."""
        return tuple(dict.fromkeys(m.extractor for m in self.metrics if m.extractor is not None))

    def refusal(self) -> str | None:
        """Why this combination cannot work, from the first component that refuses it, or None."""
        if self.discriminator.output != self.loss.output:
            return (
                f"{self.loss.name} asks the discriminator for {self.loss.output}, "
                f"and {self.discriminator.name} returns {self.discriminator.output}"
            )
        for component in (*self.components, *self.extractors):
            reason = self._ask(component, component.mismatch)
            if reason is not None:
                return reason
        return None

    def advice(self) -> tuple[str, ...]:
        """What its components find doubtful about this combination, each reason once."""
        said = [self._ask(component, component.advice) for component in self.components]
        if self.precision == "bf16":
            # scores of the losses are rounded; those that a penalty takes itself, of samples moved by noise, are not
            said += [
                f"under bf16 {r.name} may hold scores rounded to 8 bits against others: a relative difference below "
                "0.004 is rounding"
                for r in self.regularizers
                if r.uses("d_penalty") and r.uses("noise") and not r.derives
            ]
        return tuple(dict.fromkeys(reason for reason in said if reason is not None))

    def _ask(self, component: Component, question: Callable[[Cell], str | None]) -> str | None:
        try:
            return question(self)
        except Exception as error:
            raise PluginError(
                f"{component.title()} failed to say whether it fits {self.name}: {type(error).__name__}: {error}"
            ) from error

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], registry: Registry) -> Cell:
        """The cell that ``spec.json`` describes; the inverse of :attr:`spec`.

        Raises:
            ConfigError: a component or field is no longer there.
        """

        def read(role: str, value: object) -> Any:
            return registry.parse(role, value, f"spec {role}")

        if lacking := [key for key in (*AXES, "metrics", *_PLAIN) if key not in spec]:
            raise ConfigError(f"the specification, of another version of ganbench, has no {lacking[0]}")
        metrics = [{k: v for k, v in m.items() if k != "version"} for m in spec["metrics"]]
        return cls(
            **{role: read(role, spec[role]) for role in AXES if role != "regularizer"},
            regularizers=tuple(read("regularizer", r) for r in spec["regularizer"]),
            metrics=tuple(read("metric", m) for m in metrics),
            **{key: spec[key] for key in _PLAIN},
            **{key: spec.get(key, usual) for key, usual in LATER.items()},
        )


@dataclass(frozen=True)
class Trial:
    """A cell with a seed."""

    cell: Cell
    seed: int

    @property
    def folder(self) -> Path:
        """Where it lies under a run's folder."""
        return Path("trials", self.cell.name, f"seed-{self.seed}")


def trials(cells: Sequence[Cell], seeds: Sequence[int]) -> list[Trial]:
    """Every trial, cell by cell."""
    return [Trial(cell, seed) for cell in cells for seed in seeds]
