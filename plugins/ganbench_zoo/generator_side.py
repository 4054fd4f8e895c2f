"""Regularizers of the generator: terms of its loss, and which of its samples it learns from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Batch, Component, ConfigError, GStep, InnerScore, Regularizer, field, hookimpl
from ganbench_zoo.networks_dcgan import numbered
from ganbench_zoo.regularizers import norms

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, DStep, Params, Slots


class ModeSeeking(Regularizer, name="mode-seeking", source="https://arxiv.org/abs/1903.05628"):
    """weight / (d(G(z1), G(z2)) / d(z1, z2) + eps), d the mean absolute difference over all entries of the batch.

    z1 and z2 are the first and the second half of the latents, so there is no forward pass more. The ratio is one
    number for a batch, as in the authors' code.
    """

    weight: float = field(default=1.0, ge=0.0, doc="coefficient")
    eps: float = field(default=1e-5, gt=0.0, doc="added to the ratio of the distances")

    def g_penalty(self, at: GStep) -> Tensor:
        half = len(at.latents) // 2
        samples = (at.fake[:half] - at.fake[half:]).abs().mean()
        latents = (at.latents[:half] - at.latents[half:]).abs().mean()
        # equal latents have equal samples: no distance over no distance counts as none
        ratio = samples / torch.where(latents > 0, latents, 1.0)
        return self.weight / (ratio + self.eps)

    def mismatch(self, cell: Cell) -> str | None:
        return f"{self.name} needs pairs, and a batch of {cell.batch} has one over" if cell.batch % 2 else None


class PathLength(Regularizer, name="path-length", source="https://arxiv.org/abs/1912.04958"):
    """weight E (||J'y|| - a)^2, J = dG/dz or dG/dw, y ~ N(0, I) / sqrt(height width); a <- a + decay (E ||J'y|| - a).

    J'y is the gradient of G . y in ``latents``, for the first B / shrink of them. As in StyleGAN2's code, a includes
    the present batch, its share of it with gradient, and starts at 0. Vectors have no height and width: y ~ N(0, I).
    ``latents = "w"`` is StyleGAN2's: w is what a mapping network makes of z (``mapping`` of the generators), and the
    penalty reaches that network too.
    """

    derives = True

    every: int = field(
        default=4, ge=1, doc="lazy interval: applied when step % every == 0, penalties scaled by `every`"
    )
    on: Literal["d", "g", "both"] = "g"
    weight: float = field(default=2.0, ge=0.0, doc="coefficient")
    decay: float = field(default=0.01, ge=0.0, le=1.0, doc="weight of the present in the running mean a")
    shrink: int = field(default=2, ge=1, doc="the share of the batch that is looked at is 1 / shrink")
    latents: Literal["z", "w"] = "z"

    def validate(self) -> None:
        generators_turn(self)

    def init(self, params: Params) -> Slots:
        return {"a": next(iter(params.values())).new_zeros(())}

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        if batch.player == "d":
            return {}
        pixels = math.prod(batch.shape[1:])  # 1 for vectors
        return {"y": batch.normal(rng, self._share(batch.size), *batch.shape) / pixels**0.5}

    def g_penalty(self, at: GStep) -> Tensor:
        lengths = self._lengths(at)
        mean = torch.lerp(at.state["a"], lengths.mean(), self.decay)
        at.kept["a"] = mean.detach()
        return self.weight * (lengths - mean).square().mean()

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        del state
        return {"a": at.kept["a"]}

    def mismatch(self, cell: Cell) -> str | None:
        if getattr(cell.generator, "norm", None) == "batch":
            return f"{self.name} needs per-sample gradients, and batch normalisation in the generator mixes the samples"
        if self.latents == "w" and "map" not in cell.generator.parts:
            return f"{self.name} is asked for w, and generator {cell.generator.name} has none: give it a `mapping`"
        return None

    def _share(self, size: int) -> int:
        return max(size // self.shrink, 1)

    def _lengths(self, at: GStep) -> Tensor:
        """||J'y|| [B / shrink]."""
        share = self._share(len(at.latents))
        labels = None if at.labels is None else at.labels[:share]
        # a transform, not autograd: it serves every engine
        start = at.latents[:share]
        if self.latents == "z":
            return norms(torch.func.grad(lambda z: (at.generate(z, labels) * at.noise["y"]).sum())(start))
        along = torch.func.grad(lambda w: (at.part("g", "synthesize", w, labels) * at.noise["y"]).sum())
        return norms(along(at.part("g", "map", start, labels)))


class FeatureMatching(Regularizer, name="feature-matching", source="https://arxiv.org/abs/1606.03498"):
    """weight ||E code(x) - E code(G(z))||^2 over real x and the fakes, in G's loss; codes are D's last hidden units.

    In the paper it is G's whole loss; here it is added to one.
    """

    weight: float = field(default=1.0, ge=0.0, doc="coefficient")

    def g_penalty(self, at: GStep) -> Tensor:
        real = at.code(at.real).mean(0).detach()
        return self.weight * (real - at.code(at.fake).mean(0)).square().sum()

    def mismatch(self, cell: Cell) -> str | None:
        if not cell.discriminator.has_code:
            return f"{self.name} compares codes, and discriminator {cell.discriminator.name} has none"
        packing = [r.name for r in cell.regularizers if r.uses("packed")]
        if packing:
            return f"{self.name} compares codes of single samples, and {packing[0]} has those of packs"
        return None


class GeneratorGuided(Regularizer, name="generator-guided", source="https://arxiv.org/abs/2209.09204"):
    """weight mean_k E (1 - cos(F_D^k(G(z)), F_G^k(z))) in D's loss: D's decoder tells G's feature maps from the image.

    cos is over the channels of a pixel, 0 where either map is; E over pixels and fakes; F_G is constant. F_G^1 is what
    G's last layer sees, F_G^k what the k-th layer from the end does; F_D^k is of the decoder of a discriminator that
    has one (``decoder`` of dcgan, with as many channels, and ``decoder_maps``). The paper's code (GGDR) takes the mean
    over a list of resolutions, by default one. Each map takes a pass of G and of D more.
    """

    weight: float = field(default=10.0, ge=0.0, doc="coefficient")
    maps: int = field(default=1, ge=1, doc="feature maps compared, from the largest down")

    def d_penalty(self, at: DStep) -> Tensor:
        cosines = [
            mean_cosine(
                at.part("d", numbered("decode", k), at.fake), at.part("g", numbered("features", k), at.latents).detach()
            )
            for k in range(self.maps)
        ]
        return self.weight * (1 - torch.stack(cosines).mean())

    def mismatch(self, cell: Cell) -> str | None:
        g, d = cell.generator, cell.discriminator
        if "features" not in g.parts:
            return f"{self.name} compares feature maps, and {g.title()} shows none"
        if "decode" not in d.parts:
            return f"{self.name} compares feature maps, and discriminator {d.label} has no `decoder`"
        if numbered("decode", self.maps - 1) not in d.parts:
            return f"{self.name} compares {self.maps} maps, more than the `decoder_maps` of discriminator {d.label}"
        maps = [(getattr(g, "width", 0), getattr(g, "base", 0)), (getattr(d, "decoder", 0), getattr(d, "base", 0))]
        if maps[0] != maps[1]:
            return f"{self.name} compares feature maps of (width, base) {maps[0]} with decoded ones of {maps[1]}"
        changed = [r.name for r in cell.regularizers if r.uses("augment")]
        if changed:
            return f"{self.name} compares feature maps of fakes as they are, and {changed[0]} changes what D sees"
        return None


def mean_cosine(told: Tensor, wanted: Tensor) -> Tensor:
    """The cosine over dimension 1, averaged over all else; of nothing it is 0, and so is its derivative."""
    lengths = torch.linalg.vector_norm(told, dim=1) * torch.linalg.vector_norm(wanted, dim=1)
    somewhere = lengths > 0
    return torch.where(somewhere, (told * wanted).sum(1) / torch.where(somewhere, lengths, 1.0), 0.0).mean()


class TopK(Regularizer, name="top-k", source="https://arxiv.org/abs/2002.06224"):
    """G learns from the k fakes with the highest scores alone: their gradients count B / k times, others' not at all.

    k = max(B decay^floor(step / interval), least B), rounded up. For losses that are means over samples this is the
    gradient of the mean over the k; the loss that is logged is over all. The paper counts an interval in epochs.
    """

    on: Literal["d", "g", "both"] = "g"
    decay: float = field(default=0.99, gt=0.0, le=1.0, doc="what is left of k after an interval")
    interval: int = field(default=1000, ge=1, doc="steps between two cuts of k")
    least: float = field(default=0.5, gt=0.0, le=1.0, doc="the share of the batch below which k does not fall")

    def validate(self) -> None:
        generators_turn(self)

    def init(self, params: Params) -> Slots:
        return {"share": next(iter(params.values())).new_ones(())}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        done = torch.div(at.step + 1, self.interval, rounding_mode="floor")
        return {"share": (self.decay**done).clamp(min=self.least).to(state["share"].dtype)}

    def score(self, inner: InnerScore, x: Tensor, noise: Slots, state: Slots) -> Tensor:
        del noise
        scores = inner(x)
        if inner.player == "d":
            return scores
        b = len(scores)
        k = (b * state["share"]).ceil()
        order = scores.detach().argsort(descending=True, stable=True).argsort()
        weight = torch.where(order < k, b / k, 0.0)
        constant = scores.detach()
        return constant + weight * (scores - constant)

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} sorts scores, and {cell.loss.name} asks for {cell.loss.output}"
        return None


def generators_turn(regularizer: Regularizer) -> None:
    """Raise :class:`ConfigError` unless a regularizer that observes the generator's turn acts on G."""
    if regularizer.on != "g":
        raise ConfigError(f"{regularizer.name} acts on the generator only", place=".on", hint="write on = 'g'")


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every regularizer of this module."""
    return [ModeSeeking, PathLength, FeatureMatching, GeneratorGuided, TopK]
