"""What metrics say of given samples, with floors, null models and protocols, as a table and as plain facts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganbench import given
from ganbench.component import Component
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError
from ganbench.evaluation import Bench
from ganbench.given import Given
from ganbench.metric import Extractor, Metric
from ganbench.players import Which
from ganbench.records import Value
from ganbench.registry import Registry
from ganbench.stats import Estimate
from ganbench.table import Column, Entry, Row, Table
from ganbench.trained import Trained

LARGEST = 50_000
"""Samples that are read at most where nobody says how many."""


@dataclass(frozen=True)
class Assessment:
    """The measures of some samples against a dataset; ``last`` of each value is theirs."""

    given: Given
    dataset: str
    values: dict[str, Value]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "samples": self.given.source,
            "found": self.given.found,
            "dataset": self.dataset,
            "notes": list(self.given.notes),
            "measures": {
                name: {
                    "value": v.last,
                    "floor": v.floor,
                    "null": v.null,
                    "better": v.better,
                    "unit": v.unit,
                    "notes": v.notes,
                    "protocol": dict(v.protocol),
                }
                for name, v in self.values.items()
            },
        }

    def table(self) -> Table:
        """A row of values; below it a null model, and real samples as the floor."""
        columns = [Column("samples", "samples", "role", keep=1000)]
        columns += [
            Column(name, name, "measure", better=v.better, unit=v.unit, keep=500, floor=v.floor)
            for name, v in self.values.items()
        ]
        rows = [_row("given", {name: v.last for name, v in self.values.items()})]
        if any(v.null is not None for v in self.values.values()):
            rows.append(_row("null model", {name: v.null for name, v in self.values.items()}))
        footers = [f"samples: {self.given.source}", *self.given.notes]
        footers += dict.fromkeys(note for v in self.values.values() for note in v.notes.split("; ") if note)
        footers += [
            f"{', '.join(n for n, w in self.values.items() if w.told == told)}: {told}"
            for told in dict.fromkeys(v.told for v in self.values.values())
        ]
        footers.append("real vs real: other real samples in place of the given ones, the floor of every measure")
        if len(rows) > 1:
            footers.append("null model: a Gaussian with the mean and covariance of the data")
        return Table(
            title=f"samples against {self.dataset}",
            constants={},
            columns=tuple(columns),
            rows=tuple(rows),
            footers=tuple(footers),
        )


def _row(name: str, values: dict[str, float | None]) -> Row:
    entries: dict[str, Entry] = {
        measure: None if value is None or not math.isfinite(value) else Estimate(value, None, None, 1)
        for measure, value in values.items()
    }
    return Row({"samples": name, **entries})


@dataclass(frozen=True)
class Question:
    """What is asked of which samples.

    Args:
        path: a folder of images, an npz file, or the folder of a trial.
        dataset: what they imitate; None for the trial's own.
        metrics: none means the dataset's, or the trial's own.
        extractor: in place of that of every metric, if given.
        n: how many samples; None takes all that there are and the dataset can be compared with.
        seed: of what is random; None takes the trial's, or 0.
        which: of a trial, the last iterate or the running average.
    """

    path: Path
    dataset: Dataset | None = None
    metrics: tuple[Metric, ...] = ()
    extractor: Extractor | None = None
    n: int | None = None
    seed: int | None = None
    which: Which = "ema"


def answer(question: Question, registry: Registry) -> Assessment:
    """Every measure of the samples, against as many real ones.

    For the generator of a trial, without choices, these are the numbers of the trial's own last evaluation.

    Raises:
        ConfigError: the samples cannot be read or are not like the data, or there are fewer than were asked for.
    """
    trained = Trained.load(question.path, registry) if (question.path / "spec.json").is_file() else None
    dataset = question.dataset or (trained.cell.dataset if trained else None)
    if dataset is None:
        hint = "--dataset NAME says; `ganbench list dataset` knows the names"
        raise ConfigError("which data do these samples imitate?", place=str(question.path), hint=hint)
    seed = question.seed if question.seed is not None else trained.seed if trained else 0
    metrics = _metrics(question, dataset, trained, registry)
    _fit(metrics, dataset, trained)
    if trained is not None:
        _check_shape(trained, dataset)
        bench = _bench(dataset, metrics, question.n or trained.cell.samples, seed)
        _enough(question.n, bench.n, f"{dataset.title()} holds", question.path)
        return _assess(given.from_trial(trained, bench.n, seed=seed, which=question.which), dataset, bench)
    samples = given.read(question.path, dataset, question.n or LARGEST, seed=seed)
    _enough(question.n, samples.found, "there are", question.path)
    bench = _bench(dataset, metrics, len(samples.samples), seed)
    _enough(question.n, bench.n, f"{dataset.title()} holds", question.path)
    if bench.n < len(samples.samples):
        chosen = given.choose(len(samples.samples), bench.n, seed)
        note = f"{bench.n} of {samples.found} samples: {dataset.name} holds no more to compare with"
        samples = dataclasses.replace(samples, samples=samples.samples.take(chosen), notes=(*samples.notes, note))
    return _assess(samples, dataset, bench)


def _metrics(question: Question, dataset: Dataset, trained: Trained | None, registry: Registry) -> tuple[Metric, ...]:
    metrics: Sequence[Component] = question.metrics
    if not metrics and trained is not None and question.dataset is None:
        metrics = trained.cell.metrics
    if not metrics:
        metrics = registry.metrics_of(dataset)
    if not metrics:
        raise ConfigError(f"{dataset.title()} has no metrics of its own", place="--metric", hint="name one")
    chosen = tuple(metric for metric in metrics if isinstance(metric, Metric))
    if question.extractor is not None:
        chosen = tuple(dataclasses.replace(metric, extractor=question.extractor) for metric in chosen)
    names = [measure.name for metric in chosen for measure in metric.named()]
    if twice := next((name for name in names if names.count(name) > 1), None):
        hint = "{ use = 'NAME', prefix = 'a-' } renames those of one"
        raise ConfigError(f"two metrics have a measure {twice!r}", place="--metric", hint=hint)
    return chosen


@dataclass(frozen=True)
class _Scene:
    """What there is of a cell where nothing was trained."""

    dataset: Dataset
    metrics: tuple[Metric, ...]


def _fit(metrics: tuple[Metric, ...], dataset: Dataset, trained: Trained | None) -> None:
    """Raise :class:`ConfigError` if a metric or its extractor refuses the data, as it would in a plan."""
    scene: Any = _Scene(dataset, metrics)
    if trained is not None:
        scene = dataclasses.replace(trained.cell, dataset=dataset, metrics=metrics)
    for component in (*metrics, *(m.extractor for m in metrics if m.extractor is not None)):
        try:
            reason = component.mismatch(scene)
        except AttributeError:
            if trained is not None:
                raise
            continue  # it asks for networks or a loss, and there are none to refuse
        if reason is not None:
            raise ConfigError(reason, place="--metric")


def _check_shape(trained: Trained, dataset: Dataset) -> None:
    made, wanted = (list(spec.shape) for spec in (trained.spec, dataset.spec()))
    if made != wanted:
        raise ConfigError(
            f"the generator makes samples of shape {made}, and those of {dataset.name} have {wanted}",
            place="--dataset",
        )


def _enough(asked: int | None, there: int, what: str, path: Path) -> None:
    if asked is not None and there < asked:
        raise ConfigError(f"--n {asked}: {what} {there} samples", place=str(path))


def _bench(dataset: Dataset, metrics: Sequence[Metric], n: int, seed: int) -> Bench:
    return Bench.prepare(dataset, metrics, n=n, seed=seed, device=torch.device("cpu"))


def _assess(samples: Given, dataset: Dataset, bench: Bench) -> Assessment:
    found = bench.measure(samples.samples)
    values = bench.values(found, found)
    notes = "; ".join(found.notes)
    values = {name: dataclasses.replace(value, notes=notes) for name, value in values.items()}
    return Assessment(samples, dataset.label, values)
