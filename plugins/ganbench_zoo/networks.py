"""Networks for vectors: the two of the Dirac-GAN, and fully connected ones for data of any shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from ganbench import Component, ConfigError, ContractError, Discriminator, Generator, SampleSpec, field, hookimpl

if TYPE_CHECKING:
    from ganbench import Cell

DIRAC_SOURCE = "https://arxiv.org/abs/1801.04406"
MLP_SOURCE = "https://arxiv.org/abs/1611.02163"


class Point(nn.Module):
    """``G(z) = theta`` for every z: [B, latent] -> [B, 1]."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([start]))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        return self.theta.expand(z.shape[0], 1)


class Slope(nn.Module):
    """``D(x) = psi x``, without a bias: [B, 1] -> [B]."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([start]))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        return x[:, 0] * self.psi


def _dirac_refusal(name: str, spec: SampleSpec) -> str | None:
    return None if spec.shape == (1,) else f"{name} is for data on the line, of shape [1], not {list(spec.shape)}"


class DiracGenerator(Generator, name="dirac", source=DIRAC_SOURCE):
    """G(z) = theta for every z: the generator of the Dirac-GAN, with one parameter."""

    latent: int = field(default=1, ge=1, doc="dimension of the latent z, which is ignored")
    start: float = field(default=1.0, doc="initial theta")

    def mismatch(self, cell: Cell) -> str | None:
        return _dirac_refusal("generator dirac", cell.dataset.spec())

    def build(self, spec: SampleSpec) -> nn.Module:
        check(_dirac_refusal("generator dirac", spec))
        return Point(self.start)


class DiracDiscriminator(Discriminator, name="dirac", source=DIRAC_SOURCE):
    """D(x) = psi x, without a bias: the discriminator of the Dirac-GAN, with one parameter."""

    start: float = field(default=1.0, doc="initial psi")

    def mismatch(self, cell: Cell) -> str | None:
        return _dirac_refusal("discriminator dirac", cell.dataset.spec())

    def build(self, spec: SampleSpec) -> nn.Module:
        check(_dirac_refusal("discriminator dirac", spec))
        return Slope(self.start)


class ToRange(nn.Module):
    """``middle + reach * tanh(x)`` where the data is bounded, else ``x``: the last layer of a generator."""

    def __init__(self, spec: SampleSpec) -> None:
        super().__init__()
        self.bounded = spec.bounded
        self.middle = (spec.high + spec.low) / 2 if spec.bounded else 0.0
        self.reach = (spec.high - spec.low) / 2 if spec.bounded else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.middle + self.reach * torch.tanh(x) if self.bounded else x


def one_hot(y: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """The labels [B] as rows [B, classes] of zeros and a one, in the type of ``like``.

    Raises:
        ContractError: a conditional network was called without labels.
    """
    if y is None:
        raise ContractError("a conditional network was called without labels")
    return (y[:, None] == torch.arange(classes, device=y.device)).to(like.dtype)


def check(refusal: str | None) -> None:
    """Raise the reason why a network does not fit the data, where there is one."""
    if refusal is not None:
        raise ConfigError(refusal)


def unlabelled(name: str, spec: SampleSpec, conditional: bool) -> str | None:  # noqa: FBT001 # the field, passed on
    """Why a conditional network refuses data without classes, or None."""
    return f"{name} is conditional, but the data has no classes" if conditional and not spec.classes else None


class Dropout(nn.Module):
    """x m, where m [B, units] is 0 with probability ``rate`` and 1 / (1 - rate) otherwise; whole channels of images.

    Sample i has row i of m modulo B, in every call of a turn. Without a draw, m is 1, its mean.
    """

    def __init__(self, rate: float, units: int) -> None:
        super().__init__()
        self.rate, self.units = rate, units
        self.register_buffer("mask", torch.ones(1, units))

    def redraw(self, size: int, rng: torch.Generator) -> dict[str, Tensor]:
        """A mask for batches of ``size``."""
        return {"mask": (torch.rand(size, self.units, generator=rng) >= self.rate) / (1 - self.rate)}

    def forward(self, x: Tensor) -> Tensor:
        mask = self.get_buffer("mask")
        if len(mask) > 1:
            mask = mask.repeat(math.ceil(len(x) / len(mask)), 1)[: len(x)]
        return x * mask.reshape(*mask.shape, *(1 for _ in x.shape[2:]))


DROPPED = "probability with which a channel of a sample is 0 in a turn, after each {}"
RATE_OF_DROPOUT = "probability with which a hidden unit of a sample is 0 in a turn, the others growing by 1 / (1 - p)"


def perceptron(sizes: list[int], activation: type[nn.Module], gain: float, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of ``sizes`` with an activation between them: orthogonal weights times ``gain``, zero biases.

    Before an activation that has them, a layer has as many more outputs as there are ``pieces`` to each unit.
    """
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        pieces = getattr(activation, "pieces", 1) if i < len(sizes) - 2 else 1
        linear = nn.Linear(fan_in, fan_out * pieces)
        nn.init.orthogonal_(linear.weight, gain)
        nn.init.zeros_(linear.bias)
        if i:
            layers += [activation(), Dropout(dropout, fan_in)] if dropout else [activation()]
        layers.append(linear)
    return nn.Sequential(*layers)


class Leaky(nn.LeakyReLU):
    """max(x, 0.2 x)."""

    def __init__(self) -> None:
        super().__init__(0.2)


class GroupSort(nn.Module):
    """The units in pairs, each in ascending order: [3, -1, 2, 5] -> [-1, 3, 2, 5] (https://arxiv.org/abs/1811.05381)."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.reshape(len(x), -1, 2).unbind(2)
        return torch.stack([torch.minimum(first, second), torch.maximum(first, second)], 2).flatten(1)


class Maxout(nn.Module):
    """The largest of five linear pieces for each unit, as in the first GAN (https://arxiv.org/abs/1302.4389)."""

    pieces: ClassVar[int] = 5

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, self.pieces).amax(2)


Activation = Literal["leaky-relu", "relu", "tanh", "groupsort", "maxout"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "leaky-relu": Leaky,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "groupsort": GroupSort,
    "maxout": Maxout,
}


def with_spread(x: Tensor, group: int) -> Tensor:
    """Features ``x [B, d]`` and the mean of their standard deviations in the sample's group, [B, d + 1].

    Samples i, i + B / group, i + 2 B / group, ... are a group (https://arxiv.org/abs/1710.10196).
    """
    deviation = (x.reshape(group, -1, x.shape[1]).var(0, correction=0) + 1e-8).sqrt().mean(1)
    return torch.cat([x, deviation.repeat(group)[:, None]], dim=1)


def undivided(name: str, cell: Cell, group: int) -> str | None:
    """Why groups of samples refuse a batch that they do not divide, or None."""
    if group and cell.batch % group:
        return f"{name} has groups of {group} samples, which do not divide a batch of {cell.batch}"
    return None


class Mapped(nn.Module):
    """A generator fed with w [B, latent], which a mapping network makes of z; ``part`` "map" and "synthesize" cut it.

    w is z / sqrt(mean z^2) after ``depth`` layers with leaky ReLU 0.2 each (https://arxiv.org/abs/1812.04948).
    """

    parts: ClassVar[frozenset[str]] = frozenset({"map", "synthesize"})

    def __init__(self, body: nn.Module, latent: int, depth: int) -> None:
        super().__init__()
        self.body = body
        self.mapping = perceptron([latent] * (depth + 1), Leaky, nn.init.calculate_gain("leaky_relu", 0.2))
        self.mapping.append(Leaky())

    def forward(self, z: Tensor, y: Tensor | None = None, part: str = "") -> Tensor:
        if part != "synthesize":
            z = self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        if part == "map":
            return z
        x: Tensor = self.body(z, y, part) if part and part not in self.parts else self.body(z, y)
        return x


def mapped(body: nn.Module, latent: int, depth: int) -> nn.Module:
    """``body``, behind a mapping network where there is a depth of one."""
    return Mapped(body, latent, depth) if depth else body


MAPPING = "layers from z to the w that the network is fed with, as in StyleGAN; 0 for none"


class PerceptronG(nn.Module):
    """[B, latent] -> [B, *shape]; a label enters as a one-hot row beside z."""

    def __init__(self, sizes: list[int], spec: SampleSpec, classes: int, gain: float) -> None:
        super().__init__()
        self.shape, self.classes = spec.shape, classes
        self.layers = perceptron(sizes, nn.ReLU, gain)
        self.to_range = ToRange(spec)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        x: Tensor = self.to_range(self.layers(z))
        return x.reshape(z.shape[0], *self.shape)


class PerceptronD(nn.Module):
    """[B, *shape] -> [B]; a label enters as a one-hot row beside x."""

    def __init__(
        self,
        sizes: list[int],
        classes: int,
        scale: float,
        gain: float,
        activation: Activation = "leaky-relu",
        group: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.classes, self.scale, self.group = classes, scale, group
        self.layers = perceptron(sizes, ACTIVATIONS[activation], gain, dropout)
        if group:
            self.layers[-1] = perceptron([sizes[-2] + 1, sizes[-1]], Leaky, gain)[0]

    def labelled(self, x: Tensor, y: Tensor | None) -> Tensor:
        """What the first layer gets, [B, first size]."""
        x = x.flatten(1) if self.scale == 1 else x.flatten(1) * self.scale
        return torch.cat([x, one_hot(y, self.classes, x)], dim=1) if self.classes else x

    def embed(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The outputs of the last layer, [B, last size]."""
        if self.group:
            outputs: Tensor = self.layers[-1](with_spread(self.code(x, y), self.group))
            return outputs
        straight: Tensor = self.layers(self.labelled(x, y))
        return straight

    def code(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The last hidden units, [B, width]."""
        hidden: Tensor = self.layers[:-1](self.labelled(x, y))
        return hidden

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        return self.code(x, y) if code else self.embed(x, y)[:, 0]


class MLPGenerator(Generator, name="mlp", source=MLP_SOURCE):
    """z -> (linear, ReLU) x depth -> linear -> x, for data of any shape; tanh onto the range of bounded data.

    Parameters: (latent + 1) width + (depth - 1) (width + 1) width + (width + 1) size. Weights start orthogonal
    times ``gain`` (0.8 as in Metz et al. 2017, appendix), biases at zero.
    """

    width: int = field(default=128, ge=1, doc="units in a hidden layer")
    depth: int = field(default=2, ge=1, doc="hidden layers")
    gain: float = field(default=0.8, gt=0.0, doc="factor of the orthogonal initial weights")
    conditional: bool = field(default=False, doc="whether the label, one-hot, enters beside z")
    mapping: int = field(default=0, ge=0, doc=MAPPING)

    @property
    def parts(self) -> frozenset[str]:
        """Those of a mapping network, if there is one."""
        return Mapped.parts if self.mapping else frozenset()

    def mismatch(self, cell: Cell) -> str | None:
        return unlabelled("generator mlp", cell.dataset.spec(), self.conditional)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(unlabelled("generator mlp", spec, self.conditional))
        classes = spec.classes if self.conditional else 0
        sizes = [self.latent + classes, *[self.width] * self.depth, spec.size]
        return mapped(PerceptronG(sizes, spec, classes, self.gain), self.latent, self.mapping)


class MLPDiscriminator(Discriminator, name="mlp", source=MLP_SOURCE):
    """x -> input_scale x -> (linear, leaky ReLU 0.2) x depth -> linear -> score, for data of any shape.

    Parameters: (size + 1) width + (depth - 1) (width + 1) width + width + 1. Weights start orthogonal times
    ``gain``, biases at zero. No normalization, so that penalties on the gradient of one sample make sense. Its code
    is its last hidden layer. ``maxout`` has five linear pieces for each unit, and ``groupsort`` needs an even width.
    """

    has_code = True

    width: int = field(default=128, ge=1, doc="units in a hidden layer")
    depth: int = field(default=2, ge=1, doc="hidden layers")
    gain: float = field(default=0.8, gt=0.0, doc="factor of the orthogonal initial weights")
    input_scale: float = field(default=1.0, gt=0.0, doc="factor on x; 0.25 on ring in Metz et al. 2017")
    conditional: bool = field(default=False, doc="whether the label, one-hot, enters beside x")
    activation: Activation = "leaky-relu"
    minibatch_std: int = field(default=0, ge=0, doc="samples in a group whose spread is one more unit; 0 for none")
    dropout: float = field(default=0.0, ge=0.0, lt=1.0, doc=f"{RATE_OF_DROPOUT} (https://arxiv.org/abs/1207.0580)")

    def validate(self) -> None:
        if self.activation == "groupsort" and self.width % 2:
            raise ConfigError(f"groupsort sorts pairs, and {self.width} is odd", place=".width")

    def mismatch(self, cell: Cell) -> str | None:
        return unlabelled("discriminator mlp", cell.dataset.spec(), self.conditional) or undivided(
            "discriminator mlp", cell, self.minibatch_std
        )

    def build(self, spec: SampleSpec) -> nn.Module:
        check(unlabelled("discriminator mlp", spec, self.conditional))
        classes = spec.classes if self.conditional else 0
        sizes = [math.prod(spec.shape) + classes, *[self.width] * self.depth, 1]
        return PerceptronD(
            sizes, classes, self.input_scale, self.gain, self.activation, self.minibatch_std, self.dropout
        )


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [DiracGenerator, DiracDiscriminator, MLPGenerator, MLPDiscriminator]
