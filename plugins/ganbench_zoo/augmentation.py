"""Augmentations of what D sees, for real and fake samples alike, and differentiable for the generator.

The numbers of every sample are drawn apart, for real and fake ones from one distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch

from ganbench import Batch, Component, ConfigError, ContractError, DStep, GStep, Regularizer, field, hookimpl
from ganbench_zoo.filtering import filtered, resampled
from ganbench_zoo.images import (
    brightened,
    contrasted,
    covered,
    cut,
    flipped,
    hued,
    inverted,
    per_sample,
    saturated,
    shifted,
    turned,
)
from ganbench_zoo.losses import CRITICS
from ganbench_zoo.penalties_score import discriminators_turn
from ganbench_zoo.wavelets import bands, symlet

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ganbench import Cell, Loss, Params, Slots


class DiffAugment(Regularizer, name="diffaugment", source="https://arxiv.org/abs/2006.10738"):
    """D sees T(x) for real and fake x in both turns; T is the policy's colour, translation and cutout, in this order.

    Colour: brightness x + color (u - 1/2), then saturation 1 + color (2 u - 1) about the mean of the channels, then
    contrast 1 + color (u - 1/2) about the mean of the sample. Translation: up to that share of each side, rounded, in
    whole pixels, zeros coming in. Cutout: a window of that share of each side is zero, with its centre anywhere. u is
    uniform on [0, 1), anew for each number.
    """

    policy: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")
    color: float = field(default=1.0, ge=0.0, doc="width of the ranges of brightness, saturation and contrast")
    translation: float = field(default=0.125, ge=0.0, le=1.0, doc="greatest shift, as a share of the side")
    cutout: float = field(default=0.5, ge=0.0, le=1.0, doc="side of the window, as a share of the side")

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {side: batch.uniform(rng, batch.size, 7) for side in ("real", "fake")}

    def augment(self, x: Tensor, side: Literal["real", "fake"], noise: Slots, state: Slots) -> Tensor:
        del state
        only_images(self, x)
        u = noise[side].unbind(1)
        if "color" in self.policy:
            x = brightened(x, self.color * (u[0] - 0.5))
            x = saturated(x, self.color * (2 * u[1] - 1))
            x = contrasted(x, self.color * (u[2] - 0.5), x.mean((1, 2, 3), keepdim=True))
        if "translation" in self.policy:
            most = [int(n * self.translation + 0.5) for n in x.shape[2:]]
            by = [(v * (2 * m + 1)).floor() - m for v, m in zip(u[3:5], most, strict=True)]
            x = shifted(x, by[0], by[1], "zeros")
        if "cutout" in self.policy:
            height, width = (int(n * self.cutout + 0.5) for n in x.shape[2:])
            # a window of even side has its centre on the corner of a pixel, and one place more to be
            top = (u[5] * (x.shape[2] + 1 - height % 2)).floor() - height // 2
            left = (u[6] * (x.shape[3] + 1 - width % 2)).floor() - width // 2
            x = cut(x, top, left, (height, width))
        return x

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal(self.name, cell)


class Adaptive(Regularizer):
    """What ADA and APA share: a probability p that rises while D is too sure of real samples, and falls otherwise.

    The sign of real scores is averaged over ``interval`` turns; then p moves by B interval / (1000 kimg) towards
    where that average equals ``target``, within [0, 1].
    """

    target: float = field(default=0.6, ge=-1.0, le=1.0, doc="the mean sign of real scores that p is steered to")
    interval: int = field(default=4, ge=1, doc="discriminator turns between two moves of p")
    kimg: float = field(default=500.0, gt=0.0, doc="thousands of real samples in which p can go from 0 to 1")
    start: float = field(default=0.0, ge=0.0, le=1.0, doc="the first p")

    def validate(self) -> None:
        discriminators_turn(self)

    def init(self, params: Params) -> Slots:
        like = next(iter(params.values()))
        return {"p": torch.full_like(like.sum(), self.start), "signs": like.new_zeros(()), "turns": like.new_zeros(())}

    def observe(self, at: DStep | GStep, state: Slots) -> Slots:
        assert isinstance(at, DStep)  # it acts on D alone
        signs = state["signs"] + at.real_scores.sign().mean()
        turns = state["turns"] + 1
        due = turns >= self.interval
        move = len(at.real_scores) * self.interval / (1000 * self.kimg)
        p = (state["p"] + move * (signs / turns - self.target).sign()).clamp(0.0, 1.0)
        return {
            **state,
            "p": torch.where(due, p, state["p"]),
            "signs": torch.where(due, 0.0, signs),
            "turns": torch.where(due, 0.0, turns),
        }

    def mismatch(self, cell: Cell) -> str | None:
        if cell.loss.output != "scores":
            return f"{self.name} reads the sign of scores, and {cell.loss.name} asks for {cell.loss.output}"
        if sees_differences(cell.loss):
            return f"{self.name} reads the sign of scores, which means nothing to {cell.loss.name}: it sees differences"
        return None

    def advice(self, cell: Cell) -> str | None:
        if cell.loss.name in CRITICS:
            return f"{self.name} reads the sign of scores, which is no verdict of a critic as that of {cell.loss.name}"
        return None


class ADA(Adaptive, name="ada", source="https://arxiv.org/abs/2006.06676"):
    """D sees T(x) for real and fake x in both turns; every part of T is applied to a sample with probability p.

    p <- p + sign(r - target) B interval / (1000 kimg) every ``interval`` turns, within [0, 1]; r is the mean sign of
    the real scores in between, after augmentation. T is the paper's pipeline as far as the policy goes, in this order.
    Blit: a flip of left and right with probability 1/2; a turn by a multiple of 90 degrees (square images); a shift by
    up to 1/8 of each side in whole pixels. Geometry, one resampling at twice the resolution through the symlet of order
    6: scaling by 2^N(0, 0.2^2); a rotation by U(-180, 180) degrees; scaling by s = 2^N(0, 0.2^2) to the right and 1 / s
    down; a second such rotation; a shift by N(0, 0.125^2) of each side. Each of the rotations has probability
    1 - sqrt(1 - p), so that one of them has p. Color: brightness + N(0, 0.2^2); contrast times 2^N(0, 0.5^2); luma
    flipped with probability 1/2; hue turned by U(-180, 180) degrees (three channels); saturation times 2^N(0, 1).
    Filter: each of four bands of frequencies, octaves of the symlet of order 2, times 2^N(0, 1), the power of a
    spectrum of 10, 1, 1, 1 kept at each. Noise: + sigma N(0, 1) for each number, sigma = |N(0, 0.1^2)|. Cutout: zeros
    in a rectangle of half of each side about a point U(0, 1)^2. Each is gated by p apart. Edges are mirrors. The paper
    and its code train with the default policy.
    """

    policy: tuple[Literal["blit", "geometry", "color", "filter", "noise", "cutout"], ...] = (
        "blit",
        "geometry",
        "color",
    )

    def init(self, params: Params) -> Slots:
        like = next(iter(params.values()))
        # the filters are constants that have to be where the step is
        kept = {"low": symlet(6)} if "geometry" in self.policy else {}
        kept |= {"bands": bands()} if "filter" in self.policy else {}
        return super().init(params) | {name: like.new_tensor(taps) for name, taps in kept.items()}

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        drawn: Slots = {}
        for side in ("real", "fake"):
            drawn[f"gate-{side}"] = batch.uniform(rng, batch.size, 19)
            drawn[f"uniform-{side}"] = batch.uniform(rng, batch.size, 10)
            drawn[f"normal-{side}"] = batch.normal(rng, batch.size, 12)
            if "noise" in self.policy:
                drawn[f"pixels-{side}"] = batch.normal(rng)
        return drawn

    def augment(self, x: Tensor, side: Literal["real", "fake"], noise: Slots, state: Slots) -> Tensor:
        only_images(self, x)
        gate = (noise[f"gate-{side}"] < state["p"]).unbind(1)
        u, n = noise[f"uniform-{side}"].unbind(1), noise[f"normal-{side}"].unbind(1)
        height, width = x.shape[2:]
        if "blit" in self.policy:
            x = flipped(x, gate[0] & (u[0] < 0.5))
            if height == width:
                x = turned(x, torch.where(gate[1], (4 * u[1]).floor(), 0.0))
            down, right = (((2 * v - 1) * m / 8).round() for v, m in zip(u[2:4], (height, width), strict=True))
            x = shifted(x, torch.where(gate[2], down, 0.0), torch.where(gate[2], right, 0.0), "reflect")
        if "geometry" in self.policy:
            p = state["p"]
            turn = (noise[f"gate-{side}"][:, 9:12:2] < 1 - (1 - p).sqrt()).unbind(1)
            grow = torch.where(gate[8], 2 ** (0.2 * n[3]), 1.0)
            stretch = torch.where(gate[10], 2 ** (0.2 * n[4]), 1.0)
            first, second = (torch.where(on, (2 * v - 1) * math.pi, 0.0) for on, v in zip(turn, u[6:8], strict=True))
            right, down = (torch.where(gate[12], 0.125 * v * m, 0.0) for v, m in ((n[5], width), (n[6], height)))
            moved = resampled(x, inverse(grow, first, stretch, second, right, down), state["low"])
            x = torch.where(per_sample(gate[8] | turn[0] | gate[10] | turn[1] | gate[12]), moved, x)
        if "color" in self.policy:
            x = brightened(x, torch.where(gate[3], 0.2 * n[0], 0.0))
            x = contrasted(x, torch.where(gate[4], 2 ** (0.5 * n[1]) - 1, 0.0))
            x = inverted(x, gate[5] & (u[4] < 0.5))
            if x.shape[1] == 3:
                x = hued(x, torch.where(gate[6], (2 * u[5] - 1) * math.pi, 0.0))
                x = saturated(x, torch.where(gate[7], 2 ** n[2] - 1, 0.0))
        if "filter" in self.policy:
            on = noise[f"gate-{side}"][:, 13:17] < state["p"]
            gains = gains_of(torch.where(on, 2 ** noise[f"normal-{side}"][:, 7:11], 1.0))
            x = torch.where(per_sample(on.any(1)), filtered(x, gains @ state["bands"]), x)
        if "noise" in self.policy:
            x = x + per_sample(torch.where(gate[17], 0.1 * n[11].abs(), 0.0)) * noise[f"pixels-{side}"]
        if "cutout" in self.policy:
            x = covered(x, u[8], u[9], torch.where(gate[18], 0.5, 0.0))
        return x

    def mismatch(self, cell: Cell) -> str | None:
        return image_refusal(self.name, cell) or super().mismatch(cell)


def gains_of(factors: Tensor) -> Tensor:
    """The gains of four bands [B, 4]: the product over i of e_i / sqrt(mean of e_i^2 over the spectrum 10, 1, 1, 1).

    e_i is 1 but for its i-th number, ``factors[:, i]`` [B, 4]: no factor changes the power of such images.
    """
    total = torch.ones_like(factors)
    for i, share in enumerate((10 / 13, 1 / 13, 1 / 13, 1 / 13)):
        factor = factors[:, i]
        place = torch.arange(4, device=factors.device) == i
        power = 1 + share * (factor.square() - 1)
        total = total * torch.where(place, factor[:, None], 1.0) / power.sqrt()[:, None]
    return total


def inverse(grow: Tensor, first: Tensor, stretch: Tensor, second: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """[A^-1, -A^-1 t] [B, 2, 3] of x -> A x + t, A = R(second) diag(stretch, 1 / stretch) R(first) grow; all [B]."""

    def rotated(angle: Tensor) -> Tensor:
        c, s = angle.cos(), angle.sin()
        return torch.stack([c, -s, s, c], 1).reshape(-1, 2, 2)

    squeezed = torch.diag_embed(torch.stack([1 / stretch, stretch], 1))
    back = rotated(-first) @ squeezed @ rotated(-second) / grow[:, None, None]
    shift = torch.stack([right, down], 1)[:, :, None]
    return torch.cat([back, -(back @ shift)], 2)


class APA(Adaptive, name="apa", source="https://arxiv.org/abs/2111.06849"):
    """In D's turn, a fake stands in for each real sample with probability p, and D is to call it real.

    p <- p + sign(r - target) B interval / (1000 kimg) every ``interval`` turns, within [0, 1]; r is the mean sign of
    the scores of what was shown as real. The fakes are those of the turn, sample i for sample i, where the authors'
    code draws others: the expectation is the same.
    """

    def noise(self, batch: Batch, rng: Generator) -> Slots:
        return {"u": batch.per_sample(rng)} if batch.player == "d" else {}

    def mix(self, real: Tensor, fake: Tensor, noise: Slots, state: Slots) -> tuple[Tensor, Tensor]:
        return torch.where(noise["u"] < state["p"], fake, real), fake


class Packing(Regularizer, name="packing", source="https://arxiv.org/abs/1712.04086"):
    """D judges packs of ``size`` independent samples, joined along their first dimension: D([x_1, ..., x_m]) (PacGAN).

    A batch of B samples makes B / size packs, so that any two sizes see equally many samples, and as many scores
    stand in the losses. D is built for the longer samples; what follows in a stack sees packs, too.
    """

    size: int = field(default=2, ge=1, doc="samples in a pack; the paper tries 2 to 4")

    def validate(self) -> None:
        if self.every != 1:
            raise ConfigError("D is built for packs and cannot judge single samples", place=".every", hint="write 1")

    def packed(self, size: int, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        return size // self.size, (self.size * shape[0], *shape[1:])

    def augment(self, x: Tensor, side: Literal["real", "fake"], noise: Slots, state: Slots) -> Tensor:
        del side, noise, state
        size, shape = self.packed(len(x), tuple(x.shape[1:]))
        return x.reshape(size, *shape)

    def mismatch(self, cell: Cell) -> str | None:
        if cell.batch % self.size:
            return f"{self.name} has packs of {self.size}, which do not divide a batch of {cell.batch}"
        if getattr(cell.discriminator, "conditional", False):
            return f"{self.name} joins samples of different classes, and the discriminator is told of one"
        place = cell.regularizers.index(self)
        for i, r in enumerate(cell.regularizers):
            if isinstance(r, Adaptive):
                return f"{r.name} is tuned to the scores of single samples, and {self.name} has those of packs"
            if i < place and r.uses("d_penalty") and r.uses("noise"):
                return f"{r.name} draws noise for what D sees, packs: write it behind {self.name}"
            if i > place and r.uses("noise") and r.uses("g_penalty"):
                return f"{r.name} draws noise for single samples: write it before {self.name}"
        return None


def only_images(regularizer: Regularizer, x: Tensor) -> None:
    """Raise :class:`ContractError` unless ``x`` are images."""
    if x.dim() != 4:
        raise ContractError(f"{regularizer.name} augments images, not samples of shape {list(x.shape[1:])}")


def image_refusal(name: str, cell: Cell) -> str | None:
    """Why an augmentation of images refuses other data."""
    spec = cell.dataset.spec()
    return None if spec.is_image else f"{name} augments images, not samples of shape {list(spec.shape)}"


def sees_differences(loss: Loss) -> bool:
    """Whether D's loss stays the same when all scores rise together, so that no score of 0 means anything."""
    if loss.informed():
        return False
    real, fake = torch.tensor([0.3, -1.2, 2.5]), torch.tensor([0.7, 0.1, -3.0])
    before, after = loss.d_loss(real, fake), loss.d_loss(real + 1, fake + 1)
    return bool((before - after).abs() < 1e-5)


@hookimpl
def ganbench_components() -> Iterable[type[Component]]:
    """Every augmentation of this module."""
    return [DiffAugment, ADA, APA, Packing]
