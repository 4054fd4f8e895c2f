"""The residual networks of SNGAN, for images of any side from 8 up."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Discriminator, Generator, SampleSpec, field, hookimpl
from ganbench_zoo.networks import DROPPED, Dropout, ToRange, check, one_hot
from ganbench_zoo.networks_dcgan import Norm, Size, image_refusal, norm_layer, sizes

if TYPE_CHECKING:
    from ganbench import Cell

SOURCE = "https://arxiv.org/abs/1802.05957"
WIDEST = 1024
"""Channels at which a pyramid ends."""
MOST_HALVINGS = 5
"""Of the image in the discriminator of a pyramid, as published at 64x64 and 128x128."""
Profile = Literal["constant", "pyramid"]


def convolution(inputs: int, outputs: int, side: int, gain: float = 1.0) -> nn.Conv2d:
    """Of sides 1 or 3 that keeps the size: Glorot's uniform weights times ``gain``, biases at zero."""
    layer = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None  # the default
    nn.init.zeros_(layer.bias)
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Glorot's uniform weights, biases at zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Normalized(nn.Module):
    """A normalization of ``channels``; with ``classes`` it is batch normalization with a gain and a bias of each."""

    def __init__(self, kind: Norm, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.norm = nn.BatchNorm2d(channels, affine=False) if classes else norm_layer(kind, channels)
        if classes:
            self.gain = nn.Parameter(torch.ones(classes, channels))
            self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.norm(x)
        if not self.classes:
            return x
        rows = one_hot(y, self.classes, x)  # an embedding that can be stacked over seeds
        return x * (rows @ self.gain)[:, :, None, None] + (rows @ self.bias)[:, :, None, None]


class Up(nn.Module):
    """x -> conv(ReLU(norm(conv(enlarged ReLU(norm(x)))))) + conv1x1(enlarged x): [B, i, h, w] -> [B, o, *size]."""

    def __init__(self, inputs: int, outputs: int, size: Size, norm: Norm, classes: int) -> None:
        super().__init__()
        self.size = size
        self.norms = nn.ModuleList(Normalized(norm, c, classes) for c in (inputs, outputs))
        self.first = convolution(inputs, outputs, 3, math.sqrt(2))
        self.second = convolution(outputs, outputs, 3, math.sqrt(2))
        self.shortcut = convolution(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(F.interpolate(F.relu(self.norms[0](x, y)), self.size))
        h = self.second(F.relu(self.norms[1](h, y)))
        # a convolution of single pixels gives the same before and after pixels are repeated
        straight: Tensor = h + F.interpolate(self.shortcut(x), self.size)
        return straight


class Down(nn.Module):
    """x -> conv(ReLU(conv(ReLU(x)))) + shortcut, both halved where ``halve``: [B, i, h, w] -> [B, o, h', w'].

    The ``first`` of a network sees pixels, to which no ReLU applies, and halves before its shortcut's convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.halve, self.opens = halve, first
        hidden = outputs if first else inputs
        self.first = convolution(inputs, hidden, 3, math.sqrt(2))
        self.second = convolution(hidden, outputs, 3, math.sqrt(2))
        self.shortcut = convolution(inputs, outputs, 1) if halve or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(F.relu(self.first(x if self.opens else F.relu(x))))
        # means commute with the shortcut, so it is halved first, which costs a quarter
        x = F.avg_pool2d(x, 2) if self.halve else x
        h = F.avg_pool2d(h, 2) if self.halve else h
        summed: Tensor = h + (x if self.shortcut is None else self.shortcut(x))
        return summed


class ResidualG(nn.Module):
    """[B, latent] -> [B, channels, height, width]."""

    def __init__(
        self, latent: int, widths: list[int], chain: list[Size], norm: Norm, spec: SampleSpec, classes: int
    ) -> None:
        super().__init__()
        self.start = (widths[0], *chain[0])
        self.project = linear(latent, math.prod(self.start))
        self.blocks = nn.ModuleList(
            Up(widths[i], widths[i + 1], size, norm, classes) for i, size in enumerate(chain[1:])
        )
        self.norm = norm_layer(norm, widths[-1])
        self.last = convolution(widths[-1], spec.shape[0], 3)
        self.to_range = ToRange(spec)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = self.project(z).reshape(z.shape[0], *self.start)
        for block in self.blocks:
            x = block(x, y)
        in_range: Tensor = self.to_range(self.last(F.relu(self.norm(x))))
        return in_range


class ResidualD(nn.Module):
    """[B, channels, height, width] -> [B]; a label adds <embedding(y), summed features> (projection)."""

    def __init__(self, widths: list[int], halvings: int, spec: SampleSpec, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        blocks = [Down(spec.shape[0], widths[0], halve=True, first=True)]
        blocks += [Down(a, b, halve=i + 1 < halvings) for i, (a, b) in enumerate(itertools.pairwise(widths))]
        self.blocks = nn.Sequential(*blocks)
        self.dropouts = nn.ModuleList(Dropout(dropout, w) if dropout else nn.Identity() for w in widths)
        self.head = linear(widths[-1], 1)
        self.classes = classes
        self.embedding = nn.Parameter(torch.empty(classes, widths[-1])) if classes else None
        if self.embedding is not None:
            nn.init.xavier_uniform_(self.embedding)

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        for block, dropout in zip(self.blocks, self.dropouts, strict=True):
            x = dropout(block(x))
        features = F.relu(x).sum((2, 3))
        if code:
            return features
        scores: Tensor = self.head(features)[:, 0]
        if self.embedding is None:
            return scores
        return scores + ((one_hot(y, self.classes, x) @ self.embedding) * features).sum(1)


class ResNetGenerator(Generator, name="resnet-sngan", source=SOURCE):
    """z -> linear -> (BN, ReLU, x2, conv3, BN, ReLU, conv3; + x2, conv1) x stages -> BN, ReLU, conv3 -> tanh.

    The stages are those of ``dcgan``: 4 to 32, 6 to 48 and 7 to 28 pixels. ``constant`` has ``width`` channels in all
    of them: at 32x32 these are the published 4,276,739 parameters. ``pyramid`` has ``width`` in the largest and doubles
    towards z, up to 1024: with ``width = 64`` these are the published 4,878,083 at 48x48, 12,220,675 at 64x64 and
    32,150,787 at 128x128. Pixels are repeated to double the size, as in the authors' code. With ``conditional`` the
    blocks' batch normalizations have a gain and a bias for each class.
    """

    latent: int = field(default=128, ge=1, doc="dimension of the latent z")
    width: int = field(default=256, ge=1, doc="channels: of every stage, or of the largest one of a pyramid")
    profile: Profile = "constant"
    norm: Norm = field(default="batch", doc="normalization before each ReLU")
    conditional: bool = field(default=False, doc="whether each class has its own gains and biases")

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("generator resnet-sngan", cell.dataset.spec(), self.conditional)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("generator resnet-sngan", spec, self.conditional))
        _, height, length = spec.shape
        chain = sizes(height, length, 4)[::-1]
        places = range(len(chain))[::-1]
        widths = [self.width if self.profile == "constant" else _pyramid(self.width, i) for i in places]
        return ResidualG(self.latent, widths, chain, self.norm, spec, spec.classes if self.conditional else 0)


class ResNetDiscriminator(Discriminator, name="resnet-sngan", source=SOURCE):
    """x -> (ReLU, conv3, ReLU, conv3, mean of 2x2; + conv1, mean of 2x2) x blocks -> ReLU -> sum -> linear -> score.

    The features are summed over pixels, not averaged. There is no normalization; spectral normalization is the
    regularizer ``spectral-norm``. ``constant`` has ``width`` channels; the image is halved while its side stays at 7 or
    more, and two blocks follow that do not halve: at 32x32 these are the published 1,053,825 parameters. ``pyramid``
    begins with ``width`` and doubles, up to 1024: with ``width = 64`` these are the published 10,141,441 at 48x48 and
    64x64, and 29,017,857 at 128x128. Its code is the summed features.
    """

    has_code = True

    width: int = field(default=128, ge=1, doc="channels: of every block, or of the first one of a pyramid")
    profile: Profile = "constant"
    conditional: bool = field(default=False, doc="whether the label adds its embedding's product with the features")
    dropout: float = field(default=0.0, ge=0.0, lt=1.0, doc=DROPPED.format("block"))

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("discriminator resnet-sngan", cell.dataset.spec(), self.conditional)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("discriminator resnet-sngan", spec, self.conditional))
        side = min(spec.shape[1:])
        if self.profile == "constant":
            halvings = max(1, len(sizes(side, side, 7)) - 1)
            widths = [self.width] * (halvings + 2)
        else:
            halvings = min(MOST_HALVINGS, len(sizes(side, side, 2)) - 1)
            widths = [_pyramid(self.width, i) for i in range(math.ceil(math.log2(side)) - 1)]
        return ResidualD(widths, halvings, spec, spec.classes if self.conditional else 0, self.dropout)


def _pyramid(width: int, i: int) -> int:
    """The channels of the ``i``-th stage from the widest image."""
    channels: int = min(width * 2**i, max(width, WIDEST))
    return channels


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [ResNetGenerator, ResNetDiscriminator]
