"""What the comparison of engines measures: networks, regularizers, numbers of seeds, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loops import STACKS, Noise, cell

from ganbench import Dataset, Discriminator, Generator
from ganbench.cell import Cell
from ganbench_zoo.datasets import Ring
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator
from ganbench_zoo.networks_resnet import ResNetDiscriminator, ResNetGenerator

ENGINES = ("serial", "serial+compiled", "fused", "fused+compiled")
IMAGES = 10_000
"""In the set that lies on a GPU; what is drawn for a CPU costs little beside a step."""
PROCESS = 1.0
"""GiB of a GPU that a process takes before it has a tensor."""


@dataclass(frozen=True)
class Networks:
    """A pair of networks and the data they see, with the batch.

    Args:
        gib: of memory that a step of one seed takes at most, with the graph that it is part of.
    """

    name: str
    dataset: Dataset
    generator: Generator
    discriminator: Discriminator
    batch: int
    gib: float


def networks(device: str) -> list[Networks]:
    """The pairs of a device: those of a paper's size on a GPU, thinner ones on a CPU."""
    gpu = device.startswith("cuda")
    images = Noise(channels=3, side=32, size=IMAGES if gpu else 0)

    def mlp(width: int, batch: int, latent: int = 64) -> Networks:
        pair = MLPGenerator(width=width, latent=latent), MLPDiscriminator(width=width)
        return Networks(f"mlp, width {width}, latent {latent}, batch {batch}", Ring(), *pair, batch, 0.02)

    def dcgan(width: int, batch: int) -> Networks:
        pair = DCGANGenerator(width=width), DCGANDiscriminator(width=width)
        return Networks(f"dcgan 32x32, width {width}, batch {batch}", images, *pair, batch, 0.15)

    def resnet(wide_g: int, wide_d: int, batch: int) -> Networks:
        pair = ResNetGenerator(width=wide_g), ResNetDiscriminator(width=wide_d)
        name = f"resnet-sngan 32x32, widths {wide_g} and {wide_d}, batch {batch}"
        return Networks(name, images, *pair, batch, 0.9)

    if gpu:
        return [mlp(32, 64), mlp(32, 64, 4), dcgan(64, 64), mlp(128, 256), resnet(256, 128, 64)]
    return [mlp(32, 64), mlp(32, 64, 4), mlp(128, 256), dcgan(8, 16), dcgan(16, 64), resnet(8, 8, 64)]


@dataclass(frozen=True)
class Case:
    """One table: networks and a regularizer, and the numbers of seeds to train at once."""

    networks: Networks
    stack: str
    seeds: tuple[int, ...]

    @property
    def title(self) -> str:
        """What other numbers of seeds have in common with it."""
        return f"{self.networks.name}, {self.stack}"

    @property
    def name(self) -> str:
        return f"{self.title}, seeds {' '.join(map(str, self.seeds))}"

    def cell(self, engine: str) -> Cell:
        pair = self.networks
        return cell(pair.dataset, pair.generator, pair.discriminator, self.stack, pair.batch, engine=engine)

    def gib(self, engines: Sequence[str]) -> float:
        """GiB that its loops take at most, all at once."""
        return PROCESS + self.networks.gib * (2 + sum(n for _, n in ways(engines, self.seeds)))


def cases(device: str, seeds: Sequence[int], stacks: Sequence[str] = tuple(STACKS)) -> list[Case]:
    """What to measure, the most wanted first: r1, then the other regularizers.

    On a CPU with 1 and 8 seeds before others, on a GPU with 8 and 16; there, networks that compute most come late.
    """
    pairs = networks(device)
    if device.startswith("cuda"):
        ranked = sorted(stacks, key=lambda stack: stack != "r1")
        many, few, outer = ([n for n in seeds if n in of] for of in ((8, 16), (1, 4), (1, 8)))
        rest = [n for n in seeds if n not in (1, 4, 8, 16)]
        small, large = pairs[:-1], pairs[-1:]
        first = [
            (some, stack, chosen)
            for stack in ranked
            for some, chosen in ((small, many), (small, few), (large, outer), (pairs, rest))
        ]
        last = [(large, stack, [n for n in seeds if n in (4, 16)]) for stack in ranked]
        return [Case(pair, stack, tuple(ns)) for some, stack, ns in first + last if ns for pair in some]
    few = [s for s in seeds if s in (1, 8)] or list(seeds)
    more = [s for s in seeds if s not in few]
    first = [Case(pair, "r1", tuple(few)) for pair in pairs if "r1" in stacks]
    others = [Case(pair, stack, tuple(few)) for stack in stacks if stack != "r1" for pair in pairs]
    rest = [Case(pair, stack, tuple(more)) for stack in stacks for pair in pairs] if more else []
    return first + others + rest


@dataclass(frozen=True)
class Way:
    """One compiled graph: an engine with a number of seeds."""

    case: Case
    engine: str
    seeds: int

    @property
    def name(self) -> str:
        return f"{self.case.title}, {self.engine}, {self.seeds}"

    @property
    def gib(self) -> float:
        return PROCESS + self.case.networks.gib * self.seeds


def ways(engines: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """(engine, seeds trained at once): what maps no seeds trains one."""
    for engine in engines:
        yield from ((engine, n) for n in seeds if (n == 1) == engine.startswith("serial"))


def compiled_ways(of: Sequence[Case], engines: Sequence[str]) -> list[Way]:
    """What is to be compiled for cases, in their order."""
    chosen = [engine for engine in engines if engine.endswith("compiled")]
    return [Way(case, engine, n) for case in of for engine, n in ways(chosen, case.seeds)]
