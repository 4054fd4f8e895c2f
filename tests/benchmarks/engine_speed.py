"""How many trials a second each engine trains, against a careful hand-written loop run once for every seed.

    python tests/benchmarks/engine_speed.py --device cpu --minutes 15 -o results/benchmarks/cpu.json

With --prepare it only compiles, for which the machine need not be idle; a later run takes the graphs from the cache.
All loops of a case are timed in turn in one process, by the protocol of the timing pass (docs/method.md): what slows
the machine down slows all of them. The cases that matter most come first, so a budget cuts off the least. The file is
written after each case; the same command goes on where it stopped, as long as machine and versions are the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))  # loops.py lies beside this file

from loops import STACKS, ByHand, Noise, cell, trainer

from ganbench import Dataset, Discriminator, Generator, environment, pacing
from ganbench.engines import engine_of
from ganbench.machine import Watch, gpu_state
from ganbench.records import read_json, write_json
from ganbench.timer import DeviceMarks, Sentinel, several
from ganbench.timing import now
from ganbench.training import Trainer, utc
from ganbench_zoo.datasets import Ring
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator
from ganbench_zoo.networks_dcgan import DCGANDiscriminator, DCGANGenerator
from ganbench_zoo.networks_resnet import ResNetDiscriminator, ResNetGenerator

SCHEMA = 1
HAND, AGAIN = "by hand", "by hand, again"
ROUNDS, SECONDS = 4, 20.0
"""Rounds of a case that are always taken, and seconds for more while a ratio is not known to 1 %."""
WARM_STEPS = 4
"""A step of many seeds can take a second and more."""
SLOWEST = 3.0
"""Seconds of a step above which a loop is not timed: ten of them would take the time of a case."""


@dataclass(frozen=True)
class Networks:
    """A pair of networks and the data they see, with the batch."""

    name: str
    dataset: Dataset
    generator: Generator
    discriminator: Discriminator
    batch: int


def networks(device: str) -> list[Networks]:
    """The pairs of a device: those of a paper's size on a GPU, thinner ones on a CPU."""
    gpu = device.startswith("cuda")
    images = Noise(channels=3, side=32)

    def mlp(width: int, batch: int, latent: int = 64) -> Networks:
        pair = MLPGenerator(width=width, latent=latent), MLPDiscriminator(width=width)
        return Networks(f"mlp, width {width}, latent {latent}, batch {batch}", Ring(), *pair, batch)

    def dcgan(width: int, batch: int) -> Networks:
        pair = DCGANGenerator(width=width), DCGANDiscriminator(width=width)
        return Networks(f"dcgan 32x32, width {width}, batch {batch}", images, *pair, batch)

    def resnet(wide_g: int, wide_d: int, batch: int) -> Networks:
        pair = ResNetGenerator(width=wide_g), ResNetDiscriminator(width=wide_d)
        return Networks(f"resnet-sngan 32x32, widths {wide_g} and {wide_d}, batch {batch}", images, *pair, batch)

    if gpu:
        return [mlp(32, 64), mlp(32, 64, 4), mlp(128, 256), dcgan(64, 64), resnet(256, 128, 64)]
    return [mlp(32, 64), mlp(32, 64, 4), mlp(128, 256), dcgan(8, 16), dcgan(16, 64), resnet(8, 8, 64)]


@dataclass(frozen=True)
class Case:
    """One table: networks and a regularizer, and the numbers of seeds to train at once."""

    networks: Networks
    stack: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.networks.name}, {self.stack}"


def cases(device: str, seeds: Sequence[int], stacks: Sequence[str]) -> list[Case]:
    """What to measure, the most wanted first: r1 with 8 seeds, then other numbers of seeds, then the rest."""
    pairs = networks(device)
    few = tuple(s for s in seeds if s in (1, 8)) or tuple(seeds)
    more = tuple(s for s in seeds if s not in few)
    first = [Case(pair, "r1", few) for pair in pairs if "r1" in stacks]
    others = [Case(pair, stack, few) for stack in stacks if stack != "r1" for pair in pairs]
    rest = [Case(pair, stack, more) for stack in stacks for pair in pairs] if more else []
    return first + others + rest


class Loop(DeviceMarks):
    """One way to train some seeds, as a subject of the timing pass."""

    period = 1

    def __init__(self, name: str, advance: Any, lead: Trainer) -> None:
        super().__init__(lead.device)
        self.name, self.stride, self._advance = name, 1, advance

    def advance(self) -> None:
        self._advance(self.stride)


def ways(engines: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int]]:
    """(engine, seeds trained at once): what maps no seeds trains one."""
    for engine in engines:
        yield from ((engine, n) for n in seeds if (n == 1) == engine.startswith("serial"))


def hopeless(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Engines that were slower than the loop for other numbers of seeds of the same case, and by how much."""
    slower = [row for row in rows if row.get("high", 1.0) < 1.0 and row["seeds"] > 1]
    return {row["engine"]: f"not timed: {row['trials']:.2f} with {row['seeds']} seeds" for row in slower}


def prepare(case: Case, device: str, engines: Sequence[str]) -> None:
    """Take the first step of every engine, so that the compiler has its graphs in its cache."""
    parts = (case.networks.dataset, case.networks.generator, case.networks.discriminator, case.stack)
    for engine, seeds in ways(engines, case.seeds):
        if engine.endswith("compiled"):
            made = cell(*parts, case.networks.batch, engine=engine)
            engine_of([trainer(made, device, seed) for seed in range(seeds)]).advance(1)


def measure(
    case: Case, device: str, engines: Sequence[str], until: float, known: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The loops of one case, timed in turn; those that fail or are too slow say so.

    ``known`` has what was found for other numbers of seeds: an engine that was slower than the loop there is not timed.
    """
    watch, pair = Watch(), case.networks
    first: dict[str, float] = {}
    wrong: dict[str, str] = {}
    without = hopeless(known)
    subjects: list[Loop] = []
    parts = (pair.dataset, pair.generator, pair.discriminator, case.stack, pair.batch)

    def add(name: str, engine: str, seeds: int) -> None:
        if now() > until or engine in without:
            wrong[name] = without.get(engine, "the time was up")
            return
        try:
            trainers = [trainer(cell(*parts, engine=engine), device, seed) for seed in range(seeds)]
            loop = Loop(name, engine_of(trainers).advance, trainers[0])
            first[name] = several(loop)
        except Exception as error:  # noqa: BLE001 # one engine that cannot does not spoil the others
            wrong[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            return
        step = pacing.window(loop, 1).seconds / loop.stride
        if step > SLOWEST:
            wrong[name] = f"a step takes {step:.1f} s"
        else:
            subjects.append(loop)

    for name in (HAND, AGAIN):
        like = trainer(cell(*parts), device)
        loop = Loop(name, ByHand(like, case.stack, {"fused": True}).advance, like)
        first[name] = several(loop)
        subjects.append(loop)
    listed = list(ways(engines, case.seeds))
    for engine, seeds in listed:
        add(f"{engine}, {seeds}", engine, seeds)
    settings = {"rounds": ROUNDS, "budget": SECONDS, "warm_steps": WARM_STEPS}
    found_all = pacing.pace(subjects, baseline=0, sentinel=Sentinel(torch.device(device)), **settings)
    paced = {p.name: p for p in found_all}
    rows = []
    for engine, seeds in listed:
        name = f"{engine}, {seeds}"
        row: dict[str, Any] = {"engine": engine, "seeds": seeds}
        if name in wrong:
            rows.append(row | {"error": wrong[name]})
            continue
        found = paced[name]
        times = pacing.ratio([seeds * ms for ms in paced[HAND].rounds], found.rounds)
        assert times is not None  # every subject has all rounds
        summary = found.summary()
        rows.append(
            row
            | {"step_ms": summary["step_ms"], "trials": times.mean, "low": times.low, "high": times.high}
            | {"first_step_s": first[name], "steady": found.converged, "rounds": found.rounds}
        )
    hand = paced[HAND]
    return {
        "networks": pair.name,
        "regularizer": case.stack,
        "by_hand_ms": hand.summary()["step_ms"],
        "by_hand_rounds": hand.rounds,
        "noise_floor": pacing.noise_floor(paced[AGAIN].rounds, hand.rounds),
        "drifted": sum(p.drifted for p in paced.values()),
        "others": watch.others(),
        "rows": rows,
    }


def machine(device: str) -> dict[str, Any]:
    """What the numbers hold for."""
    facts = environment.facts()
    gpu = facts["gpus"] if device.startswith("cuda") else []
    names = {"python", "torch", "numpy", "ganbench"}
    versions = {name: version for name, version in facts["versions"].items() if name in names}
    return {"cpu": facts["cpu"], "cores": facts["cores"], "gpus": gpu, "cuda": facts["cuda"], "versions": versions}


def run(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the file yet, until it is complete or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--minutes", type=float, default=15.0, help="after which no case begins (default: 15)")
    parser.add_argument("--seeds", default="1,4,8,16", help="numbers of seeds (default: 1,4,8,16)")
    parser.add_argument("--stacks", default=",".join(STACKS), help="regularizers")
    parser.add_argument("--engines", default="serial,serial+compiled,fused,fused+compiled", help="engines")
    parser.add_argument("--networks", default="", help="only pairs whose name has one of these words")
    parser.add_argument("--prepare", action="store_true", help="only compile, for a later run to find in the cache")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write, or to go on with")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    until = now() + 60 * args.minutes
    about = {"schema": SCHEMA, "device": args.device, "threads": 1, "machine": machine(args.device)}
    kept = read_json(args.output) or {}
    if kept and {key: kept.get(key) for key in about} != about:
        print(f"{args.output} is of another machine or of other versions", file=sys.stderr)
        return 2
    found: dict[str, Any] = {case["name"]: case for case in kept.get("cases", [])}
    stacks, engines = args.stacks.split(","), args.engines.split(",")
    asked = [
        case
        for case in cases(args.device, [int(s) for s in args.seeds.split(",")], stacks)
        if not args.networks or any(word in case.networks.name for word in args.networks.split(","))
    ]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    left = []
    for case in asked:
        name = f"{case.name}, seeds {' '.join(map(str, case.seeds))}"
        if name in found:
            continue
        if now() > until:
            left.append(name)
            continue
        begun = now()
        if args.prepare:
            prepare(case, args.device, engines)
            print(f"{name}: compiled in {now() - begun:.0f} s", flush=True)
            continue
        same = [one for one in found.values() if one["name"].startswith(f"{case.name}, seeds ")]
        known = [row for one in same for row in one["rows"]]
        found[name] = {"name": name, "measured": utc()} | measure(case, args.device, engines, until, known)
        write_json(args.output, about | {"gpu": _gpu(args.device), "cases": list(found.values())})
        print(f"{name}: {now() - begun:.0f} s", flush=True)
        for row in found[name]["rows"]:
            said = row.get("error") or f"{row['trials']:.2f} times the hand-written loop's trials a second"
            print(f"  {row['engine']}, {row['seeds']} seeds: {said}", flush=True)
    if left:
        print(f"the time was up; the same command goes on with {len(left)} cases", file=sys.stderr)
    return 0


def _gpu(device: str) -> dict[str, Any] | None:
    return gpu_state(0) if device.startswith("cuda") else None


if __name__ == "__main__":
    sys.exit(run())
