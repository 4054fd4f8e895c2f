"""The convolutional networks of SNGAN, which has a convolution of stride 1 between its halvings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 # torch's own name for it

from ganbench import Component, Discriminator, Generator, SampleSpec, field, hookimpl
from ganbench_zoo.networks import DROPPED, Dropout, ToRange, check
from ganbench_zoo.networks_dcgan import Norm, Size, image_refusal, norm_layer, sizes

if TYPE_CHECKING:
    from ganbench import Cell

SOURCE = "https://arxiv.org/abs/1802.05957"


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0; normalizations start as the identity."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02)
            assert part.bias is not None  # every layer here has one
            nn.init.zeros_(part.bias)


class DeconvolutionsG(nn.Module):
    """[B, latent] -> [B, channels, height, width]."""

    def __init__(self, latent: int, width: int, chain: list[Size], norm: Norm, spec: SampleSpec) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(len(chain))][::-1]
        self.start = (widths[0], *chain[0])
        self.project = nn.Linear(latent, widths[0] * chain[0][0] * chain[0][1])
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(
                widths[i],
                widths[i + 1],
                4,
                stride=2,
                padding=1,
                output_padding=(big[0] - 2 * small[0], big[1] - 2 * small[1]),  # 1 where the side is odd
            )
            for i, (small, big) in enumerate(itertools.pairwise(chain))
        )
        self.norms = nn.ModuleList(norm_layer(norm, w) for w in widths[1:])
        self.last = nn.Conv2d(width, spec.shape[0], 3, padding=1)
        self.to_range = ToRange(spec)
        initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        del y
        x = self.project(z).reshape(z.shape[0], *self.start)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = F.relu(norm(convolution(x)))
        in_range: Tensor = self.to_range(self.last(x))
        return in_range


class ConvolutionsD(nn.Module):
    """[B, channels, height, width] -> [B]."""

    def __init__(self, width: int, chain: list[Size], spec: SampleSpec, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = spec.shape[0]
        for i in range(len(chain) - 1):
            wide = width * 2**i
            layers += [nn.Conv2d(before, wide, 3, padding=1), nn.LeakyReLU(0.1)]
            layers += [nn.Conv2d(wide, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.1)]
            layers += [Dropout(dropout, wide)] if dropout else []
            before = wide
        widest = width * 2 ** (len(chain) - 1)
        layers += [nn.Conv2d(before, widest, 3, padding=1), nn.LeakyReLU(0.1)]
        layers += [Dropout(dropout, widest)] if dropout else []
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widest * chain[-1][0] * chain[-1][1], 1)
        initialise(self)

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        del y
        flat: Tensor = self.layers(x).flatten(1)
        return flat if code else self.head(flat)[:, 0]


class SNDCGANGenerator(Generator, name="sndcgan", source=SOURCE):
    """z -> linear -> 4x4 -> (4x4 transposed convolution, stride 2, BN, ReLU) x stages -> conv3 -> tanh.

    The channels are ``width`` before the last convolution and double towards z. At 32x32 these are the published
    3,812,355 parameters (table 3 of the paper). Other sides are reached as in ``dcgan``: 28 from 7.
    """

    latent: int = field(default=128, ge=1, doc="dimension of the latent z")
    width: int = field(default=64, ge=1, doc="channels before the last convolution")
    norm: Norm = field(default="batch", doc="normalization before each ReLU")

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("generator sndcgan", cell.dataset.spec(), False)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("generator sndcgan", spec, False))
        _, height, length = spec.shape
        return DeconvolutionsG(self.latent, self.width, sizes(height, length, 4)[::-1], self.norm, spec)


class SNDCGANDiscriminator(Discriminator, name="sndcgan", source=SOURCE):
    """x -> (conv3, leaky ReLU 0.1, 4x4 convolution of stride 2, leaky ReLU 0.1) x stages -> conv3 -> linear -> score.

    The channels are ``width`` in the first stage and double from stage to stage. At 32x32 these are the published
    2,935,873 parameters. Spectral normalization is the regularizer ``spectral-norm``. Its code is what the last
    convolution gives.
    """

    has_code = True

    width: int = field(default=64, ge=1, doc="channels of the first stage")
    dropout: float = field(default=0.0, ge=0.0, lt=1.0, doc=DROPPED.format("stage"))

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("discriminator sndcgan", cell.dataset.spec(), False)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("discriminator sndcgan", spec, False))
        _, height, length = spec.shape
        return ConvolutionsD(self.width, sizes(height, length, 4), spec, self.dropout)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [SNDCGANGenerator, SNDCGANDiscriminator]
