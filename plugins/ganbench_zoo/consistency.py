"""Consistency: the score of a sample should not change with the sample's augmentation, or with a nudge of its latent.

E is the mean over the batch. T(x) for images is a random flip of left and right and a shift by whole pixels, with
the image mirrored at its edge; for other data it is Gaussian noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from ganbench import Batch, Component, ContractError, DStep, GStep, Regularizer, field, hookimpl
from ganbench_zoo.images import flipped, shifted
from ganbench_zoo.regularizers import batch_norm_refusal

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, Slots


class Transforming(Regularizer):
    """What consistency regularizers share: a random T."""

    transform: Literal["flip-shift", "noise"] = "flip-shift"
    pixels: int = field(default=4, ge=0, doc="greatest shift in each direction, for 'flip-shift'")
    sigma: float = field(default=0.1, ge=0.0, doc="standard deviation in units of the data, for 'noise'")

    def draw(self, batch: Batch, rng: Generator, side: str) -> Slots:
        """The random numbers of one T for each sample."""
        if self.transform == "noise":
            return {f"{side}-noise": batch.normal(rng)}
        drawn = batch.uniform(rng, batch.size, 3)
        return {f"{side}-uniform": drawn}

    def transformed(self, x: Tensor, noise: Slots, side: str) -> Tensor:
        """T(x)."""
        if self.transform == "noise":
            return x + self.sigma * noise[f"{side}-noise"]
        if x.dim() != 4:
            raise ContractError(f"{self.name} flips and shifts images", hint="write transform = 'noise'")
        u = noise[f"{side}-uniform"]
        down, right = ((u[:, i] * (2 * self.pixels + 1)).floor() - self.pixels for i in (1, 2))
        return shifted(flipped(x, u[:, 0] < 0.5), down, right, "reflect")

    def mismatch(self, cell: Cell) -> str | None:
        spec = cell.dataset.spec()
        if self.transform == "flip-shift" and not spec.is_image:
            return f"{self.name} flips and shifts images, not samples of shape {list(spec.shape)}: transform = 'noise'"
        if cell.loss.output != "scores":
            return f"{self.name} compares scores, and {cell.loss.name} asks for {cell.loss.output}"
        return batch_norm_refusal(self.name, cell)


class Consistency(Transforming, name="consistency", source="https://arxiv.org/abs/1910.12027"):
    """weight E (D(x) - D(T(x)))^2 over real x."""

    weight: float = field(default=10.0, ge=0.0, doc="coefficient")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return self.draw(batch, rng, "real")

    def d_penalty(self, at: DStep) -> Tensor:
        seen = at.score(self.transformed(at.real, at.noise, "real"))
        return self.weight * (at.real_scores - seen).square().mean()


class BalancedConsistency(Transforming, name="balanced-consistency", source="https://arxiv.org/abs/2002.04724"):
    """weight_real E (D(x) - D(T(x)))^2 over real x + weight_fake E (D(x) - D(T(x)))^2 over fakes (bCR)."""

    weight_real: float = field(default=10.0, ge=0.0, doc="coefficient of the term of real samples")
    weight_fake: float = field(default=10.0, ge=0.0, doc="coefficient of the term of fakes")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return self.draw(batch, rng, "real") | self.draw(batch, rng, "fake")

    def d_penalty(self, at: DStep) -> Tensor:
        real = at.real_scores - at.score(self.transformed(at.real, at.noise, "real"))
        fake = at.fake_scores - at.score(self.transformed(at.fake, at.noise, "fake"))
        return self.weight_real * real.square().mean() + self.weight_fake * fake.square().mean()


class LatentConsistency(Regularizer, name="latent-consistency", source="https://arxiv.org/abs/2002.04724"):
    """D: weight_d E (D(G(z)) - D(G(z + n)))^2; G: -weight_g E mean (G(z) - G(z + n))^2; n ~ N(0, sigma^2 I) (zCR).

    The mean is over the values of a sample, as in the authors' code. The paper's improved consistency (ICR) is the
    stack of this and ``balanced-consistency``, with weight_d = 20 and sigma = 0.07 for BigGAN.
    """

    weight_d: float = field(default=5.0, ge=0.0, doc="coefficient of D's term")
    weight_g: float = field(default=0.5, ge=0.0, doc="coefficient of G's term, which is subtracted")
    sigma: float = field(default=0.05, ge=0.0, doc="standard deviation of the nudge of a latent")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"n": batch.normal(rng, batch.size, batch.latent)}

    def d_penalty(self, at: DStep) -> Tensor:
        near = at.score(at.generate(at.latents + self.sigma * at.noise["n"]).detach())
        return self.weight_d * (at.fake_scores - near).square().mean()

    def g_penalty(self, at: GStep) -> Tensor:
        near = at.generate(at.latents + self.sigma * at.noise["n"])
        return -self.weight_g * (at.fake - near).square().mean()

    def mismatch(self, cell: Cell) -> str | None:
        changed = [r.name for r in cell.regularizers if r.uses("augment")]
        if changed:
            return f"{self.name} compares scores of fakes as they are, and {changed[0]} changes what D sees"
        if cell.loss.output != "scores":
            return f"{self.name} compares scores, and {cell.loss.name} asks for {cell.loss.output}"
        return batch_norm_refusal(self.name, cell)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [Consistency, BalancedConsistency, LatentConsistency]
