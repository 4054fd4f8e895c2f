"""More penalties on the slope of the discriminator, each at the points and with the factor of its paper.

E is the mean over the batch; gradients are per sample, as in ``ganbench_zoo.regularizers``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Batch, Component, DStep, Regularizer, field, hookimpl
from ganbench_zoo.regularizers import batch_norm_refusal, norms, weight_clipping_refusal
from ganbench_zoo.vat import adversarial, normal, samples, scores

SIDES = ("real", "fake")

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, Slots


class LipschitzPenalty(Regularizer, name="lipschitz-penalty", source="https://arxiv.org/abs/1709.08894"):
    """weight E max(0, ||grad_x D(x)|| - target)^2 at x = u real + (1 - u) fake, u ~ U(0, 1) once per sample.

    One-sided: slopes below the target are free. The paper takes weights from 5 to 10 for images.
    """

    derives = True

    weight: float = field(default=10.0, ge=0.0, doc="coefficient")
    target: float = field(default=1.0, ge=0.0, doc="the slope that is allowed, in scores per unit of input")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"u": batch.per_sample(rng)}

    def d_penalty(self, at: DStep) -> Tensor:
        u = at.noise["u"]
        slope = norms(at.score_grad(u * at.real + (1 - u) * at.fake))
        return self.weight * F.relu(slope - self.target).square().mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell) or weight_clipping_refusal(self.name, cell)


class ZeroCenteredGradientPenalty(
    Regularizer, name="zero-centered-gradient-penalty", source="https://arxiv.org/abs/1902.03984"
):
    """weight E ||grad_x D(x)||^2 at x = u real + (1 - u) fake, u ~ U(0, 1) once per sample; without a factor 1/2."""

    derives = True

    weight: float = field(default=100.0, ge=0.0, doc="coefficient")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"u": batch.per_sample(rng)}

    def d_penalty(self, at: DStep) -> Tensor:
        u = at.noise["u"]
        gradient = at.score_grad(u * at.real + (1 - u) * at.fake)
        return self.weight * gradient.square().flatten(1).sum(1).mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell)


class MaxGradientPenalty(Regularizer, name="max-gradient-penalty", source="https://arxiv.org/abs/1902.05687"):
    """weight max ||grad_x D(x)||^2 over x = u real + (1 - u) fake, u ~ U(0, 1) once per sample, of the batch.

    The steepest sample stands for the Lipschitz constant, so the value grows with the batch.
    """

    derives = True

    weight: float = field(default=1.0, ge=0.0, doc="coefficient")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"u": batch.per_sample(rng)}

    def d_penalty(self, at: DStep) -> Tensor:
        u = at.noise["u"]
        gradient = at.score_grad(u * at.real + (1 - u) * at.fake)
        return self.weight * gradient.square().flatten(1).sum(1).amax()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell)


class Dragan(Regularizer, name="dragan", source="https://arxiv.org/abs/1705.07215"):
    """weight E (||grad_x D(x + d)|| - target)^2 around real x, with one of three published perturbations d.

    ``author``, the code of the paper's authors: d = a 0.5 std u, with u ~ U(0, 1) for each entry and a ~ U(0, 1) for
    each sample, so that d is never negative. ``symmetric``, as in compare_gan but for its clipping to [0, 1]:
    d = std (u - 0.5). ``gaussian``, the paper's text: d ~ N(0, c I). std is one number, over all entries of the
    batch. The three are not interchangeable.
    """

    derives = True

    weight: float = field(default=10.0, ge=0.0, doc="coefficient")
    target: float = field(default=1.0, ge=0.0, doc="the slope that is asked for, in scores per unit of input")
    variant: Literal["author", "symmetric", "gaussian"] = "author"
    c: float = field(default=10.0, ge=0.0, doc="variance of d in variant 'gaussian', in units of the data")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        if self.variant == "gaussian":
            return {"n": batch.normal(rng)}
        drawn = {"u": batch.uniform(rng)}
        return drawn | {"a": batch.per_sample(rng)} if self.variant == "author" else drawn

    def d_penalty(self, at: DStep) -> Tensor:
        x = at.real.detach()
        if self.variant == "gaussian":
            d = self.c**0.5 * at.noise["n"]
        elif self.variant == "author":
            d = at.noise["a"] * 0.5 * x.std(correction=0) * at.noise["u"]
        else:
            d = x.std(correction=0) * (at.noise["u"] - 0.5)
        return self.weight * (norms(at.score_grad(x + d)) - self.target).square().mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell) or weight_clipping_refusal(self.name, cell)


class AnalyticNoise(Regularizer, name="analytic-noise", source="https://arxiv.org/abs/1705.09367"):
    """(gamma / 2) {E (1 - s(x))^2 ||grad_x D(x)||^2 over real x + E s(x)^2 ||grad_x D(x)||^2 over fakes}.

    s = sigmoid(D): instance noise of variance gamma in the Jensen-Shannon GAN, to first order. The factors of s are
    part of the gradient. ``gamma`` falls to ``gamma decay`` over the first ``horizon`` steps, exponentially; the
    authors anneal from 2 by 0.01.
    """

    derives = True

    gamma: float = field(default=0.1, ge=0.0, doc="coefficient, the variance of the noise; the penalty has half of it")
    decay: float = field(default=1.0, gt=0.0, le=1.0, doc="what is left of gamma after the horizon")
    horizon: int = field(default=10_000, ge=1, doc="steps over which gamma falls")

    def d_penalty(self, at: DStep) -> Tensor:
        real = torch.sigmoid(-at.real_scores).square() * at.score_grad(at.real).square().flatten(1).sum(1)
        fake = torch.sigmoid(at.fake_scores).square() * at.score_grad(at.fake).square().flatten(1).sum(1)
        part = (at.step / self.horizon).clamp(max=1.0).to(real.dtype)
        return self.gamma * self.decay**part / 2 * (real.mean() + fake.mean())

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} reads scores as logits, and {cell.loss.name} asks for {cell.loss.output}"
        return batch_norm_refusal(self.name, cell)


class AdversarialLipschitz(Regularizer, name="adversarial-lipschitz", source="https://arxiv.org/abs/1907.05681"):
    """weight E max(0, |D(x) - D(x + r)| / ||r|| - target)^2, r the direction in which D changes the most.

    E is over real and fake x together; the length of r is uniform on [shortest, longest] for each sample. Its
    direction comes from d ~ N(0, I): ``iterations`` times, d becomes the direction of the gradient of
    |D(x) - D(x + xi d)| in d. r is constant to the gradient, both scores are not. It is VAT for critics: it needs no
    probability, and does not fade where D is sure. The paper's weight for Wasserstein critics is 100, the default of
    the authors' code 10; their code also clips x + r to the data's range.
    """

    weight: float = field(default=100.0, ge=0.0, doc="coefficient")
    target: float = field(default=1.0, ge=0.0, doc="the slope that is allowed, in scores per unit of input")
    xi: float = field(default=10.0, gt=0.0, doc="length of the step by which the direction is probed")
    iterations: int = field(default=1, ge=1, doc="power iterations")
    shortest: float = field(default=0.1, gt=0.0, doc="least length of r, in units of the input")
    longest: float = field(default=10.0, gt=0.0, doc="greatest length of r")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        starts = {side: batch.normal(rng) for side in ("real", "fake")}
        return starts | {f"length-{side}": batch.per_sample(rng) for side in starts}

    def d_penalty(self, at: DStep) -> Tensor:
        x, start, lengths = (
            torch.cat([of[name] for name in names])
            for of, names in ((samples(at), SIDES), (at.noise, SIDES), (at.noise, [f"length-{s}" for s in SIDES]))
        )
        level = torch.cat([scores(at)[side] for side in SIDES])
        labels = None if at.labels is None else at.labels.repeat(2)
        d = adversarial(at, x, level.detach(), normal(start), labels, xi=self.xi, iterations=self.iterations)
        length = self.shortest + (self.longest - self.shortest) * lengths
        slope = (level - at.score(x + length * d.detach(), labels)).abs() / length.flatten()
        return self.weight * F.relu(slope - self.target).square().mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell) or weight_clipping_refusal(self.name, cell)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [
        LipschitzPenalty,
        MaxGradientPenalty,
        ZeroCenteredGradientPenalty,
        Dragan,
        AnalyticNoise,
        AdversarialLipschitz,
    ]
