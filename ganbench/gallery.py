"""Pictures of the trained generators of one dataset: what they make, beside what they should make."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ganbench import neighbours
from ganbench.bank import Bank
from ganbench.canvas import FAKE, MARGIN, REAL, Plane
from ganbench.dataset import Dataset
from ganbench.metric import Extractor
from ganbench.pictures import (
    as_array,
    brightness,
    densities,
    density,
    draw_samples,
    histogram,
    mosaic,
    scale_for,
    scatter,
    window,
)
from ganbench.players import Which
from ganbench.records import Record
from ganbench.registry import Registry
from ganbench.samples import Samples
from ganbench.seeding import stream
from ganbench.sheets import gap, sheet
from ganbench.text import plural
from ganbench.trained import Trained

if TYPE_CHECKING:
    from PIL import Image

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Say: TypeAlias = Callable[[str], None]
SEED = 0
"""Of everything drawn here: no seed of a study enters, so that all its generators get the same latents."""
DRAWN = 2_500
"""Samples of a generator whose data are no images."""
GRID = 64
SMALL = 16
"""Images of a generator in its own picture, and in the overview."""
NEIGHBOURS, LOOKED_UP = 6, 12
"""Training images shown beside each of so many generated ones."""
HELD_OUT = 512
"""Test samples whose distances to the training set say what is usual."""
PAIRS, STATIONS = 4, 9
"""Pairs of latents between which images are interpolated, and images on the way."""
PATHS, PATH_POINTS = 24, 64
"""The same for points of the plane."""


@dataclass(frozen=True)
class Wanted:
    """Which pictures.

    Args:
        cells: parts of names or of labels of cells; none means all.
        seeds: of the trials; none means all in the overview, and one for the rest.
        which: the last iterate or the running average.
        extractor: in whose features neighbours are the nearest; None takes the classifier where there are classes.
        gif: whether snapshots of training become animations.
    """

    cells: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    which: Which = "ema"
    extractor: Extractor | None = None
    gif: bool = False


class Gallery:
    """The pictures of trained generators of one dataset, whose real side is loaded once."""

    def __init__(
        self,
        trained: Sequence[tuple[Record, Trained]],
        titles: Mapping[tuple[str, ...], str],
        wanted: Wanted,
        registry: Registry,
        say: Say,
    ) -> None:
        self.trained, self.titles, self.wanted, self.say = trained, titles, wanted, say
        self.dataset: Dataset = trained[0][1].cell.dataset
        self.spec = self.dataset.spec()
        train = self.dataset.load("train", stream(0, "dataset-train"))
        self.train = train if isinstance(train, Samples) else None
        test = self.dataset.load("test", stream(0, "dataset-test"))
        rng = stream(SEED, "look-real")
        if isinstance(test, Samples):
            test = test.take(torch.randperm(len(test), generator=rng)[:DRAWN])
        self.test = test if isinstance(test, Samples) else test.sample(DRAWN, rng)
        self.real = as_array(self.test.x)
        self.extractor = wanted.extractor or self._usual(registry)
        self._banks: tuple[Bank, Bank, str] | None = None
        self._said: set[str] = set()

    def _usual(self, registry: Registry) -> Extractor:
        """The extractor of the cell's own metrics, or else the values themselves."""
        for metric in self.trained[0][1].cell.metrics:
            if metric.extractor is not None:
                return metric.extractor
        name = "classifier" if self.spec.classes > 1 and self.spec.is_image else "pixels"
        found = registry.parse("extractor", name, "extractor")
        assert isinstance(found, Extractor)
        return found

    def title(self, record: Record) -> str:
        """What the cell of ``record`` is called beside the others."""
        return self.titles[tuple(record.labels.values())]

    @property
    def weights(self) -> str:
        """Which weights are sampled, in words."""
        return "running average" if self.wanted.which == "ema" else "last iterate"

    def overview(self) -> Image.Image:
        """Cells by seeds, a small picture each."""
        cells = list(dict.fromkeys(record.cell for record, _ in self.trained))
        seeds = sorted({generator.seed for _, generator in self.trained})
        found = {(record.cell, generator.seed): self._small(generator) for record, generator in self.trained}
        names = {record.cell: self.title(record) for record, _ in self.trained}
        rows = [[found.get((cell, seed)) for seed in seeds] for cell in cells]
        labels = [names[cell] for cell in cells]
        real = self._small_real()
        return sheet(
            [[real, *[gap(real.width, real.height)] * (len(seeds) - 1)], *rows],
            title=f"{self.dataset.label}: {plural(len(cells), 'cell')}, {plural(len(seeds), 'seed')}",
            note=f"{self.weights} of the generator; the same latents everywhere",
            rows=["real", *labels],
            columns=[f"seed {seed}" for seed in seeds],
            missing="no trial",
        )

    def _small(self, generator: Trained) -> Image.Image:
        fake = as_array(self._draw(generator, SMALL if self.spec.is_image else DRAWN).x)
        return self._sketch(fake, self.real)

    def _small_real(self) -> Image.Image:
        if self.spec.is_image:
            return self._sketch(self.real, self.real)
        return self._sketch(np.empty((0, *self.spec.shape)), self.real)

    def _sketch(self, samples: Array, real: Array) -> Image.Image:
        if self.spec.is_image:
            columns = math.isqrt(SMALL)
            scale = scale_for(self.spec, 48)
            return mosaic(samples[:SMALL], brightness(real, self.spec), columns=columns, scale=scale)
        if self.spec.shape == (2,):
            return scatter(samples, real, self.spec, side=200, bare=True)
        return histogram(samples, real, side=200, bare=True)

    def pictures(self, record: Record, generator: Trained) -> Iterator[tuple[str, Image.Image]]:
        """The pictures of one generator, each with the stem of its file's name."""
        title = " · ".join(self.title(record).splitlines())
        title = f"{self.dataset.label}: {title}, seed {generator.seed}"
        note = f"{self.weights} after {generator.step:,} steps"
        if self.spec.is_image:
            fake = self._draw(generator, GRID)
            scale = scale_for(self.spec, 64)
            tiles = mosaic(as_array(fake.x), brightness(self.real, self.spec), columns=8, scale=scale)
            yield "samples", sheet([[tiles]], title=title, note=note)
            if self.train is None:
                self._tell(f"no nearest neighbours: {self.dataset.name} is a distribution, without a training set")
            else:
                yield "nearest", self._nearest(generator, title)
            yield "interpolation", self._strips(generator, title, note)
        elif self.spec.shape == (2,):
            yield "samples", self._planes(generator, title, note)
            yield "interpolation", self._paths(generator, title, note)
        else:
            picture = draw_samples(as_array(self._draw(generator, DRAWN).x), self.real, self.spec)
            yield "samples", sheet([[picture]], title=title, note=note)

    def _draw(self, generator: Trained, n: int) -> Samples:
        return generator.draw(n, stream(SEED, "look-latents"), self.wanted.which)

    def _tell(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    # -- the plane ---------------------------------------------------------------------------------------------

    def _planes(self, generator: Trained, title: str, note: str) -> Image.Image:
        fake = as_array(self._draw(generator, DRAWN).x)
        finite = fake[np.isfinite(fake).all(axis=1)]
        view = window(finite, self.real, self.spec)
        parts = [scatter(fake, self.real, self.spec, side=360)]
        shares = densities([finite, self.real], view)
        for share, name in zip(shares, ("density of generated samples", "density of real samples"), strict=True):
            parts.append(density(share, name, self.spec, view, side=360))
        return sheet([parts], title=title, note=note)

    def _paths(self, generator: Trained, title: str, note: str) -> Image.Image:
        view = window(self.real, self.real, self.spec)
        parts = []
        for samples, name in self._between(generator, PATHS, PATH_POINTS):
            plane = Plane(*view, 360, MARGIN)
            plane.frame()
            plane.points(self.real, REAL, radius=2.0, opacity=0.4)
            for way in samples.reshape(PATHS, PATH_POINTS, 2):
                if np.isfinite(way).all():
                    plane.path(way, FAKE)
            plane.legend([(f"{name} between {PATHS} pairs of latents", FAKE)])
            parts.append(plane.finished())
        return sheet([parts], title=title, note=note)

    # -- images ------------------------------------------------------------------------------------------------

    def _strips(self, generator: Trained, title: str, note: str) -> Image.Image:
        shades, scale = brightness(self.real, self.spec), scale_for(self.spec, 64)
        ways = [
            (name, samples.reshape(PAIRS, STATIONS, *self.spec.shape))
            for samples, name in self._between(generator, PAIRS, STATIONS)
        ]
        rows, labels = [], []
        for pair in range(PAIRS):
            for name, images in ways:
                rows.append([mosaic(images[pair], shades, columns=STATIONS, scale=scale)])
                labels.append(name)
        return sheet(rows, title=title, note=f"{note}; between {PAIRS} pairs of latents", rows=labels)

    def _between(self, generator: Trained, pairs: int, stations: int) -> Iterator[tuple[Array, str]]:
        """Samples on the ways between pairs of latents, one class a pair, and the name of the way."""
        latents, labels = _ends(generator, pairs)
        labels = None if labels is None else labels.repeat_interleave(stations)
        at = torch.linspace(0, 1, stations, dtype=latents.dtype)
        for name, way in (("spherical", spherical), ("linear", linear)):
            z = torch.stack([way(a, b, at) for a, b in zip(latents[:pairs], latents[pairs:], strict=True)])
            yield as_array(generator.sample(z.flatten(0, 1), labels, self.wanted.which)), name

    def _nearest(self, generator: Trained, title: str) -> Image.Image:
        assert self.train is not None
        train, test, what = self._bank()
        fake = self._draw(generator, LOOKED_UP)
        shown = Bank(fake, self._features)
        usual = float(_distances(test, train, 1)[0].median())
        near, index = _distances(shown, train, NEIGHBOURS)
        shades, scale = brightness(self.real, self.spec), scale_for(self.spec, 64)
        rows, labels = [], []
        for i in range(LOOKED_UP):
            found = self.train.take(index[i])
            rows.append(
                [
                    mosaic(as_array(fake.x[i : i + 1]), shades, columns=1, scale=scale),
                    mosaic(as_array(found.x), shades, columns=NEIGHBOURS, scale=scale),
                ]
            )
            labels.append(f"{float(near[i, 0]) / usual:.2f}" if usual > 0 else "")
        note = (
            f"nearest in {what}. On the left the distance to the nearest, as a multiple of the median distance "
            "of held-out samples: copies are near 0"
        )
        heads = ["generated", f"nearest of {len(self.train):,} training samples"]
        return sheet(rows, title=title, note=note, rows=labels, columns=heads)

    def _bank(self) -> tuple[Bank, Bank, str]:
        """Training and held-out samples through the extractor, and what that is."""
        if self._banks is None:
            assert self.train is not None
            self._features = self.extractor.load(self.dataset, torch.device("cpu"))
            held_out = self.test.take(torch.arange(min(HELD_OUT, len(self.test))))
            accuracy = getattr(self._features, "accuracy", None)
            what = f"the features of {self.extractor.label}"
            if isinstance(accuracy, float):
                what += f" (accuracy {accuracy:.3f})"
            self._banks = Bank(self.train, self._features), Bank(held_out, self._features), what
        return self._banks


def _ends(generator: Trained, pairs: int) -> tuple[Tensor, Tensor | None]:
    """Latents [2 pairs, latent] and a class for each pair."""
    dtype: torch.dtype = getattr(torch, generator.cell.dtype)
    rng = stream(SEED, "look-ways")
    latents = torch.randn(2 * pairs, generator.cell.generator.latent, generator=rng, dtype=dtype)
    classes = generator.spec.classes
    return latents, torch.arange(pairs) % classes if classes else None


def _distances(bank: Bank, train: Bank, k: int) -> tuple[Tensor, Tensor]:
    """Distances [n, k] in float64 to the k nearest training samples, in order, and their places."""
    found = neighbours.several(bank.rows, train.rows, range(1, min(k, len(train)) + 1))
    squares, index = (torch.stack(column, dim=1) for column in zip(*found, strict=True))
    return squares.clamp(min=0).sqrt(), index


def linear(a: Tensor, b: Tensor, at: Tensor) -> Tensor:
    """(1 - t) a + t b [m, d] for each t in ``at [m]``: short in the middle, where no latent of a generator lies."""
    return torch.lerp(a, b, at[:, None])


def spherical(a: Tensor, b: Tensor, at: Tensor) -> Tensor:
    """(sin((1 - t) w) a + sin(t w) b) / sin w [m, d], w the angle between a and b: at about the length of latents."""
    angle = torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if float(angle.sin()) < 1e-6:
        return linear(a, b, at)
    t = at[:, None]
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
