"""What classifiers say of generated samples: inception score, class histogram, and accuracy learned from fakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Bank, Component, ConfigError, Measure, Metric, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell


class InceptionScore(Metric, name="inception-score", source="https://arxiv.org/abs/1606.03498"):
    """is = mean over ``splits`` parts of exp E_x KL(p(y|x) || E_x p(y|x)), is_std its standard deviation over them.

    p(y|x) is the softmax of the extractor's logits; without an extractor the samples are logits. From 1 to the number
    of classes. The shuffle and the parts are those of torch-fidelity. It is the "Inception Score" only with logits of
    the Inception network; with another classifier it is an inception-style score of that classifier. It does
    not look at real samples, nor within classes: a classifier that knows one picture for each class scores it best.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("is", "higher"), Measure("is_std", None))

    splits: int = field(default=10, ge=1, doc="parts of the samples")

    def mismatch(self, cell: Cell) -> str | None:
        return needs_classifier(self, cell)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del real, rng
        fake.need(self.splits, f"inception-score in {self.splits} parts")
        logits = logits_of(fake, self)
        # the generator and its seed are those of torch-fidelity, so that the parts are
        order = np.random.RandomState(2020).permutation(len(logits))
        p = logits.softmax(1)[torch.from_numpy(order).to(logits.device)]
        n = len(p)
        parts = [p[i * n // self.splits : (i + 1) * n // self.splits] for i in range(self.splits)]
        scores = torch.stack([_divergence(part).exp() for part in parts])
        return {"is": scores.mean().item(), "is_std": scores.std(correction=0).item()}


def _divergence(p: Tensor) -> Tensor:
    """mean_i KL(p_i || mean p), of rows p [n, classes]; a share of 0 adds nothing."""
    mean = p.mean(0)
    divergence: Tensor = torch.special.xlogy(p, p).sum(1).mean() - torch.special.xlogy(mean, mean).sum()
    return divergence


class ClassHistogram(Metric, name="class-histogram", source="https://arxiv.org/abs/1705.07761"):
    """class_kl = KL(c_f || c_r), shares of classes among fakes and real samples, as the extractor's classifier says.

    Without an extractor the samples are logits. Real counts begin at 1/2, so that a class that no real sample has
    is no division by 0. Where both distributions are equal, it is about (classes - 1) / n.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("class_kl", "lower", "nats"),)

    def mismatch(self, cell: Cell) -> str | None:
        return needs_classifier(self, cell)

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        logits = [logits_of(bank, self) for bank in (fake, real)]
        counts = [z.argmax(1).bincount(minlength=z.shape[1]).double() for z in logits]
        p, q = counts[0] / counts[0].sum(), (counts[1] + 0.5) / (counts[1] + 0.5).sum()
        return {"class_kl": torch.special.xlogy(p, p / q).sum().item()}


class ClassifierAccuracy(Metric, name="classifier-accuracy", source="https://arxiv.org/abs/1905.10887"):
    """cas = the accuracy on labelled real samples of a classifier that has learned from labelled fakes alone.

    Its floor, real to real, is the accuracy after learning from as many real training samples. The classifier is
    a logistic regression of the features (standardised by the fakes'), with penalty (``penalty`` / 2) |W|^2 on the mean
    cross-entropy, minimised by L-BFGS from 0: the small form, which has no randomness. Fakes carry the labels that
    the generator was asked for, so a generator that ignores them scores no better than chance.
    """

    measures: ClassVar[tuple[Measure, ...]] = (Measure("cas", "higher"),)

    penalty: float = field(default=1e-3, ge=0.0, doc="coefficient of the squared weights")
    iterations: int = field(default=100, ge=1, doc="iterations of L-BFGS")

    def mismatch(self, cell: Cell) -> str | None:
        if cell.dataset.spec().classes > 1:
            return None
        return f"metric classifier-accuracy needs a dataset with classes, and {cell.dataset.name} has none"

    def compare(self, fake: Bank, real: Bank, rng: torch.Generator) -> Mapping[str, float]:
        del rng
        if fake.labels is None or real.labels is None:
            raise ConfigError(
                "metric classifier-accuracy needs labels of fake and real samples",
                hint="in Python give them with labels=(fake, real)",
            )
        x = fake.rows.double()
        y, true = (labels.to(x.device) for labels in (fake.labels, real.labels))
        mean, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        classes = int(max(y.max(), true.max())) + 1
        weight = self._learn((x - mean) / scale, y, classes)
        right = _scores((real.rows.double() - mean) / scale, weight).argmax(1) == true
        return {"cas": right.double().mean().item()}

    def _learn(self, x: Tensor, y: Tensor, classes: int) -> Tensor:
        weight = torch.zeros(classes, x.shape[1] + 1, dtype=torch.float64, device=x.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=self.iterations, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = self.penalty / 2 * weight[:, :-1].square().sum()
            loss: Tensor = F.cross_entropy(_scores(x, weight), y) + penalty
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            return loss

        with torch.enable_grad():
            optimizer.step(closure)  # type: ignore[no-untyped-call] # torch leaves it untyped
        return weight.detach()


def _scores(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight[:, :-1].T + weight[:, -1]


def logits_of(bank: Bank, metric: Metric) -> Tensor:
    """The logits [n, classes] of a bank.

    Raises:
        ConfigError: its extractor does not classify.
    """
    logits = bank.logits
    if logits is None:
        name = metric.extractor.name if metric.extractor else "this one"
        raise ConfigError(
            f"metric {metric.name} needs an extractor that classifies, and {name} has no logits",
            hint='extractor = "classifier" has',
        )
    return logits


def needs_classifier(metric: Metric, cell: Cell) -> str | None:
    """Why ``metric`` has no classifier to ask in ``cell``."""
    if metric.extractor is not None:
        return None
    return f"metric {metric.name} needs an extractor that classifies, and on {cell.dataset.name} it has none"


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The metrics of this module."""
    return [InceptionScore, ClassHistogram, ClassifierAccuracy]
