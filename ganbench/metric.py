"""The roles metric and extractor: numbers that compare generated with real samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

from ganbench.component import Component
from ganbench.errors import ContractError

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from ganbench.bank import Bank
    from ganbench.dataset import Dataset
    from ganbench.samples import SampleSpec


@dataclass(frozen=True)
class Measure:
    """One number that a metric yields: its column name, which way is better (None: neither), and its unit."""

    name: str
    better: Literal["lower", "higher"] | None
    unit: str = ""


class Features(Protocol):
    """A fitted extractor: ``[n, *shape] -> [n, d]``.

    It may have more: ``head(features [n, d]) -> logits [n, classes]`` if it is a classifier, and ``digest``, some
    hexadecimal digits of a hash of its weights: values compare only where these are equal, so they are part of the
    protocol of every value. ``preprocessing`` says in words what it does to samples first; one that has it is
    given bytes as they are, and others have all whole numbers as float32.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """The features ``[n, d]`` of ``x [n, *shape]``."""
        ...


class Extractor(Component, role="extractor"):
    """Turns samples into the features that a metric compares."""

    def missing(self) -> str | None:
        """What has to be installed or put where before it can be loaded, or None; nothing is read."""
        return None

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        """The features of ``dataset``; one that must be trained is trained once, with a fixed seed, and cached by hash.

        Raises:
            ConfigError: it needs a dataset, labels or weights that are not there.
        """
        raise NotImplementedError


class Metric(Component, role="metric"):
    """Compares ``fake [n, ...]`` with ``real [m, ...]``: samples, or features where an extractor is set.

    A metric overrides :meth:`compute`, which has tensors, or :meth:`compare`, which has banks: sets of samples that
    remember what was computed of them. Neither sees a set with a value that is not finite.
    """

    measures: ClassVar[tuple[Measure, ...]] = ()
    version: ClassVar[int] = 1
    """Part of a trial's identity: raise it when a number changes."""
    held_out: ClassVar[bool] = False
    """Whether it looks for copies of training samples, so that its floor is that of held-out samples."""

    extractor: Extractor | None = None
    """What samples go through first; None gives the metric the samples themselves."""
    prefix: str = ""
    """Put before the names of the measures, for a grid that uses one metric twice."""

    def bind(self, spec: SampleSpec) -> Self:
        """This metric with what it must know of the data, such as the modes of a mixture."""
        del spec
        return self

    def compute(self, fake: Tensor, real: Tensor, rng: Generator) -> Mapping[str, float]:
        """A value for each of ``measures``; randomness comes from ``rng`` alone."""
        from ganbench.bank import Bank

        if type(self).compare is Metric.compare:
            raise NotImplementedError
        return self.measured(Bank(fake), Bank(real, side="real"), rng)

    def expect(self, fake: Bank, real: Bank) -> None:
        """Say what :meth:`compare` will ask of the banks (:meth:`Bank.expect`), before any metric asks.

        Metrics that share an extractor then share passes over distances too. By default nothing is said.
        """

    def compare(self, fake: Bank, real: Bank, rng: Generator) -> Mapping[str, float]:
        """As :meth:`compute`, of banks: for a metric that wants moments, neighbours, logits, labels, training data."""
        return self.compute(fake.features, real.features, rng)

    def measured(self, fake: Bank, real: Bank, rng: Generator) -> dict[str, float]:
        """What :meth:`compare` gives, or nan for every measure where a sample or a feature is not finite.

        Raises:
            ConfigError: there are too few samples.
            ContractError: the two sets do not fit together, or the metric returned other names than its measures.
        """
        for bank in (fake, real):
            bank.need(1)
        fake.same_size(real)
        names = {m.name for m in self.measures}
        if bad := [bank for bank in (fake, real) if bank.bad]:
            for bank in bad:
                bank.note(f"{bank.bad} of {len(bank)} {bank.side} samples are not finite")
            return dict.fromkeys(names, float("nan"))
        for bank in (fake, real):
            if bank.constant and len(bank) > 1:
                bank.note(f"all {len(bank)} {bank.side} samples are equal")
        values = self.compare(fake, real, rng)
        if set(values) != names:
            raise ContractError(f"{self.title()} returned {sorted(values)}, its measures are {sorted(names)}")
        return {name: float(value) for name, value in values.items()}

    def named(self) -> tuple[Measure, ...]:
        """The measures under the names that they have in a table."""
        return tuple(Measure(self.prefix + m.name, m.better, m.unit) for m in self.measures)
