"""Optimizers: torch.optim's rules as functions from slots to slots, elementwise, so that stacked seeds share a call."""
# ruff: noqa: SLF001 # torch._foreach_* are the functions that torch.optim itself fuses its loops with

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from ganbench import Component, Optimizer, field, hookimpl, is_plain

if TYPE_CHECKING:
    from ganbench import Params

Tensors: TypeAlias = "list[Tensor] | tuple[Tensor, ...]"
COUNT = "steps"  # the name of a single tensor in its dictionary


class Adam(Optimizer, name="adam", source="https://arxiv.org/abs/1412.6980"):
    """p <- p - lr m^ / (sqrt(v^) + eps); m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2.

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) at the t-th update. beta1 = 0.5 is DCGAN's
    (https://arxiv.org/abs/1511.06434); the other defaults are the paper's.
    """

    beta1: float = field(default=0.5, ge=0.0, lt=1.0, doc="weight of the past in the mean of the gradients")
    beta2: float = field(default=0.999, ge=0.0, lt=1.0, doc="weight of the past in the mean of their squares")
    eps: float = field(default=1e-8, ge=0.0, doc="added to the root")
    lazy_correction: bool = field(
        default=False, doc="lr c, beta1^c and beta2^c, c = k / (k + 1), for a player with a penalty of `every` = k > 1"
    )

    def slowed(self, share: float) -> Adam:
        """With ``lazy_correction``, that of StyleGAN2 (https://arxiv.org/abs/1912.04958, appendix B)."""
        if not self.lazy_correction or share == 1:
            return self
        return self.with_values(
            lr_g=self.lr_g * share,
            lr_d=self.lr_d * share,
            beta1=self.beta1**share,
            beta2=self.beta2**share,
        )

    def init(self, params: Params) -> dict[str, Params]:
        return {"step": count(params), "m": zeros(params), "v": zeros(params)}

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        given = any(isinstance(number, Tensor) for number in (lr, self.beta1, self.beta2, self.eps))
        if is_plain(next(iter(params.values()))) and not given:
            return self._fused(params, grads, slots, lr)
        g = ordered(params, grads)  # what a compiler fuses itself
        t = slots["step"][COUNT] + 1
        m = g if not given and self.beta1 == 0 else lerp(ordered(params, slots["m"]), g, 1 - self.beta1)
        v = torch._foreach_mul(ordered(params, slots["v"]), self.beta2)
        add_square_(v, g, 1 - self.beta2)
        # denominator = -(sqrt(v^) + eps) (1 - beta1^t) / lr, so that one division of lists ends it
        denominator = torch._foreach_sqrt(v)
        scale_(denominator, (1 - power(self.beta2, t)).rsqrt())
        add_number_(denominator, self.eps)
        scale_(denominator, (1 - power(self.beta1, t)) / -lr)
        moved = torch._foreach_addcdiv(list(params.values()), m, denominator)
        return named(params, moved), {"step": {COUNT: t}, "m": named(params, m), "v": named(params, v)}

    def _fused(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        """The same by torch's fused kernel, which writes in place, on copies: a third of the time on small ones."""
        t = slots["step"][COUNT] + 1
        n, old = len(params), list(params.values())
        strides = [p.stride() for p in old]
        m, v, g = (
            [
                x if x.stride() == s else laid_out(x, p)
                for x, p, s in zip(ordered(params, of), old, strides, strict=True)
            ]
            for of in (slots["m"], slots["v"], grads)
        )
        copies = clones(old + m + v)
        p, m, v = copies[:n], copies[n : 2 * n], copies[2 * n :]
        torch._fused_adam_(
            p,
            g,
            m,
            v,
            [],
            [t.to(torch.float32)] * len(p),
            lr=lr,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )
        return named(params, p), {"step": {COUNT: t}, "m": named(params, m), "v": named(params, v)}


class SGD(Optimizer, name="sgd", source="https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html"):
    """p <- p - lr b; b <- momentum b + g, from b = 0."""

    momentum: float = field(
        default=0.0, gt=-1.0, lt=1.0, doc="weight of the past; negative values damp a game's rotation"
    )

    def init(self, params: Params) -> dict[str, Params]:
        return {"b": zeros(params)} if self.momentum else {}

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        g, old = ordered(params, grads), list(params.values())
        if "b" not in slots:
            return named(params, added(old, g, -lr)), slots
        b = torch._foreach_mul(ordered(params, slots["b"]), self.momentum)
        torch._foreach_add_(b, g)
        return named(params, added(old, b, -lr)), {"b": named(params, b)}


class RMSprop(Optimizer, name="rmsprop", source="https://www.cs.toronto.edu/~hinton/coursera/lecture6/lec6.pdf"):
    """p <- p - lr g / (sqrt(v) + eps); v <- alpha v + (1 - alpha) g^2, from v = 0 and without bias correction."""

    alpha: float = field(default=0.99, ge=0.0, lt=1.0, doc="weight of the past in the mean of the squared gradients")
    eps: float = field(default=1e-8, ge=0.0, doc="added to the root")

    def init(self, params: Params) -> dict[str, Params]:
        return {"v": zeros(params)}

    def update(
        self, params: Params, grads: Params, slots: dict[str, Params], lr: float
    ) -> tuple[Params, dict[str, Params]]:
        g = ordered(params, grads)
        v = torch._foreach_mul(ordered(params, slots["v"]), self.alpha)
        add_square_(v, g, 1 - self.alpha)
        denominator = torch._foreach_sqrt(v)
        add_number_(denominator, self.eps)
        moved = add_quotient(list(params.values()), g, denominator, -lr)
        return named(params, moved), {"v": named(params, v)}


# torch's operations over lists take the factors of some operands as numbers alone, and a factor that is swept is a
# tensor []: then the operand is multiplied first


def added(x: Tensors, y: Tensors, factor: float | Tensor) -> list[Tensor]:
    """Each x + factor y."""
    if isinstance(factor, Tensor):
        return list(torch._foreach_add(x, torch._foreach_mul(y, factor)))
    return list(torch._foreach_add(x, y, alpha=factor))


def scale_(x: Tensors, factor: Tensor) -> None:
    """For each, x <- factor x."""
    # of their type: a GPU takes the whole list at once then, and a CPU need not convert it for each tensor
    torch._foreach_mul_(x, factor.to(x[0].dtype))


def add_number_(x: Tensors, number: float | Tensor) -> None:
    """For each, x <- x + number."""
    if isinstance(number, Tensor):
        torch._foreach_add_(x, [number.to(x[0].dtype)] * len(x))
    else:
        torch._foreach_add_(x, number)


def add_square_(x: Tensors, y: Tensors, factor: float | Tensor) -> None:
    """For each, x <- x + factor y^2."""
    if isinstance(factor, Tensor):
        torch._foreach_addcmul_(x, torch._foreach_mul(y, factor), y)
    else:
        torch._foreach_addcmul_(x, y, y, value=factor)


def add_quotient(x: Tensors, y: Tensors, z: Tensors, factor: float | Tensor) -> list[Tensor]:
    """Each x + factor y / z."""
    if isinstance(factor, Tensor):
        return list(torch._foreach_addcdiv(x, torch._foreach_mul(y, factor), z))
    return list(torch._foreach_addcdiv(x, y, z, value=factor))


def lerp(x: Tensors, y: Tensors, weight: float | Tensor) -> list[Tensor]:
    """Each x + weight (y - x)."""
    if isinstance(weight, Tensor):
        return list(torch._foreach_lerp(x, y, [weight.to(x[0].dtype)] * len(x)))
    return list(torch._foreach_lerp(x, y, weight))


def power(base: float | Tensor, t: Tensor) -> Tensor:
    """``base ** t`` [], t from 1 on; of a number as an exponential, which a compiler computes once, and a power anew.

    What it fuses into a loop over a parameter, it would otherwise compute for every few elements.
    """
    if isinstance(base, Tensor):
        return base**t
    return torch.exp(t * math.log(base)) if base else torch.zeros_like(t)


def count(params: Params) -> Params:
    """The number of updates, 0: a tensor, so that a compiled step does not see a new constant each time."""
    device = next(iter(params.values())).device
    return {COUNT: torch.zeros((), dtype=torch.float64, device=device)}


def zeros(params: Params) -> Params:
    """A zero for every parameter."""
    return {name: torch.zeros_like(p) for name, p in params.items()}


def clones(tensors: list[Tensor]) -> list[Tensor]:
    """A copy of each, by one call where torch has it: copying small tensors is mostly calls."""
    whole = getattr(torch, "_foreach_clone", None)
    return [x.clone() for x in tensors] if whole is None else list(whole(tensors))


def laid_out(x: Tensor, like: Tensor) -> Tensor:
    """``x`` in memory as ``like`` is: the fused kernel goes by position in memory, whatever the strides say."""
    return torch.empty_like(like).copy_(x)


def ordered(params: Params, values: Params) -> list[Tensor]:
    """``values`` in the order of ``params``."""
    return [values[name] for name in params]


def named(params: Params, values: Iterable[Tensor]) -> Params:
    """``values``, in the order of ``params``, under their names."""
    return dict(zip(params, values, strict=True))


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every optimizer of this module."""
    return [Adam, SGD, RMSprop]
