"""The roles metric and extractor: numbers that compare generated with real samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

from ganbench.component import Component

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

    from ganbench.dataset import Dataset
    from ganbench.samples import SampleSpec


@dataclass(frozen=True)
class Measure:
    """One number that a metric yields: its column name, which way is better (None: neither), and its unit."""

    name: str
    better: Literal["lower", "higher"] | None
    unit: str = ""


class Features(Protocol):
    """A fitted extractor: ``[n, *shape] -> [n, d]``."""

    def __call__(self, x: Tensor) -> Tensor:
        """The features ``[n, d]`` of ``x [n, *shape]``."""
        ...


class Extractor(Component, role="extractor"):
    """Turns samples into the features that a metric compares."""

    def load(self, dataset: Dataset | None, device: torch.device) -> Features:
        """The features of ``dataset``; one that must be trained is trained once, with a fixed seed, and cached by hash.

        Raises:
            ConfigError: it needs a dataset, labels or weights that are not there.
        """
        raise NotImplementedError


class Metric(Component, role="metric"):
    """Compares ``fake [n, ...]`` with ``real [m, ...]``: samples, or features where an extractor is set."""

    measures: ClassVar[tuple[Measure, ...]] = ()
    version: ClassVar[int] = 1
    """Part of a trial's identity: raise it when a number changes."""

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
        raise NotImplementedError

    def named(self) -> tuple[Measure, ...]:
        """The measures under the names that they have in a table."""
        return tuple(Measure(self.prefix + m.name, m.better, m.unit) for m in self.measures)
