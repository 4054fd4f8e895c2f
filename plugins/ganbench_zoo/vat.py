"""Virtual adversarial training of the discriminator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Batch, Component, DStep, Regularizer, field, hookimpl
from ganbench_zoo.losses import CRITICS
from ganbench_zoo.regularizers import batch_norm_refusal

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, Slots


class VAT(Regularizer, name="vat", source="https://arxiv.org/abs/1704.03976"):
    """alpha E KL(p(x) || p(x + r)), p = Bernoulli(sigmoid(D)), at the r of length epsilon that changes p the most.

    p(x) and r are constants to the gradient. E is over the samples of ``inputs`` together: with ``both`` it is the
    mean of the means over real and fake x.

    The direction of r comes from d ~ N(0, I). Mode ``power`` is the paper's: ``iterations`` times, d becomes the
    direction of the gradient of KL(p(x) || p(x + xi d)) in d. Mode ``exact`` uses that a discriminator with one
    score has its only such direction in grad_x D(x): one gradient, no xi. Both keep the sign that the random start
    had, and both keep the start where the gradient is zero. One iteration is enough for one score; the modes
    differ by O(xi). xi counts in units of the input: the paper's 1e-6 loses the direction to rounding on logits.
    """

    alpha: float = field(default=1.0, ge=0.0, doc="coefficient")
    epsilon: float = field(default=2.0, ge=0.0, doc="length of r for one sample, in units of the input")
    xi: float = field(default=0.1, gt=0.0, doc="length of the step by which mode 'power' probes the divergence")
    iterations: int = field(default=1, ge=1, doc="power iterations in mode 'power'")
    mode: Literal["power", "exact"] = "power"
    inputs: Literal["real", "fake", "both"] = "both"

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"real": batch.normal(rng), "fake": batch.normal(rng)}

    def d_penalty(self, at: DStep) -> Tensor:
        sides = ("real", "fake") if self.inputs == "both" else (self.inputs,)
        x, start = (torch.cat([of[side] for side in sides]) for of in (samples(at), at.noise))
        logits = torch.cat([scores(at)[side].detach() for side in sides])
        labels = None if at.labels is None else at.labels.repeat(len(sides))
        if self.mode == "exact":
            gradient = torch.cat([at.score_grad(samples(at)[side], create_graph=False) for side in sides])
            d = unit(along((gradient * start).flatten(1).sum(1).sign(), gradient), normal(start))
        else:
            d = adversarial(at, x, logits, normal(start), labels, xi=self.xi, iterations=self.iterations)
        moved = at.score(x + self.epsilon * d.detach(), labels)
        return self.alpha * bernoulli_divergence(logits, moved).mean()

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} reads scores as logits, and {cell.loss.name} asks for {cell.loss.output}"
        return batch_norm_refusal(self.name, cell)

    def advice(self, cell: Cell) -> str | None:
        if cell.loss.name in CRITICS:
            return (
                f"{self.name} reads scores as logits, which those of {cell.loss.name} are not; "
                "adversarial-lipschitz is the form for critics"
            )
        return None


def samples(at: DStep) -> Slots:
    """The real and the fake samples, by side."""
    return {"real": at.real, "fake": at.fake}


def scores(at: DStep) -> Slots:
    """The real and the fake scores, by side."""
    return {"real": at.real_scores, "fake": at.fake_scores}


def adversarial(
    at: DStep, x: Tensor, level: Tensor, d: Tensor, labels: Tensor | None, *, xi: float, iterations: int
) -> Tensor:
    """``d [n, *shape]`` of length 1 after power iterations towards where the scores ``level`` of ``x`` change most."""
    # grad_d KL = xi (p(x + xi d) - p(x)) grad D(x + xi d). The first factor is one number a sample, which the
    # normalisation reduces to its sign; that of the scores' difference is the same, and not lost to rounding where
    # the sigmoid saturates. So the divergence and the distance of scores have one direction.
    for _ in range(iterations):
        probed, gradient = at.score_and_grad((x + xi * d).detach(), labels, create_graph=False)
        d = unit(along((probed.detach() - level).sign(), gradient), d)
    return d


def bernoulli_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(Bernoulli(sigmoid(p)) || Bernoulli(sigmoid(q))) [B] of logits ``p [B]`` and ``q [B]``, without overflow."""
    # log sigmoid(t) = -sp(-t); linear beyond 40, where the difference is below rounding
    s = torch.sigmoid(p)
    yes = F.softplus(-q, threshold=40) - F.softplus(-p, threshold=40)
    no = F.softplus(q, threshold=40) - F.softplus(p, threshold=40)
    return s * yes + torch.sigmoid(-p) * no


def normal(v: Tensor) -> Tensor:
    """``v [n, *shape]`` with norm 1 for each sample."""
    return F.normalize(v.flatten(1)).reshape_as(v)


def unit(v: Tensor, otherwise: Tensor) -> Tensor:
    """``v [n, *shape]`` with norm 1 for each sample, and ``otherwise`` for samples where it is zero; not derivable."""
    flat = v.flatten(1)
    largest = torch.linalg.vector_norm(flat, torch.inf, dim=1, keepdim=True)
    # by the largest entry first: the squares of a gradient below 1e-23 are zero in float32
    scaled = flat / largest
    scaled = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return torch.where(largest > 0, scaled, otherwise.flatten(1)).reshape_as(v)


def along(factor: Tensor, v: Tensor) -> Tensor:
    """``v [B, *shape]`` times one ``factor [B]`` for each sample."""
    return factor.reshape(-1, *(1 for _ in v.shape[1:])) * v


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Virtual adversarial training."""
    return [VAT]
