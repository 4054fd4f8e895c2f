"""Penalties on the parameters themselves, of either network (field ``on``).

Matrices are the parameters of two or more dimensions, seen as [first dimension, rest].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Component, Regularizer, field, hookimpl
from ganbench_zoo.regularizers import matrices

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench import Params, Slots


class WeightDecay(
    Regularizer,
    name="weight-decay",
    source="https://proceedings.neurips.cc/paper/1991/hash/8eefcfdf5990e441f0fb6f3fad709e21-Abstract.html",
):
    """(weight / 2) sum ||p||^2 over all parameters p, biases included: adds weight p to the gradients.

    It is the ``weight_decay`` of torch's SGD and Adam. For decay that Adam does not rescale there is ``adamw``.
    """

    weight: float = field(default=1e-4, ge=0.0, doc="coefficient; the penalty has half of it")

    def weight_penalty(self, params: Params, state: Slots) -> Tensor:
        del state
        return self.weight / 2 * total(params, [p.square().sum() for p in params.values()])


class Orthogonal(Regularizer, name="orthogonal", source="https://arxiv.org/abs/1809.11096"):
    """weight sum ||W W' * (1 - I)||_F^2 over all matrices W: the rows of each become orthogonal, of any length.

    ``columns`` has W'W in place of W W'. ``brock`` is the stricter penalty that BigGAN's relaxes, ||W W' - I||_F^2
    (https://arxiv.org/abs/1609.07093). BigGAN's code adds 2 strength (W W' * (1 - I)) W to the gradients, that of
    strength / 2 times the first: its strength of 1e-4 is a weight of 5e-5 here. BigGAN has it on the generator.
    """

    weight: float = field(default=1e-4, ge=0.0, doc="coefficient")
    variant: Literal["rows", "columns", "brock"] = "rows"

    def weight_penalty(self, params: Params, state: Slots) -> Tensor:
        del state
        return self.weight * total(params, [self._distance(w) for w in matrices(params).values()])

    def _distance(self, w: Tensor) -> Tensor:
        products = w.mT @ w if self.variant == "columns" else w @ w.mT
        eye = torch.eye(len(products), dtype=w.dtype, device=w.device)
        off = products - eye if self.variant == "brock" else products * (1 - eye)
        return off.square().sum()


class SpectralIsometry(Regularizer, name="spectral-isometry", source="https://arxiv.org/abs/1810.09102"):
    """weight sum sigma(W W' - I) over all matrices W [out, rest]: the largest deviation of any direction's length.

    sigma is the spectral norm, ||(W W' - I) v|| at a unit v that ``iterations`` steps v <- (W W' - I) v move before
    each turn of that network; v is constant to the gradient. The paper writes a convolution as [rest, out], so its
    W'W is this W W'. Its weight falls from 1e-1 to 1e-4 over training.
    """

    weight: float = field(default=0.1, ge=0.0, doc="coefficient")
    iterations: int = field(default=2, ge=1, doc="power iterations before a turn")

    def init(self, params: Params) -> Slots:
        state: Slots = {}
        for name, w in matrices(params).items():
            first = torch.arange(1, len(w) + 1, dtype=w.dtype, device=w.device).sin()
            state[f"v:{name}"] = first / torch.linalg.vector_norm(first)
        return state

    def prepare(self, params: Params, state: Slots) -> Slots:
        new = {}
        for name, w in matrices(params).items():
            v = state[f"v:{name}"]
            for _ in range(self.iterations):
                moved = deviation(w, v)
                length = torch.linalg.vector_norm(moved)
                v = torch.where(length > 0, moved / torch.where(length > 0, length, 1.0), v)
            new[f"v:{name}"] = v
        return new

    def weight_penalty(self, params: Params, state: Slots) -> Tensor:
        terms = []
        for name, w in matrices(params).items():
            squared = deviation(w, state[f"v:{name}"]).square().sum()
            apart = squared > 0  # the root has no derivative at an orthogonal matrix: take 0 for it
            terms.append(torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0))
        return self.weight * total(params, terms)


class HistoricalAveraging(Regularizer, name="historical-averaging", source="https://arxiv.org/abs/1606.03498"):
    """weight ||p - (p_1 + ... + p_t) / t||^2 over all parameters p; p_i are those before the i-th turn, p = p_t.

    The mean is constant to the gradient.
    """

    weight: float = field(default=1.0, ge=0.0, doc="coefficient")

    def init(self, params: Params) -> Slots:
        like = next(iter(params.values()))
        return {"count": like.new_zeros(())} | {f"mean:{name}": torch.zeros_like(p) for name, p in params.items()}

    def prepare(self, params: Params, state: Slots) -> Slots:
        count = state["count"] + 1
        means = {name: state[f"mean:{name}"] for name in params}
        return {"count": count} | {f"mean:{name}": m + (params[name] - m) / count for name, m in means.items()}

    def weight_penalty(self, params: Params, state: Slots) -> Tensor:
        return self.weight * total(params, [(p - state[f"mean:{name}"]).square().sum() for name, p in params.items()])


def deviation(w: Tensor, v: Tensor) -> Tensor:
    """(W W' - I) v [out] of ``w [out, rest]`` and ``v [out]``."""
    return w @ (w.mT @ v) - v


def total(params: Params, terms: list[Tensor]) -> Tensor:
    """The sum [] of ``terms``, of which a network of ``params`` without matrices may have none."""
    return torch.stack(terms).sum() if terms else next(iter(params.values())).new_zeros(())


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [WeightDecay, Orthogonal, SpectralIsometry, HistoricalAveraging]
