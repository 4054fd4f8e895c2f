"""Copies of training samples: AuthPct and C_T. Their floors are of held-out real samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ganbench import Bank, Component, ConfigError, Measure, Metric, Samples, field, hookimpl
from ganbench_zoo.metrics_frechet import needs_training, training_of

if TYPE_CHECKING:
    from ganbench import Cell


class AuthPct(Metric, name="authpct", source="https://arxiv.org/abs/2102.08921"):
    """authpct = 100 mean_j 1[|f_j - t| > |t - t'|], t the training sample nearest to f_j, t' the one nearest to t.

    The percentage of fakes that are no nearer to a training sample than another training sample is. 0 for copies;
    held-out samples of the same distribution score about 50, less in low dimensions than in high ones.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("authpct", "higher", "%"),)
    held_out: ClassVar[bool] = True

    def mismatch(self, cell: Cell) -> str | None:
        return needs_training(self, cell)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real, rng
        train = training_of(fake, self)
        train.need(2, "authpct")
        distance, place = fake.nearest(train)
        return {"authpct": 100 * (distance > train.radii(1)[place]).double().mean().item()}


class CT(Metric, name="ct", source="https://arxiv.org/abs/2004.05675"):
    """ct = sum_c p_c Z_c / sum_c p_c, over cells c of the training set; far below 0: copies, far above 0: underfitting.

    In a cell, Z = (U - m n / 2) / (m n (m + n + 1) / 12)^(1/2), where U counts the pairs of a fake and a held-out
    sample in which the fake is farther from its nearest training sample of the cell (ties count one half): about
    N(0, 1) if fakes are as far from the training set as held-out samples are. p_c is the share of held-out samples.
    The cells are k-means clusters of the training set, in its first 64 principal components; those with fewer than
    ``least`` fakes or no held-out sample are left out.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("ct", None),)
    held_out: ClassVar[bool] = True

    cells: int = field(default=3, ge=1, doc="clusters of the training set")
    components: int = field(default=64, ge=1, doc="principal components, where there are more features")
    least: int = field(default=20, ge=1, doc="fakes that a cell needs")

    def mismatch(self, cell: Cell) -> str | None:
        return needs_training(self, cell)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        train = training_of(fake, self)
        train.need(self.cells, f"ct with {self.cells} cells")
        sets = [bank.double for bank in (train, real, fake)]
        if sets[0].shape[1] > self.components:
            axes = train.kept("ct-1 axes", lambda: torch.linalg.eigh(train.covariance).eigenvectors.flip(1))
            sets = [(x - train.mean) @ axes[:, : self.components] for x in sets]
        seed = int(torch.randint(2**31 - 1, (), generator=rng))
        fit = KMeans(n_clusters=self.cells, n_init=10, random_state=seed)
        with warnings.catch_warnings():  # fewer distinct samples than clusters leave cells empty
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit.fit(sets[0].cpu().numpy())
        own, held, made = (torch.from_numpy(fit.predict(x.cpu().numpy())).long() for x in sets)
        total = weight = 0.0
        for c in range(self.cells):
            parts = [x[(labels == c).to(x.device)] for x, labels in zip(sets, (own, held, made), strict=True)]
            known, test, fakes = (Bank(Samples(part)) for part in parts)
            if not len(known) or not len(test) or len(fakes) < self.least:
                continue
            share = len(test) / len(real)
            total += share * rank_z(fakes.nearest(known)[0], test.nearest(known)[0])
            weight += share
        if not weight:
            raise ConfigError(
                f"no cell of ct has {self.least} fakes and a held-out sample", hint="evaluate on more samples"
            )
        return {"ct": total / weight}


def rank_z(a: Tensor, b: Tensor) -> float:
    """(U - m n / 2) / (m n (m + n + 1) / 12)^(1/2), U the pairs with a_i > b_j and half of those with a_i = b_j."""
    m, n = len(a), len(b)
    ordered = b.sort().values
    below = torch.searchsorted(ordered, a, right=False).double()
    not_above = torch.searchsorted(ordered, a, right=True).double()
    u = ((below + not_above) / 2).sum().item()
    return (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [AuthPct, CT]
