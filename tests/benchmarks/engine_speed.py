"""How many trials a second each engine trains, against a careful hand-written loop run once for every seed.

    python tests/benchmarks/engine_speed.py --device cpu --minutes 15 -o results/benchmarks/cpu.json

With --prepare it only compiles, for which the machine need not be idle; a later run takes the graphs from the cache,
and with --only-cached leaves the others out. All loops of a case are timed in turn in one process, by the protocol of
the timing pass (docs/method.md): what slows the machine down slows all of them. The cases that matter most come first,
so a budget cuts off the least. The file is written after each case; the same command goes on where it stopped, as long
as machine and versions are the same.

With --jobs N, N graphs are compiled at a time; or N cases are built at a time, each in a process of its own, and then
timed one after the other while the others wait.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))  # the other modules lie beside this file

from apart import Child, Failed, answers, each
from course import UNCOMPILED, Course, hopeless, prepare
from loops import STACKS
from speed_cases import ENGINES, Case, Way, cases, compiled_ways

from ganbench import environment
from ganbench.records import read_json, write_json
from ganbench.timing import now
from ganbench.training import utc

SCHEMA = 1
SECONDS = 20.0
"""Seconds of a case: it is over sooner when every ratio is known to 1 %."""
PATIENCE = 90.0
"""Seconds that cases may take to be built while others wait for it, and one to be timed beyond its own."""
SHARE = 0.85
"""Of a GPU's memory that processes may fill together."""


class Compared:
    """The file, and what is to be measured for it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.until = args, now() + 60 * args.minutes
        self.engines = args.engines.split(",")
        self.gib = gpu_gib(args.device)
        self.about = {"schema": SCHEMA, "device": args.device, "threads": 1, "machine": machine(args.device)}
        kept = read_json(args.output) or {}
        self.foreign = bool(kept) and {key: kept.get(key) for key in self.about} != self.about
        self.found: dict[str, Any] = {case["name"]: case for case in kept.get("cases", [])}
        asked = cases(args.device, [int(s) for s in args.seeds.split(",")], args.stacks.split(","))
        words = args.networks.split(",")
        self.left = [c for c in asked if any(w in c.networks.name for w in words) and not self._done(c)]

    def _done(self, case: Case) -> bool:
        """Whether the file has it; where graphs were not compiled in time, it may be asked for anew without a limit."""
        rows = self.found.get(case.name, {}).get("rows")
        again = not self.args.only_cached and any(row.get("error") == UNCOMPILED for row in rows or ())
        return rows is not None and not again

    def remaining(self) -> float:
        """Seconds until no case begins."""
        return self.until - now()

    def known(self, case: Case) -> list[dict[str, Any]]:
        """What was found for other numbers of seeds."""
        return [
            row
            for name, of in self.found.items()
            if name.startswith(f"{case.title}, seeds ") and name != case.name
            for row in of["rows"]
        ]

    def how(self, case: Case) -> tuple[Any, ...]:
        """The arguments of :class:`Course`."""
        return case, self.args.device, self.engines, self.remaining(), self.known(case), self.args.only_cached

    def fits(self, cases: Sequence[Case]) -> bool:
        """Whether the device has memory for all of them at once, and none of them keeps the others waiting."""
        large = {case.networks.large for case in cases}
        return len(large) == 1 and sum(case.gib(self.engines) for case in cases) <= SHARE * self.gib

    def keep(self, case: Case, measured: dict[str, Any], begun: float) -> None:
        """Write what was measured, and say it."""
        self.found[case.name] = {"name": case.name, "measured": utc()} | measured
        write_json(self.args.output, self.about | {"cases": list(self.found.values())})
        print(f"{case.name}: built in {measured['built_s']:.0f} s, timed in {now() - begun:.0f} s", flush=True)
        for row in measured["rows"]:
            said = row.get("error") or f"{row['trials']:.2f} times the hand-written loop's trials a second"
            print(f"  {row['engine']}, {row['seeds']} seeds: {said}", flush=True)


def in_turn(compared: Compared, cases: Sequence[Case]) -> list[Case]:
    """Build and time case after case in this process; returns what there was no time for."""
    for n, case in enumerate(cases):
        if compared.remaining() < 0:
            return list(cases[n:])
        course = Course(*compared.how(case))
        begun = now()
        compared.keep(case, course.time(compared.args.seconds), begun)
    return []


def in_waves(compared: Compared, cases: Sequence[Case]) -> list[Case]:
    """Build several cases at a time, each in its own process, and time them one after the other; as above."""
    left = list(cases)
    while left and compared.remaining() > 0:
        wave = [left.pop(0)]
        while left and len(wave) < compared.args.jobs and compared.fits([*wave, left[0]]):
            wave.append(left.pop(0))
        children = [Child(case, _course, *compared.how(case), compared.args.seconds) for case in wave]
        try:
            left = _wave(compared, children) + left
        finally:
            for child in children:
                child.end()
    return left


def _wave(compared: Compared, children: Sequence[Child[Case]]) -> list[Case]:
    """Time what ``children`` build; those that there was no time for."""
    built = []
    patience = now() + max(0.0, min(PATIENCE, compared.remaining()))
    late = {child.task.name: child for child in children}
    for child, said in answers(children, patience):
        del late[child.task.name]
        if isinstance(said, Failed):
            print(f"{child.task.name}: {said}", flush=True)
        else:
            built.append(child)
    for child in late.values():
        print(f"{child.task.name}: was not built in time", flush=True)
        child.end()
    built = [child for child in children if child in built]  # as they were wanted, not as they came
    for n, child in enumerate(built):
        if compared.remaining() < 0:
            return [c.task for c in built[n:]]
        begun = now()
        child.tell("now")
        said = next((said for _, said in answers([child], begun + compared.args.seconds + PATIENCE)), None)
        if isinstance(said, dict):
            compared.keep(child.task, said, begun)
        else:
            print(f"{child.task.name}: {said or 'was not timed in time'}", flush=True)
        child.end()
    return []


def _course(say: Callable[[Any], None], hear: Callable[[], Any], *how: Any) -> None:
    """What a process of :func:`in_waves` does."""
    *of, seconds = how
    course = Course(*of)
    say(None)
    hear()
    say(course.time(seconds))


def compile_all(compared: Compared) -> None:
    """Compile the graphs of all cases, the most wanted first, and say how each went.

    Numbers of seeds of one kind of step follow each other in one process on a CPU, where they may share a graph.
    """
    args = compared.args
    listed = [
        way
        for case in compared.left
        for way in compiled_ways(case, compared.engines)
        if way.engine not in hopeless(compared.known(case))
    ]
    if args.jobs == 1:
        for way in listed:
            begun = now()
            late = compared.remaining() < 0
            said = "there was no time" if late else compile_some([way], args.device)
            print(f"{way.name}: {now() - begun:.0f} s, {said}", flush=True)
        return
    groups: dict[str, list[Way]] = {}
    for way in listed:
        groups.setdefault(way.case.title if args.device == "cpu" else way.name, []).append(way)
    done = each(
        list(groups.values()),
        _compile,
        args.device,
        jobs=args.jobs,
        until=compared.until,
        room=SHARE * compared.gib,
        size=lambda some: max(way.gib for way in some),
    )
    for n, (some, seconds, said) in enumerate(done, 1):
        names = ", ".join(f"{way.engine} {way.seeds}" for way in some)
        print(f"[{n}/{len(groups)}] {some[0].case.title}: {names}: {seconds:.0f} s, {said}", flush=True)


def compile_some(some: Sequence[Way], device: str) -> str:
    """Compile one after the other, and say what failed."""
    wrong = []
    for way in some:
        try:
            prepare(way, device)
        except Exception as error:  # noqa: BLE001 # one that cannot does not stop the others
            traceback.print_exception(error)
            wrong.append(f"{type(error).__name__}: {error}".splitlines()[0])
    return "; ".join(wrong) or "compiled"


def _compile(say: Callable[[Any], None], hear: Callable[[], Any], some: Sequence[Way], device: str) -> None:
    """What a process of :func:`compile_all` does."""
    del hear
    say(compile_some(some, device))


def gpu_gib(device: str) -> float:
    """Memory of a GPU; there is no limit to what a CPU's processes may take."""
    return torch.cuda.get_device_properties(device).total_memory / 2**30 if device.startswith("cuda") else math.inf


def machine(device: str) -> dict[str, Any]:
    """What the numbers hold for."""
    facts = environment.facts()
    gpu = facts["gpus"] if device.startswith("cuda") else []
    names = {"python", "torch", "numpy", "ganbench"}
    versions = {name: version for name, version in facts["versions"].items() if name in names}
    return {"cpu": facts["cpu"], "cores": facts["cores"], "gpus": gpu, "cuda": facts["cuda"], "versions": versions}


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    made.add_argument("--minutes", type=float, default=15.0, help="after which no case begins (default: 15)")
    made.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"to time a case, while ratios are not known (default: {SECONDS})",
    )
    made.add_argument(
        "--jobs", type=int, default=1, help="graphs to compile, or cases to build, at a time (default: 1)"
    )
    made.add_argument("--seeds", default="1,4,8,16", help="numbers of seeds (default: 1,4,8,16)")
    made.add_argument("--stacks", default=",".join(STACKS), help="regularizers")
    made.add_argument("--engines", default=",".join(ENGINES), help="engines")
    made.add_argument("--networks", default="", help="only pairs whose name has one of these words")
    made.add_argument("--prepare", action="store_true", help="only compile, for a later run to find in the cache")
    made.add_argument("--only-cached", action="store_true", help="leave out graphs that are not in the cache")
    made.add_argument("-o", "--output", type=Path, required=True, help="the JSON file to write, or to go on with")
    return made


def run(arguments: Sequence[str] | None = None) -> int:
    """Measure what is not in the file yet, until it is complete or the time is up."""
    args = parser().parse_args(arguments)
    torch.set_num_threads(1)
    if args.jobs > 1:  # the compiler has threads of its own for each core in every process otherwise
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(max(1, environment.cores() // args.jobs)))
    compared = Compared(args)
    if compared.foreign:
        print(f"{args.output} is of another machine or of other versions", file=sys.stderr)
        return 2
    if args.prepare:
        compile_all(compared)
        return 0
    args.output.parent.mkdir(parents=True, exist_ok=True)
    left = (in_turn if args.jobs == 1 else in_waves)(compared, compared.left)
    if left:
        print(f"the time was up; the same command goes on with {len(left)} cases", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(run())
