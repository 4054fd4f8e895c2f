"""ganbench: train every combination of a grid of GANs with paired seeds, and tabulate what helped.

Everything a plugin needs is a name of this package. Names load on first use, so that ``ganbench --help`` and
``ganbench table`` never import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganbench.api import available, create, measure, run
    from ganbench.bank import Bank
    from ganbench.component import Component, field
    from ganbench.datafiles import DataFiles, check_digest, data_roots, kept_levels
    from ganbench.dataset import Dataset, cache_dir
    from ganbench.errors import ConfigError, ContractError, GanbenchError
    from ganbench.grid import Cell, Trial
    from ganbench.hookspecs import hookimpl
    from ganbench.loss import Loss, LossStep
    from ganbench.metric import Extractor, Features, Measure, Metric
    from ganbench.networks import Discriminator, Generator
    from ganbench.optimizer import Optimizer, is_plain
    from ganbench.records import Record
    from ganbench.regularizer import Batch, DStep, GStep, InnerScore, Regularizer
    from ganbench.results import Results, load
    from ganbench.runner import Run
    from ganbench.samples import Levels, Modes, Sampler, Samples, SampleSpec
    from ganbench.seeding import global_stream, stream
    from ganbench.state import Params, Side, Slots, State, Turn, Turns
    from ganbench.update import Game, GameVariant, ObjectiveVariant, Update

__version__ = "0.1.0"

_HOME = {
    "api": ("available", "create", "measure", "run"),
    "bank": ("Bank",),
    "component": ("Component", "field"),
    "datafiles": ("DataFiles", "check_digest", "data_roots", "kept_levels"),
    "dataset": ("Dataset", "cache_dir"),
    "errors": ("ConfigError", "ContractError", "GanbenchError"),
    "grid": ("Cell", "Trial"),
    "hookspecs": ("hookimpl",),
    "loss": ("Loss", "LossStep"),
    "metric": ("Extractor", "Features", "Measure", "Metric"),
    "networks": ("Discriminator", "Generator"),
    "optimizer": ("Optimizer", "is_plain"),
    "records": ("Record",),
    "regularizer": ("Batch", "DStep", "GStep", "InnerScore", "Regularizer"),
    "results": ("Results", "load"),
    "runner": ("Run",),
    "samples": ("Levels", "Modes", "Sampler", "Samples", "SampleSpec"),
    "seeding": ("global_stream", "stream"),
    "state": ("Params", "Side", "Slots", "State", "Turn", "Turns"),
    "update": ("Game", "GameVariant", "ObjectiveVariant", "Update"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Bank",
    "Batch",
    "Cell",
    "Component",
    "ConfigError",
    "ContractError",
    "DStep",
    "DataFiles",
    "Dataset",
    "Discriminator",
    "Extractor",
    "Features",
    "GStep",
    "Game",
    "GameVariant",
    "GanbenchError",
    "Generator",
    "InnerScore",
    "Levels",
    "Loss",
    "LossStep",
    "Measure",
    "Metric",
    "Modes",
    "ObjectiveVariant",
    "Optimizer",
    "Params",
    "Record",
    "Regularizer",
    "Results",
    "Run",
    "SampleSpec",
    "Sampler",
    "Samples",
    "Side",
    "Slots",
    "State",
    "Trial",
    "Turn",
    "Turns",
    "Update",
    "__version__",
    "available",
    "cache_dir",
    "check_digest",
    "create",
    "data_roots",
    "field",
    "global_stream",
    "hookimpl",
    "is_plain",
    "kept_levels",
    "load",
    "measure",
    "run",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'ganbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ganbench.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
