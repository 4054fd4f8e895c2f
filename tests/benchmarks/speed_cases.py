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

    @property
    def large(self) -> bool:
        """Whether it takes long to be built: to be traced, above all."""
        return "resnet" in self.name


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

    On a CPU with 1 and 8 seeds before others, on a GPU with 8 and 16.
    """
    pairs = networks(device)
    if device.startswith("cuda"):
        return _on_gpu(pairs, seeds, stacks)
    few = [s for s in seeds if s in (1, 8)] or list(seeds)
    more = [s for s in seeds if s not in few]
    first = [Case(pair, "r1", tuple(few)) for pair in pairs if "r1" in stacks]
    others = [Case(pair, stack, tuple(few)) for stack in stacks if stack != "r1" for pair in pairs]
    rest = [Case(pair, stack, tuple(more)) for stack in stacks for pair in pairs] if more else []
    return first + others + rest


def _on_gpu(pairs: Sequence[Networks], seeds: Sequence[int], stacks: Sequence[str]) -> list[Case]:
    """Two regularizers at a time, and of each pair of them the largest networks last: they take long to be built."""
    ranked = sorted(stacks, key=lambda stack: stack != "r1")
    small, large = ([pair for pair in pairs if pair.large == wanted] for wanted in (False, True))
    listed: list[tuple[Sequence[Networks], str, Sequence[int]]] = []
    for two in (ranked[:2], ranked[2:]):
        listed += [(small, stack, of) for stack in two for of in ((8, 16), (1, 4))]
        listed += [(large, stack, (1, 8)) for stack in two]
    listed += [(large, stack, (4, 16)) for stack in ranked]
    listed += [(pairs, stack, [n for n in seeds if n not in (1, 4, 8, 16)]) for stack in ranked]
    chosen = [(some, stack, tuple(n for n in of if n in seeds)) for some, stack, of in listed]
    return [Case(pair, stack, of) for some, stack, of in chosen if of for pair in some]


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


def compiled_ways(case: Case, engines: Sequence[str]) -> list[Way]:
    """What is to be compiled for a case."""
    chosen = [engine for engine in engines if engine.endswith("compiled")]
    return [Way(case, engine, n) for engine, n in ways(chosen, case.seeds)]
