"""Checks of the roles around a step: dataset, metric, extractor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ganbench.bank import Bank
from ganbench.conformance.findings import Finding, expect, finite, identity, pure, run, same
from ganbench.conformance.trial import BATCH, SHAPES
from ganbench.dataset import Dataset
from ganbench.errors import GanbenchError
from ganbench.metric import Extractor, Features, Metric
from ganbench.samples import Modes, Samples, SampleSpec
from ganbench.seeding import stream

RING = Modes(centres=tuple((math.cos(k * math.tau / 8), math.sin(k * math.tau / 8)) for k in range(8)), std=0.1)


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Checks that the loaded samples are what the specification says; loads the data."""

    def some(split: Any) -> Samples:
        source = dataset.load(split, stream(0, f"dataset-{split}"))
        return source if isinstance(source, Samples) else source.sample(64, stream(0, "data"))

    def matches() -> None:
        spec, samples = dataset.spec(), some("train")
        x, y = samples.x, samples.y
        expect(
            tuple(x.shape[1:]) == spec.shape,
            f"samples have shape {list(x.shape[1:])}, the spec says {spec.shape}",
        )
        expect(x.dtype == torch.float32, f"samples are {x.dtype}, expected float32")
        finite(x, "among the samples")
        inside = bool((x >= spec.low).all()) and bool((x <= spec.high).all())
        expect(inside, f"samples lie outside [{spec.low:g}, {spec.high:g}]")
        if spec.classes:
            expect(
                y is not None and y.dtype == torch.int64 and y.shape == x.shape[:1],
                "labels must be int64 [n]",
            )
            assert y is not None  # just checked
            expect(int(y.min()) >= 0 and int(y.max()) < spec.classes, f"labels lie outside 0..{spec.classes - 1}")

    def repeats() -> None:
        for split in ("train", "test"):
            first, second = some(split), some(split)
            same((first.x, first.y), (second.x, second.y))

    def disjoint() -> None:
        sources = [dataset.load(cast("Any", s), stream(0, f"dataset-{s}")) for s in ("train", "test")]
        train, test = ({row.numpy().tobytes() for row in s.x} if isinstance(s, Samples) else set() for s in sources)
        expect(not train & test, f"{len(train & test)} samples are in both")

    return run(
        [
            *identity(dataset),
            ("loads what its spec says", matches),
            ("loads the same samples from the same stream", repeats),
            ("shares no sample between train and test", disjoint),
        ]
    )


def check_metric(metric: Metric) -> list[Finding]:
    """Checks of the names, types and determinism of what a metric computes; its extractor is checked apart."""
    rng = stream(0, "data")
    vectors = SampleSpec(shape=(2,), modes=RING)
    images = SampleSpec(shape=(3, 16, 16), low=-1.0, high=1.0)
    features = SampleSpec(shape=(24,))  # logits of three channels, too
    tried = [features] if metric.extractor is not None else [vectors, features, images]

    def compute(spec: SampleSpec, fake: Tensor, real: Tensor) -> Mapping[str, float]:
        """On banks that have all that a metric may ask for: labels, logits (the samples) and a training set."""
        labels = torch.arange(len(fake)) % 4
        train = Bank(Samples(real.flip(0) + 0.25, labels), side="training")
        banks = [
            Bank(Samples(x, labels), side=side, train=lambda: train) for x, side in ((fake, "fake"), (real, "real"))
        ]
        return metric.bind(spec).measured(banks[0], banks[1], stream(0, "eval"))

    def draw(spec: SampleSpec) -> tuple[Tensor, Tensor]:
        fake, real = (torch.randn(256, *spec.shape, generator=rng).clamp(spec.low, spec.high) for _ in range(2))
        return fake, real

    def works(spec: SampleSpec) -> bool:
        try:
            compute(spec, *draw(spec))
        except GanbenchError:
            return False
        return True

    spec = next((s for s in tried if works(s)), tried[0])
    fake, real = draw(spec)

    def measures() -> None:
        values = compute(spec, fake, real)
        names = {m.name for m in metric.measures}
        expect(set(values) == names, f"it computed {sorted(values)}, and declares {sorted(names)}")
        for name, value in values.items():
            expect(isinstance(value, float | int), f"{name} is a {type(value).__name__}, expected a float")

    repeated = pure(lambda f, r: compute(spec, f, r), (fake, real))
    return run([*identity(metric), ("computes the measures it declares", measures), *repeated])


def check_extractor(extractor: Extractor, dataset: Dataset | None = None) -> list[Finding]:
    """Checks of shape and determinism of features, of the samples of ``dataset`` or of random vectors or images."""
    rng, device = stream(0, "data"), torch.device("cpu")
    try:
        features = extractor.load(dataset, device)
    except GanbenchError as error:
        return [
            *run(identity(extractor)),
            Finding("loads", ok=dataset is None, message=f"not tried: {error}"),
        ]
    specs = [SampleSpec(shape=shape, low=-1.0, high=1.0) for shape in SHAPES] if dataset is None else [dataset.spec()]
    sets = [torch.randn(BATCH, *spec.shape, generator=rng).clamp(spec.low, spec.high) for spec in specs]
    # the first that it does not refuse
    x = next((x for x in sets[:-1] if _takes(features, x)), sets[-1])

    def rows() -> None:
        out = features(x)
        expect(
            out.dim() == 2 and len(out) == BATCH,
            f"it returned shape {list(out.shape)}, expected [{BATCH}, d]",
        )
        finite(out, "among the features")

    return run([*identity(extractor), ("returns one row of features a sample", rows), *pure(features, (x,))])


def _takes(features: Features, x: torch.Tensor) -> bool:
    """Whether an extractor works on samples such as ``x``: it may be for images alone, and say so."""
    try:
        features(x)
    except GanbenchError:
        return False
    return True
