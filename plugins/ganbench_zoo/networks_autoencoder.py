"""Discriminators that are autoencoders: the energy of a sample is how badly it is rebuilt from its code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from ganbench import Component, Discriminator, SampleSpec, field, hookimpl
from ganbench_zoo.networks import Leaky, ToRange, check, perceptron
from ganbench_zoo.networks_dcgan import Decoder, Norm, image_refusal
from ganbench_zoo.networks_embedding import EncoderE

if TYPE_CHECKING:
    from ganbench import Cell

Error = Literal["absolute", "squared"]
ERROR = "whether the energy is the mean absolute error, as in BEGAN, or the mean squared one, as in EBGAN"


class Autoencoder(nn.Module):
    """[B, *shape] -> energy [B], or with ``code`` the code [B, d]; a label is ignored."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, error: Error) -> None:
        super().__init__()
        self.encoder, self.decoder, self.error = encoder, decoder, error

    def forward(self, x: Tensor, y: Tensor | None = None, code: bool = False) -> Tensor:  # noqa: FBT001, FBT002 # modules are called by position
        del y
        coded: Tensor = self.encoder(x)
        if code:
            return coded
        difference = (self.decoder(coded) - x).flatten(1)
        energy: Tensor = (difference.abs() if self.error == "absolute" else difference.square()).mean(1)
        return energy


class MLPAutoencoder(Discriminator, name="mlp-autoencoder", source="https://arxiv.org/abs/1609.03126"):
    """x -> (linear, leaky ReLU 0.2) x depth -> code -> (linear, leaky ReLU 0.2) x depth -> x'; energy E |x - x'|.

    The energy is the mean over the values of a sample of the error, absolute or squared. The code is linear, and
    must be smaller than a sample, or everything is rebuilt. Weights start orthogonal times ``gain``, biases at 0.
    """

    output = "energy"
    has_code = True

    code: int = field(default=1, ge=1, doc="dimension of the code")
    width: int = field(default=128, ge=1, doc="units in a hidden layer")
    depth: int = field(default=2, ge=1, doc="hidden layers of the encoder, and of the decoder")
    gain: float = field(default=0.8, gt=0.0, doc="factor of the orthogonal initial weights")
    error: Error = field(default="absolute", doc=ERROR)

    def build(self, spec: SampleSpec) -> nn.Module:
        hidden = [self.width] * self.depth
        encoder = perceptron([spec.size, *hidden, self.code], Leaky, self.gain)
        decoder = perceptron([self.code, *hidden, spec.size], Leaky, self.gain)
        return Autoencoder(
            nn.Sequential(nn.Flatten(), encoder),
            nn.Sequential(decoder, nn.Unflatten(1, spec.shape), ToRange(spec)),
            self.error,
        )


class DCGANAutoencoder(Discriminator, name="dcgan-autoencoder", source="https://arxiv.org/abs/1609.03126"):
    """x -> discriminator of ``dcgan`` -> code -> generator of ``dcgan`` -> x'; energy E |x - x'|.

    The energy is the mean over the pixels of a sample of the error, absolute or squared. The code is linear.
    """

    output = "energy"
    has_code = True

    code: int = field(default=64, ge=1, doc="dimension of the code")
    width: int = field(default=64, ge=1, doc="channels after the first convolution")
    base: int = field(default=4, ge=1, le=4, doc="least side of the smallest stage; less makes the network deeper")
    norm: Norm = field(default="none", doc="normalization between the convolutions")
    error: Error = field(default="absolute", doc=ERROR)

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal("discriminator dcgan-autoencoder", cell.dataset.spec(), False)

    def build(self, spec: SampleSpec) -> nn.Module:
        check(image_refusal("discriminator dcgan-autoencoder", spec, False))
        encoder = EncoderE(self.width, self.base, self.norm, spec, 0, self.code)
        return Autoencoder(encoder, Decoder(self.code, self.width, self.base, self.norm, spec, 0), self.error)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """The networks of this module."""
    return [MLPAutoencoder, DCGANAutoencoder]
