"""Fidelity and diversity apart: precision and recall of nearest-neighbour balls, density and coverage, PRD curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ganbench import Bank, Component, Measure, Metric, field, hookimpl


class PrecisionRecall(Metric, name="precision-recall", source="https://arxiv.org/abs/1904.06991"):
    """precision = mean_j 1[exists i: |f_j - r_i| <= R_i], recall = mean_i 1[exists j: |r_i - f_j| <= F_j].

    R_i and F_j are the distances to the k-th nearest other sample of the same set. A sample on the rim is inside, as
    the paper has it; ``strict`` leaves it out, as the package prdc does. The two differ where samples repeat. A point
    at a place where real samples are dense has precision 1: read it with recall.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("precision", "higher"), Measure("recall", "higher"))

    k: int = field(default=3, ge=1, doc="which nearest neighbour gives the radius")
    strict: bool = field(default=False, doc="whether a sample on the rim is outside")

    def expect(self, fake: Bank, real: Bank) -> None:
        fake.expect(real, self.k, strict=self.strict, mutual=True)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        for bank in (fake, real):
            bank.need(self.k + 1, f"precision-recall with k = {self.k}")
        found, back = fake.mutual(real, self.k, strict=self.strict)
        return {"precision": _share(found.of_points), "recall": _share(back.of_points)}


class DensityCoverage(Metric, name="density-coverage", source="https://arxiv.org/abs/2002.09797"):
    """density = sum_ij 1[|f_j - r_i| < R_i] / (k n), coverage = mean_i 1[min_j |f_j - r_i| < R_i].

    R_i is the distance from the real sample r_i to its k-th nearest other real sample. Where both distributions
    are equal and n = m, E density = 1 and E coverage = 1 - prod_{i=1..k} (n - i) / (2 n - i), about 1 - 2^-k = 0.969
    for k = 5. Density exceeds 1 where fakes crowd among the real samples. No matrix of n x m is ever held.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("density", None), Measure("coverage", "higher"))

    k: int = field(default=5, ge=1, doc="which nearest neighbour gives the radius")

    def expect(self, fake: Bank, real: Bank) -> None:
        fake.expect(real, self.k, strict=True)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        real.need(self.k + 1, f"density-coverage with k = {self.k}")
        found = fake.inside(real, self.k, strict=True)
        return {"density": int(found.of_points.sum()) / (self.k * len(fake)), "coverage": _share(found.of_balls)}


class PRD(Metric, name="prd", source="https://arxiv.org/abs/1806.00035"):
    """prd_f8 and prd_f18 = max over the curve (precision, recall) of F_8 (recall counts) and of F_1/8 (precision).

    The curve is precision(s) = sum_c min(s r_c, f_c), recall(s) = precision(s) / s over slopes s, with the shares f_c
    and r_c of fakes and real samples in ``clusters`` clusters of both together, averaged over ``runs`` clusterings
    (mini-batch k-means). Of unequal sample sizes the larger set is cut.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("prd_f8", "higher"), Measure("prd_f18", "higher"))

    clusters: int = field(default=20, ge=2, doc="clusters of fake and real samples together")
    runs: int = field(default=10, ge=1, doc="clusterings")
    restarts: int = field(default=10, ge=1, doc="initialisations of each clustering")
    angles: int = field(default=1001, ge=3, doc="points of the curve")

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning

        n = min(len(fake), len(real))
        for bank in (fake, real):
            bank.need(2, "prd")
        both = torch.cat([fake.rows[:n], real.rows[:n]]).cpu().numpy()
        clusters = min(self.clusters, 2 * n)
        curves = []
        for _ in range(self.runs):
            seed = int(torch.randint(2**31 - 1, (), generator=rng))
            fit = MiniBatchKMeans(n_clusters=clusters, n_init=self.restarts, random_state=seed)
            with warnings.catch_warnings():  # fewer distinct samples than clusters is no trouble here
                warnings.simplefilter("ignore", ConvergenceWarning)
                labels = fit.fit(both).labels_
            shares = [np.bincount(part, minlength=clusters) / n for part in (labels[:n], labels[n:])]
            curves.append(curve(shares[0], shares[1], self.angles))
        precision, recall = np.mean(curves, axis=0)
        return {"prd_f8": best_f(precision, recall, 8.0), "prd_f18": best_f(precision, recall, 1 / 8)}


def curve(
    fake: NDArray[np.float64], real: NDArray[np.float64], angles: int = 1001
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall [angles] of two histograms [c]."""
    edge = 1e-10  # the slopes 0 and infinity are left out
    slopes = np.tan(np.linspace(edge, math.pi / 2 - edge, angles))
    precision = np.minimum(slopes[:, None] * real, fake).sum(axis=1)
    return precision.clip(0, 1), (precision / slopes).clip(0, 1)


def best_f(precision: NDArray[np.float64], recall: NDArray[np.float64], beta: float) -> float:
    """Max (1 + beta^2) p r / (beta^2 p + r), 0 where both are 0."""
    below = beta**2 * precision + recall
    values = (1 + beta**2) * precision * recall / np.where(below > 0, below, 1)
    return float(values.max())


def _share(counts: torch.Tensor) -> float:
    return (counts > 0).double().mean().item()


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [PrecisionRecall, DensityCoverage, PRD]
