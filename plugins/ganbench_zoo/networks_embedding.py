"""Discriminators that return an embedding of each sample, for losses that compare batches of points."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ganbench import Component, Discriminator, SampleSpec, field, hookimpl
from ganbench_zoo.networks import MLP_SOURCE, PerceptronD, check, unlabelled
from ganbench_zoo.networks_dcgan import SOURCE as DCGAN_SOURCE
from ganbench_zoo.networks_dcgan import Encoder, Norm, image_refusal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ganbench import Cell


class PerceptronE(PerceptronD):
    """[B, *shape] -> [B, dimension]; a label enters as a one-hot row beside x."""

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        return self.code(x, y) if code else self.embed(x, y)


class EncoderE(Encoder):
    """[B, channels, height, width] -> [B, dimension]."""

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool | str = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        del y
        flat = self.features(x).flatten(1)
        embedding: Tensor = flat if code else self.head(flat)
        return embedding


class MLPEmbedding(Discriminator, name="mlp-embedding", source=MLP_SOURCE):
    """x -> input_scale x -> (linear, leaky ReLU 0.2) x depth -> linear -> embedding [B, dimension].

    Parameters: (size + 1) width + (depth - 1) (width + 1) width + (width + 1) dimension. It is ``mlp`` but for the
    last layer.
    """

    output = "embedding"

    dimension: int = field(default=16, ge=1, doc="of the embedding")
    width: int = field(default=128, ge=1, doc="units in a hidden layer")
    depth: int = field(default=2, ge=1, doc="hidden layers")
    gain: float = field(default=0.8, gt=0.0, doc="factor of the orthogonal initial weights")
    input_scale: float = field(default=1.0, gt=0.0, doc="factor on x")
    conditional: bool = field(default=False, doc="whether the label, one-hot, enters beside x")

    def mismatch(self, cell: Cell) -> str | None:
        return unlabelled("discriminator mlp-embedding", cell.dataset.spec(), self.conditional)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(unlabelled("discriminator mlp-embedding", spec, self.conditional))
        classes = spec.classes if self.conditional else 0
        sizes = [spec.size + classes, *[self.width] * self.depth, self.dimension]
        return PerceptronE(sizes, classes, self.input_scale, self.gain)


class DCGANEmbedding(Discriminator, name="dcgan-embedding", source=DCGAN_SOURCE):
    """x -> (4x4 convolution, stride 2, norm, leaky ReLU 0.2) x stages -> linear -> embedding [B, dimension].

    It is ``dcgan`` but for the last layer.
    """

    output = "embedding"

    dimension: int = field(default=16, ge=1, doc="of the embedding")
    width: int = field(default=64, ge=1, doc="channels after the first convolution")
    base: int = field(default=4, ge=1, le=4, doc="least side of the smallest stage; less makes the network deeper")
    norm: Norm = field(default="none", doc="normalization after each convolution but the first")

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("discriminator dcgan-embedding", cell.dataset.spec(), False)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("discriminator dcgan-embedding", spec, False))
        return EncoderE(self.width, self.base, self.norm, spec, 0, self.dimension)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [MLPEmbedding, DCGANEmbedding]
