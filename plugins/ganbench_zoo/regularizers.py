"""Gradient penalties, normalisation, clipping and noise, each with the factor of its paper.

E is the mean over the batch. A gradient "per sample" is that of one sample's score with respect to that sample:
[B, *shape], with one norm for each of the B samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Batch, Component, DStep, GStep, Regularizer, field, hookimpl

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, Params, Slots


def batch_norm_refusal(name: str, cell: Cell) -> str | None:
    """Why a term that treats samples one by one refuses a discriminator that mixes them."""
    if getattr(cell.discriminator, "norm", None) == "batch":
        return f"{name} needs per-sample gradients, and batch normalisation in the discriminator mixes the samples"
    if getattr(cell.discriminator, "minibatch_std", 0):
        return f"{name} needs per-sample gradients, and minibatch_std in the discriminator mixes the samples"
    return None


def weight_clipping_refusal(name: str, cell: Cell) -> str | None:
    """Why one bound on the discriminator's slope refuses another that keeps it from being reached."""
    if any(isinstance(r, WeightClipping) for r in cell.regularizers):
        return f"{name} and weight-clipping both bound the discriminator's slope: together its target is out of reach"
    return None


SCALELESS = frozenset({"adam", "adamw", "rmsprop"})
"""Optimizers whose moves stay the same if all gradients are multiplied by one number."""
BACK = "<"
"""Follows a parameter's name where its state is that of the view from its outputs back to its inputs."""


class NoRegularizer(Regularizer, name="none"):
    """0: nothing is added, wrapped or clipped."""


class R1(Regularizer, name="r1", source="https://arxiv.org/abs/1801.04406"):
    """(gamma / 2) E ||grad_x D(x)||^2 over real x; per-sample gradients."""

    derives = True

    gamma: float = field(default=10.0, ge=0.0, doc="coefficient; the penalty has half of it")

    def d_penalty(self, at: DStep) -> Tensor:
        return self.gamma / 2 * at.score_grad(at.real).square().flatten(1).sum(1).mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell)


class R2(Regularizer, name="r2", source="https://arxiv.org/abs/1801.04406"):
    """(gamma / 2) E ||grad_x D(x)||^2 over fake x; per-sample gradients, none of which reaches G."""

    derives = True

    gamma: float = field(default=10.0, ge=0.0, doc="coefficient; the penalty has half of it")

    def d_penalty(self, at: DStep) -> Tensor:
        return self.gamma / 2 * at.score_grad(at.fake).square().flatten(1).sum(1).mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell)


class GradientPenalty(Regularizer, name="gradient-penalty", source="https://arxiv.org/abs/1704.00028"):
    """weight E (||grad_x D(x)|| - target)^2 at x = u real + (1 - u) fake, u ~ U(0, 1) once per sample."""

    derives = True

    weight: float = field(default=10.0, ge=0.0, doc="coefficient")
    target: float = field(default=1.0, ge=0.0, doc="the slope that is asked for, in scores per unit of input")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"u": batch.per_sample(rng)}

    def d_penalty(self, at: DStep) -> Tensor:
        u = at.noise["u"]
        slope = norms(at.score_grad(u * at.real + (1 - u) * at.fake))
        return self.weight * (slope - self.target).square().mean()

    def mismatch(self, cell: Cell) -> str | None:
        return batch_norm_refusal(self.name, cell) or weight_clipping_refusal(self.name, cell)


def norms(v: Tensor) -> Tensor:
    """The Euclidean norm [B] of each sample of ``v [B, *shape]``, whose derivative at 0 is 0."""
    squared = v.square().flatten(1).sum(1)
    # The root has no derivative at 0, where a discriminator that ignores x puts every sample: take 0 for it.
    # An epsilon under the root would do too, but would move every other value.
    steep = squared > 0
    return torch.where(steep, torch.where(steep, squared, 1.0).sqrt(), 0.0)


class SpectralNorm(Regularizer, name="spectral-norm", source="https://arxiv.org/abs/1802.05957"):
    """scale W / sigma(W), for every parameter W of two or more dimensions, seen as a matrix [first dimension, rest].

    sigma = u'Wv, with v = W'u / |W'u| and u = Wv / |Wv| iterated ``iterations`` times before each turn of that
    network, and constant to the gradient. The first u is the sequence sin(1), sin(2), ... improved by 15 power
    iterations, so that the first steps are normalised too. For a convolution, sigma is that of the flattened
    kernel, as in the paper, which is not the operator norm of the convolution. A weight of zero stays zero.

    ``bidirectional`` takes for sigma the mean of those of the views [out, in x kernel] and [in, out x kernel], and
    with a tuned ``scale`` it is bidirectional scaled spectral normalisation (https://arxiv.org/abs/2009.02773).
    ``bounded`` leaves weights alone whose sigma is no more than ``scale``: W / max(1, sigma / scale)
    (https://arxiv.org/abs/1804.04368).
    """

    scale: float = field(default=1.0, gt=0.0, doc="the largest singular value that a weight gets")
    bidirectional: bool = field(default=False, doc="whether a convolution's sigma is the mean over both its views")
    bounded: bool = field(default=False, doc="whether weights below the scale stay as they are")
    iterations: int = field(default=1, ge=1, doc="power iterations before a turn")
    eps: float = field(default=1e-12, gt=0.0, doc="norm up to which a weight counts as zero and is not divided")

    def init(self, params: Params) -> Slots:
        state: Slots = {}
        for name, weight in self._views(params).items():
            # neither random nor special: sin of the integers is orthogonal to no singular vector one meets
            first = torch.arange(1, len(weight) + 1, dtype=weight.dtype, device=weight.device).sin()
            state[f"u:{name}"] = first / torch.linalg.vector_norm(first)
            state[f"v:{name}"] = torch.zeros_like(weight[0])
        return self._iterate(params, state, 15)  # as many as torch's own parametrization warms up with

    def prepare(self, params: Params, state: Slots) -> Slots:
        return self._iterate(params, state, self.iterations)

    def reparameterize(self, params: Params, state: Slots) -> Params:
        sigma = {name: state[f"u:{name}"] @ (w @ state[f"v:{name}"]) for name, w in self._views(params).items()}
        new = dict(params)
        for name in matrices(params):
            both = [sigma[view] for view in (name, f"{name}{BACK}") if view in sigma]
            size = sum(both[1:], both[0]) / len(both)
            relative = torch.where(size > self.eps, size, self.scale) / self.scale
            new[name] = params[name] / (relative.clamp(min=1.0) if self.bounded else relative)
        return new

    def mismatch(self, cell: Cell) -> str | None:
        return weight_clipping_refusal(self.name, cell)

    def _views(self, params: Params) -> Params:
        """The matrices whose largest singular values count; a matrix has the same one in both directions."""
        views = matrices(params)
        if self.bidirectional:
            views |= {f"{name}{BACK}": p.transpose(0, 1).flatten(1) for name, p in params.items() if p.dim() > 2}
        return views

    def _iterate(self, params: Params, state: Slots, times: int) -> Slots:
        new = dict(state)
        for name, weight in self._views(params).items():
            u, v = new[f"u:{name}"], new[f"v:{name}"]
            for _ in range(times):
                v = self._unit(weight.mT @ u, v)
                u = self._unit(weight @ v, u)
            new[f"u:{name}"], new[f"v:{name}"] = u, v
        return new

    def _unit(self, vector: Tensor, otherwise: Tensor) -> Tensor:
        """The direction of ``vector``; a weight that is zero keeps the one it had, or it would never leave zero."""
        norm = torch.linalg.vector_norm(vector)
        return torch.where(norm > self.eps, vector / norm.clamp(min=self.eps), otherwise)


def matrices(params: Params) -> Params:
    """The parameters of two or more dimensions as matrices [first dimension, rest]."""
    return {name: p.flatten(1) for name, p in params.items() if p.dim() >= 2}


class GradientClipping(Regularizer, name="gradient-clipping", source="https://arxiv.org/abs/1211.5063"):
    """g <- g min(1, max_norm / (||g||_p + 1e-6)), with one norm over all gradients of a network, penalties included.

    The 1e-6 is that of ``torch.nn.utils.clip_grad_norm_``. A factor that never changes is no more than a change
    of scale, which Adam undoes: under Adam only the steps that are clipped more than others differ.
    """

    max_norm: float = field(default=1.0, gt=0.0, doc="the norm above which gradients shrink")
    norm_type: float = field(default=2.0, gt=0.0, doc="p of the norm; inf for the largest absolute value")

    diagnostics = ("norm", "clipped")

    def transform_grads(self, grads: Params, params: Params, state: Slots) -> Params:
        del params, state
        factor = self._factor(self._norm(grads))
        return {name: g * factor for name, g in grads.items()}

    def diagnose(self, grads: Params, params: Params, state: Slots) -> dict[str, Tensor]:
        """The norm before clipping, and 1 where it is clipped: its mean is the fraction of clipped steps."""
        del params, state
        norm = self._norm(grads)
        return {"norm": norm, "clipped": (self._factor(norm) < 1).to(norm.dtype)}

    def advice(self, cell: Cell) -> str | None:
        if cell.optimizer.name in SCALELESS:
            return (
                f"{cell.optimizer.name} undoes a constant factor, so {self.name} that always binds changes little; "
                "the fraction of clipped steps is logged"
            )
        return None

    def _norm(self, grads: Params) -> Tensor:
        norms = [torch.linalg.vector_norm(g, self.norm_type) for g in grads.values()]
        total: Tensor = torch.linalg.vector_norm(torch.stack(norms), self.norm_type)
        return total

    def _factor(self, norm: Tensor) -> Tensor:
        return (self.max_norm / (norm + 1e-6)).clamp(max=1.0)


class ValueClipping(Regularizer, name="value-clipping", source="https://arxiv.org/abs/1211.5063"):
    """g <- min(max(g, -bound), bound) for every entry of every gradient of a network, penalties included."""

    bound: float = field(default=1.0, gt=0.0, doc="largest absolute value of an entry")

    def transform_grads(self, grads: Params, params: Params, state: Slots) -> Params:
        del params, state
        return {name: g.clamp(-self.bound, self.bound) for name, g in grads.items()}


class WeightClipping(Regularizer, name="weight-clipping", source="https://arxiv.org/abs/1701.07875"):
    """w <- min(max(w, -bound), bound) for every parameter, biases included, after each move of the network."""

    bound: float = field(default=0.01, gt=0.0, doc="largest absolute value of a parameter")

    def project(self, params: Params, state: Slots) -> Params:
        del state
        return {name: p.clamp(-self.bound, self.bound) for name, p in params.items()}


class InstanceNoise(Regularizer, name="instance-noise", source="https://arxiv.org/abs/1610.04490"):
    """D sees x + sigma n, n ~ N(0, I), for real and fake x in both players' turns."""

    sigma: float = field(default=0.1, ge=0.0, doc="standard deviation of the noise, in units of the data")
    anneal: int = field(default=0, ge=0, doc="steps in which sigma falls to 0, linearly; with 0 it stays as it is")

    def init(self, params: Params) -> Slots:
        return {"left": next(iter(params.values())).new_ones(())} if self.anneal else {}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        if not self.anneal:
            return state
        left = 1 - (at.step + 1) / self.anneal  # of sigma, in the next step
        return {"left": left.clamp(min=0.0).to(state["left"].dtype)}

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"real": batch.normal(rng), "fake": batch.normal(rng)}

    def augment(self, x: Tensor, side: Literal["real", "fake"], noise: Slots, state: Slots) -> Tensor:
        return x + self.sigma * state.get("left", 1.0) * noise[side]


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [
        NoRegularizer,
        R1,
        R2,
        GradientPenalty,
        SpectralNorm,
        GradientClipping,
        ValueClipping,
        WeightClipping,
        InstanceNoise,
    ]
