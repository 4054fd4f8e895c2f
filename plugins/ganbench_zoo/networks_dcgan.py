"""DCGAN: convolutional networks for images of any side from 8 up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Discriminator, Generator, SampleSpec, field, hookimpl
from ganbench_zoo.networks import (
    DROPPED,
    MAPPING,
    Dropout,
    Mapped,
    ToRange,
    check,
    mapped,
    one_hot,
    undivided,
    unlabelled,
    with_spread,
)

if TYPE_CHECKING:
    from ganbench import Cell

SOURCE = "https://arxiv.org/abs/1511.06434"
LEAST_SIDE = 8
Norm = Literal["batch", "layer", "none"]
Size = tuple[int, int]


def sizes(height: int, width: int, base: int) -> list[Size]:
    """(height, width) of every stage, from the image down: halved, rounding down, while a side stays >= base.

    28 -> 14 -> 7 for base 4 becomes [(28, 28), (14, 14), (7, 7)].
    """
    chain = [(height, width)]
    while min(chain[-1]) // 2 >= base:
        chain.append((chain[-1][0] // 2, chain[-1][1] // 2))
    return chain


def numbered(part: str, k: int) -> str:
    """``features``, ``features-2``, ``features-3``...: the name of a network's ``part`` of size ``k``, from 0."""
    return part if k == 0 else f"{part}-{k + 1}"


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """The normalization of ``channels``; ``layer`` is over channels and pixels of one sample."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), gains of normalizations N(1, 0.02), biases 0, as in the paper and its reference code."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(part.weight, 1.0, 0.02)
        if isinstance(bias := getattr(part, "bias", None), Tensor):
            nn.init.zeros_(bias)


class Decoder(nn.Module):
    """[B, latent] -> [B, channels, height, width]; a label enters as a one-hot row beside z."""

    def __init__(self, latent: int, width: int, base: int, norm: Norm, spec: SampleSpec, classes: int) -> None:
        super().__init__()
        channels, height, length = spec.shape
        chain = sizes(height, length, base)[::-1]  # from small to large
        widths = [width * 2**i for i in range(len(chain) - 1)][::-1]  # of the inputs of the convolutions
        self.classes = classes
        self.start = (widths[0], *chain[0])
        biased = norm == "none"  # a normalization has a bias of its own
        self.project = nn.Linear(latent + classes, widths[0] * chain[0][0] * chain[0][1], bias=biased)
        self.norms = nn.ModuleList(norm_layer(norm, w) for w in widths)
        outputs = [*widths[1:], channels]
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(
                widths[i],
                outputs[i],
                4,
                stride=2,
                padding=1,
                output_padding=(big[0] - 2 * small[0], big[1] - 2 * small[1]),  # 1 where the side is odd
                bias=biased or i == len(widths) - 1,
            )
            for i, (small, big) in enumerate(itertools.pairwise(chain))
        )
        self.to_range = ToRange(spec)
        initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None, part: str = "") -> Tensor:
        """Images, or for part "features" what the last convolution sees, [B, width, height / 2, width / 2].

        "features-2" is what the one before it sees, with twice the channels, and so on.
        """
        if self.classes:
            z = torch.cat([z, one_hot(y, self.classes, z)], dim=1)
        x = self.project(z).reshape(z.shape[0], *self.start)
        for i, (norm, convolution) in enumerate(zip(self.norms, self.convolutions, strict=True)):
            seen = F.relu(norm(x))
            if part == numbered("features", len(self.convolutions) - 1 - i):
                return seen
            x = convolution(seen)
        in_range: Tensor = self.to_range(x)
        return in_range


class Encoder(nn.Module):
    """[B, channels, height, width] -> [B]; a label adds <embedding(y), summed features> (projection)."""

    def __init__(
        self,
        width: int,
        base: int,
        norm: Norm,
        spec: SampleSpec,
        classes: int,
        outputs: int = 1,
        group: int = 0,
        dropout: float = 0.0,
        decoded: int = 0,
        maps: int = 1,
    ) -> None:
        super().__init__()
        channels, height, length = spec.shape
        chain = sizes(height, length, base)
        widths = [channels, *(width * 2**i for i in range(len(chain) - 1))]
        # the first convolution is never normalized, so it has a bias
        kinds: list[Norm] = ["none", *[norm] * (len(chain) - 2)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=kind == "none")
            for narrow, wide, kind in zip(widths, widths[1:], kinds, strict=False)
        )
        self.norms = nn.ModuleList(norm_layer(kind, w) for kind, w in zip(kinds, widths[1:], strict=True))
        self.dropouts = nn.ModuleList(Dropout(dropout, w) if dropout else nn.Identity() for w in widths[1:])
        self.head = nn.Linear(widths[-1] * chain[-1][0] * chain[-1][1] + (1 if group else 0), outputs)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        self.laterals = nn.ModuleList(nn.Conv2d(w, decoded, 1) for w in widths[1:]) if decoded else None
        # maps of other sizes than the largest have as many channels as the generator's
        self.widening = (
            nn.ModuleList(nn.Conv2d(decoded, decoded * 2**k, 1) for k in range(1, maps)) if decoded else None
        )
        self.classes, self.group = classes, group
        initialise(self)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The activations after each convolution, [B, channels, height, width]."""
        found = []
        for convolution, norm, dropout in zip(self.convolutions, self.norms, self.dropouts, strict=True):
            x = dropout(F.leaky_relu(norm(convolution(x)), 0.2))
            found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """The activations after the last convolution, [B, channels, height, width]."""
        return self.stages(x)[-1]

    def decode(self, x: Tensor, k: int = 0) -> Tensor:
        """[B, decoded 2^k, height / 2^(k + 1), ...]: 1x1 convolutions of the stages, added from the smallest up."""
        assert self.laterals is not None  # `parts` says whether there are any
        assert self.widening is not None
        *larger, x = [lateral(stage) for lateral, stage in zip(self.laterals, self.stages(x), strict=True)]
        for skip in reversed(larger[k:]):
            x = skip + F.interpolate(F.leaky_relu(x, 0.2), skip.shape[2:], mode="nearest")
        if k == 0:
            return x
        widened: Tensor = self.widening[k - 1](F.leaky_relu(x, 0.2))
        return widened

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool | str = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        for k in range(len(self.convolutions)):
            if code == numbered("decode", k):
                return self.decode(x, k)
        x = self.features(x)
        flat = x.flatten(1)
        if code:
            return flat
        scores: Tensor = self.head(with_spread(flat, self.group) if self.group else flat)[:, 0]
        if self.embedding is None:
            return scores
        # the product with one-hot rows is the embedding of y, and it can be stacked over seeds
        rows = one_hot(y, self.classes, x) @ self.embedding.weight
        return scores + (rows * x.sum((2, 3))).sum(1)


def image_refusal(name: str, spec: SampleSpec, conditional: bool) -> str | None:  # noqa: FBT001 # the field, passed on
    """Why a convolutional network does not fit the data, or None."""
    if not spec.is_image:
        return f"{name} is for images [channels, height, width], not samples of shape {list(spec.shape)}"
    if min(spec.shape[1:]) < LEAST_SIDE:
        return f"{name} needs sides of at least {LEAST_SIDE}, not {spec.shape[1]}x{spec.shape[2]}"
    return unlabelled(name, spec, conditional)


class DCGANGenerator(Generator, name="dcgan", source=SOURCE):
    """z -> linear -> base x base -> (norm, ReLU, 4x4 transposed convolution, stride 2) x stages -> tanh.

    The channels are ``width`` before the last convolution and double towards z. At 64x64 with latent 100 these are
    the 3,576,704 parameters of the PyTorch example, and the biases of the output. Sides need not be powers of
    two: 28 is reached from 7. Weights start at N(0, 0.02).
    """

    width: int = field(default=64, ge=1, doc="channels before the last convolution")
    base: int = field(default=4, ge=1, le=4, doc="least side of the smallest stage; less makes the network deeper")
    norm: Norm = field(default="batch", doc="normalization before each ReLU")
    conditional: bool = field(default=False, doc="whether the label, one-hot, enters beside z")
    mapping: int = field(default=0, ge=0, doc=MAPPING)

    @property
    def parts(self) -> frozenset[str]:
        """The features before the last convolution, and those of a mapping network, if there is one."""
        return frozenset({"features"}) | (Mapped.parts if self.mapping else frozenset())

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("generator dcgan", cell.dataset.spec(), self.conditional)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("generator dcgan", spec, self.conditional))
        classes = spec.classes if self.conditional else 0
        body = Decoder(self.latent, self.width, self.base, self.norm, spec, classes)
        return mapped(body, self.latent, self.mapping)


class DCGANDiscriminator(Discriminator, name="dcgan", source=SOURCE):
    """x -> (4x4 convolution, stride 2, norm, leaky ReLU 0.2) x stages -> linear -> score.

    The mirror image of the generator. Unlike the paper's it has no normalization by default: batch statistics
    make the score of one sample depend on the others, and penalties on its gradient lose their meaning.
    With ``norm = "batch"`` at 64x64 these are the 2,765,568 parameters of the PyTorch example, and two biases'
    worth more (``width`` of the first convolution, 1 of the output). Weights start at N(0, 0.02). Its code is what
    the last convolution gives.
    """

    has_code = True

    width: int = field(default=64, ge=1, doc="channels after the first convolution")
    base: int = field(default=4, ge=1, le=4, doc="least side of the smallest stage; less makes the network deeper")
    norm: Norm = field(default="none", doc="normalization after each convolution but the first")
    conditional: bool = field(default=False, doc="whether the label adds its embedding's product with the features")
    minibatch_std: int = field(default=0, ge=0, doc="samples in a group whose spread is one more feature; 0 for none")
    dropout: float = field(default=0.0, ge=0.0, lt=1.0, doc=DROPPED.format("stage"))
    decoder: int = field(default=0, ge=0, doc="channels of a decoder's feature map, for generator-guided; 0 for none")
    decoder_maps: int = field(default=1, ge=1, doc="sizes of which the decoder has maps, from the largest down")

    @property
    def parts(self) -> frozenset[str]:
        """The decoded features of each size, if there is a decoder."""
        return frozenset(numbered("decode", k) for k in range(self.decoder_maps)) if self.decoder else frozenset()

    def mismatch(self, cell: Cell) -> str | None:
        return self._refusal(cell.dataset.spec()) or undivided("discriminator dcgan", cell, self.minibatch_std)

    def _refusal(self, spec: SampleSpec) -> str | None:
        refused = image_refusal("discriminator dcgan", spec, self.conditional)
        if refused or not self.decoder:
            return refused
        stages = len(sizes(spec.shape[1], spec.shape[2], self.base)) - 1
        if stages >= self.decoder_maps:
            return None
        return f"a decoder has at most {stages} decoder_maps here, not {self.decoder_maps}"

    def build(self, spec: SampleSpec) -> nn.Module:
        check(self._refusal(spec))
        classes = spec.classes if self.conditional else 0
        return Encoder(
            self.width,
            self.base,
            self.norm,
            spec,
            classes,
            group=self.minibatch_std,
            dropout=self.dropout,
            decoded=self.decoder,
            maps=self.decoder_maps,
        )


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [DCGANGenerator, DCGANDiscriminator]
