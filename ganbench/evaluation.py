"""Sample quality of one trial: generated samples, real ones, a floor and a null model, through the same metrics."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ganbench import codeprint
from ganbench.bank import Bank
from ganbench.component import fields
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, ContractError
from ganbench.keeping import Shelf, digest_of
from ganbench.metric import Extractor, Features, Metric
from ganbench.networks import Network
from ganbench.records import Value
from ganbench.samples import Sampler, Samples, SampleSpec
from ganbench.seeding import stream
from ganbench.state import Params
from ganbench.timing import now

CHUNK = 512
"""Samples generated at once ; BatchNorm is in its evaluation mode then, so it does not matter to the numbers."""
NULL_UP_TO = 1024
"""Values in a sample up to which the null model is drawn: its covariance is decomposed."""


@contextlib.contextmanager
def whole_products() -> Iterator[None]:
    """Products of float32 are of float32 inside, whatever a cell trains with: bounds on their rounding hold."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = kept


class Reading(dict[str, float]):
    """The measures of one set of samples by name, nan where there is no value.

    Attributes:
        notes: what a reader of the numbers should know, such as how many samples were not finite.
    """

    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """The real side through one extractor.

    Args:
        features: the fitted extractor, None for the samples themselves.
        label: of the extractor, with the digest of its weights.
        real: the reference.
        train: gives the training set, None for a distribution.
        endless: whether the data is a distribution.
        device: where all features lie.
    """

    features: Features | None
    label: str
    real: Bank
    train: Callable[[], Bank | None]
    endless: bool
    device: torch.device

    def of(self, samples: Samples) -> Bank:
        """``samples`` beside the reference, on whichever device they were made."""
        there = self.real.samples.device
        y = None if samples.y is None else samples.y.to(there)
        return Bank(Samples(samples.x.to(there), y), self.features, train=self.train, device=self.device)


@dataclass(frozen=True)
class Bench:
    """The real side of every metric of one trial, prepared once.

    ``real`` and ``other`` are two disjoint sets of n real samples each: a metric compares n fakes with ``real``, and
    its floor compares ``other`` with ``real``. ``nulls`` are of a Gaussian with the mean and covariance of ``other``:
    what a generator reads that has learned no structure.
    """

    dataset: Dataset
    metrics: Sequence[Metric]
    views: Mapping[str, View]
    real: Samples
    other: Samples
    seed: int
    asked: Sequence[Metric] = ()
    """The metrics as they were asked for, before they were bound to the data."""
    floors: dict[str, float] = field(default_factory=dict)
    nulls: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent so far: ``extract_s`` on features and ``NAME_s`` for each metric, real side included."""

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        metrics: Sequence[Metric],
        *,
        n: int,
        seed: int,
        device: torch.device,
        like: Bench | None = None,
    ) -> Bench:
        """Load reference samples and extractors, and measure the floors and the null model.

        For a finite data set the reference is its test split, and the floor takes training samples; n is cut
        to what both hold. For a distribution both are fresh samples. An extractor that several metrics name is
        loaded once, and not at all where ``like``, of another trial on this device, has it.
        """
        spec = dataset.spec()
        bound = [m.bind(spec) for m in metrics]
        test, train = (dataset.load(split, stream(0, f"dataset-{split}")) for split in ("test", "train"))
        rng = stream(seed, "eval-real")
        if isinstance(test, Samples) and isinstance(train, Samples):
            n = min(n, len(test), len(train))
            real, other = (s.take(torch.randperm(len(s), generator=rng)[:n]) for s in (test, train))
        elif not isinstance(test, Samples) and not isinstance(train, Samples):
            real, other = test.sample(n, rng), train.sample(n, rng)
        else:
            raise ContractError(f"dataset {dataset.name!r} gives a set for one split and a sampler for the other")
        same = like is not None and like.dataset.fingerprint == dataset.fingerprint
        known = {key: view.features for key, view in like.views.items()} if like is not None and same else {}
        chosen = {_key(m): m.extractor for m in bound}
        loaded = {
            key: known[key] if key in known else extractor.load(dataset, device) if extractor else None
            for key, extractor in chosen.items()
        }
        views = {key: _view(chosen[key], loaded[key], dataset, real, train, device) for key in chosen}
        bench = cls(dataset, bound, views, real, other, seed, metrics)
        bench.floors.update(bench._stored("floors", lambda: bench.measure(other, floor=True)))
        if spec.size <= NULL_UP_TO:
            bench.nulls.update(bench._stored("nulls", bench._null))
        return bench

    @property
    def n(self) -> int:
        """Samples on each side."""
        return len(self.real)

    def _null(self) -> Reading:
        """The measures of the null model."""
        drawn = gaussian(self.other.x, self.dataset.spec(), stream(self.seed, "eval-null"))
        return self.measure(Samples(drawn, self.other.y))

    @whole_products()
    def measure(self, fake: Tensor | Samples, *, floor: bool = False) -> Reading:
        """Every measure of ``fake [n, *shape]`` against the reference; a metric draws from its own stream.

        With ``floor`` a metric that looks for copies of training samples is given the reference in place of
        ``fake``, as held-out samples.
        """
        samples = fake if isinstance(fake, Samples) else Samples(fake)
        banks = {key: view.of(samples) for key, view in self.views.items()}
        begun = now()
        for key, view in self.views.items():
            for bank in (banks[key], view.real):
                _ = bank.rows
        self._spent("extract_s", now() - begun)
        found = Reading()
        notes: dict[str, None] = {}
        for metric in self.metrics:
            metric.expect(banks[_key(metric)], self.views[_key(metric)].real)
        for metric in self.metrics:
            begun, view, bank = now(), self.views[_key(metric)], banks[_key(metric)]
            if floor and metric.held_out:
                bank = view.of(self.real)
            values = metric.measured(bank, view.real, stream(self.seed, f"eval-{metric.name}"))
            found |= {metric.prefix + name: value for name, value in values.items()}
            notes |= dict.fromkeys((*bank.notes, *view.real.notes))
            self._spent(f"{metric.prefix}{metric.name}_s", now() - begun)
        found.notes = tuple(notes)
        return found

    def values(self, last: Mapping[str, float], ema: Mapping[str, float]) -> dict[str, Value]:
        """The measures of the last iterate and of the running average, with floors, directions, units and protocols."""
        told = {"last": getattr(last, "notes", ()), "ema": getattr(ema, "notes", ())}
        notes = "; ".join(f"{which}: {note}" for which, notes in told.items() for note in notes)
        return {
            measure.name: Value(
                last=_finite(last[measure.name]),
                ema=_finite(ema[measure.name]),
                floor=_finite(self.floors[measure.name]),
                null=_finite(self.nulls.get(measure.name, math.nan)),
                better=measure.better,
                unit=measure.unit,
                notes=notes,
                protocol=self.protocol(metric),
            )
            for metric in self.asked
            for measure in metric.named()
        }

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """What must be equal for two values of ``metric`` to be compared."""
        view = self.views[_key(metric)]
        changed = [f.name for f in fields(type(metric)) if getattr(metric, f.name) != f.default]
        table = metric.to_table()
        return {
            "metric": metric.name,
            "version": metric.version,
            "fields": {name: table[name] for name in changed if name not in {"prefix", "extractor"}},
            "n_fake": self.n,
            "n_real": self.n,
            "split": "fresh" if view.endless else "test",
            "extractor": view.label,
            "preprocessing": str(getattr(view.features, "preprocessing", "")),
            "dtype": str(view.real.rows.dtype).removeprefix("torch."),
        }

    def _spent(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def _stored(self, name: str, make: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """The measures that ``make`` gives, which depend on nothing but the real side, kept where they are dear."""
        names = [measure.name for metric in self.metrics for measure in metric.named()]
        code = codeprint.fingerprint(self.metrics)
        about = [(m.fingerprint, m.version, self.views[_key(m)].label) for m in self.metrics]
        shelf = Shelf(f"{code} {about} {self.seed} {self.dataset.fingerprint} {digest_of(self.real.x, self.other.x)}")

        def made() -> Tensor:
            values = make()
            return torch.tensor([values[n] for n in names], dtype=torch.float64)

        return dict(zip(names, shelf.kept(name, made, torch.device("cpu")).tolist(), strict=True))


def _key(metric: Metric) -> str:
    """Metrics of one key share an extractor, and so their banks."""
    return metric.extractor.fingerprint if metric.extractor else ""


def _view(  # an extractor, and what it is made of and for
    extractor: Extractor | None,
    features: Features | None,
    dataset: Dataset,
    real: Samples,
    train: Samples | Sampler,
    device: torch.device,
) -> View:
    weights = str(getattr(features, "digest", ""))
    label = f"{extractor.label}@{weights}" if extractor and weights else extractor.label if extractor else "samples"
    key = extractor.fingerprint if extractor else ""
    about = f"{dataset.fingerprint} {key} {weights} {device.type} "
    found: list[Bank] = []

    def training() -> Bank | None:
        if isinstance(train, Samples) and not found:
            shelf = Shelf(about + digest_of(train.x))
            found.append(Bank(train, features, side="training", shelf=shelf, device=device))
        return found[0] if found else None

    shelf = Shelf(about + digest_of(real.x))
    bank = Bank(real, features, side="real", train=training, shelf=shelf, device=device)
    return View(features, label, bank, training, not isinstance(train, Samples), device)


def gaussian(x: Tensor, spec: SampleSpec, rng: torch.Generator) -> Tensor:
    """As many samples as ``x [n, *shape]`` has, normal with its mean and covariance, cut to the range of the data."""
    rows = x.double().reshape(len(x), -1)
    centred = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / max(1, len(x) - 1))
    noise = torch.randn(rows.shape, dtype=torch.float64, generator=rng)
    drawn = rows.mean(0) + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    cut: Tensor = drawn.clamp(spec.low, spec.high).reshape(x.shape).to(x.dtype)
    return cut


def _finite(value: float) -> float | None:
    """JSON has no infinity: what is not finite is written as missing."""
    return value if math.isfinite(value) else None


@torch.no_grad()
def generate(generator: Network, weights: Params, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    """Samples [n, *shape] on the CPU of the generator with ``weights`` (parameters and buffers), in evaluation mode."""
    params = {name: weights[name] for name in generator.params}
    buffers = {name: weights[name] for name in generator.buffers}
    generator.module.eval()
    try:
        parts = [
            generator(params, buffers, z, None if labels is None else labels[i * CHUNK : (i + 1) * CHUNK])[0].cpu()
            for i, z in enumerate(torch.split(latents, CHUNK))
        ]
    finally:
        generator.module.train()
    return torch.cat(parts)


def check_spec(samples: Samples, shape: tuple[int, ...], dataset: Dataset) -> None:
    """Raise :class:`ContractError` if loaded data is not what the specification says."""
    if samples.shape != shape:
        raise ContractError(
            f"{dataset.title()} loaded samples of shape {list(samples.shape)}, its spec says {list(shape)}"
        )
    if samples.y is not None and len(samples.y) != len(samples):
        raise ConfigError(f"{dataset.title()} has {len(samples)} samples and {len(samples.y)} labels")
