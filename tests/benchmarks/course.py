"""One case of the comparison of engines: its loops are built, and then timed in turn."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gpu_times import Busy, sides
from loops import ByHand, trainer
from speed_cases import Case, Way, ways

from ganbench import compiled, graph, pacing, timer
from ganbench.captured import Captured
from ganbench.engines import Apart, Engine, engine_of
from ganbench.machine import Watch
from ganbench.pacing import Paced
from ganbench.timer import DeviceMarks, Sentinel, several
from ganbench.timing import now
from ganbench.training import Trainer

HAND, AGAIN = "by hand", "by hand, again"
ROUNDS, WARM_STEPS = 3, 2
"""At least; a step of many seeds can take a second and more."""
PARTS = {"cpu": 6, "cuda": 16}
"""In which the time of a case is divided for windows of each loop, of which rounds take about half.

A loop that is launched operation by operation is as uneven as its host: short windows in many rounds tell more of it.
"""
SHORTEST, WARM_SECONDS = 0.05, 0.25
"""Of a window and of a warm-up, however little time a case has."""
SLOWEST = 4.0
"""Seconds of a step above which a loop is not timed: ten of them would take the time of a case."""
UNCOMPILED = "not compiled in time"


class Clocked(Captured):
    """A captured step that says how long it took to be captured, with the calls before that warm it up."""

    seconds = 0.0
    """Of the last one."""

    def __init__(self, *given: Any) -> None:
        begun = now()
        super().__init__(*given)  # which looks at what the graph does, and waits for it
        Clocked.seconds = now() - begun


class Loop(DeviceMarks):
    """One way to train some seeds, as a subject of the timing pass."""

    period = 1

    def __init__(self, name: str, take: Callable[[int], None], lead: Trainer) -> None:
        super().__init__(lead.device)
        self.name, self.stride, self.take = name, 1, take

    def advance(self) -> None:
        self.take(self.stride)


def made(case: Case, engine: str, seeds: int, device: str) -> Engine:
    """An engine with fresh trials, before its first step."""
    return engine_of([trainer(case.cell(engine), device, seed) for seed in range(seeds)])


def compile_seconds(engine: Engine) -> float | None:
    """Seconds that the graphs of ``engine`` took to be compiled on this machine, None if one was not."""
    parts = dict.fromkeys(engine.engines.values()) if isinstance(engine, Apart) else [engine]
    took = [compiled.took(p.trainers[0].cell, len(p.trainers), str(p.trainers[0].device)) for p in parts]
    known = [seconds for seconds in took if seconds is not None]
    return max(known) if len(known) == len(took) else None


def prepare(way: Way, device: str) -> None:
    """Take the first step of an engine, so that the compiler has its graphs in its cache."""
    torch.set_num_threads(1)
    made(way.case, way.engine, way.seeds, device).advance(1)


def hopeless(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Engines that were slower than the loop for other numbers of seeds of the same case, and by how much."""
    slower = [row for row in rows if row.get("high", 1.0) < 1.0 and row["seeds"] > 1]
    return {row["engine"]: f"not timed: {row['trials']:.2f} with {row['seeds']} seeds" for row in slower}


class Course:
    """The loops of one case, each past its first steps; those that fail or are too slow say so.

    Args:
        case: whose loops they are.
        device: to train on.
        engines: to compare with the loop by hand.
        lasting: seconds after which no loop is built.
        known: what was found for other numbers of seeds: an engine that was slower than the loop there is not timed.
        only_cached: leave out what this machine has not compiled before.
    """

    def __init__(
        self,
        case: Case,
        device: str,
        engines: Sequence[str],
        lasting: float,
        known: Sequence[dict[str, Any]] = (),
        only_cached: bool = False,  # noqa: FBT001, FBT002 # a process is started with its arguments in order
    ) -> None:
        torch.set_num_threads(1)
        self.case, self.device, self.only_cached = case, torch.device(device), only_cached
        self.gpu = self.device.type == "cuda"
        self.facts: dict[str, dict[str, Any]] = {}
        """What is known of each loop that was built."""
        self.wrong: dict[str, str] = {}
        self.subjects: list[Loop] = []
        self.listed = list(ways(engines, case.seeds))
        begun, without = now(), hopeless(known)
        # what a library takes for itself at first is no loop's
        torch.ones(2, 2, device=self.device) @ torch.ones(2, 2, device=self.device)
        setattr(graph, "Captured", Clocked)  # noqa: B010 # mypy takes no class for a variable
        for name in (HAND, AGAIN):
            base = self._memory()
            like = trainer(case.cell("serial"), device)
            self._add(Loop(name, ByHand(like, case.stack, {"fused": True}).advance, like), base)
        for engine, seeds in self.listed:
            name = f"{engine}, {seeds}"
            if now() - begun > lasting or engine in without:
                self.wrong[name] = without.get(engine, "the time was up")
                continue
            try:
                self._try(name, engine, seeds)
            except Exception as error:  # noqa: BLE001 # one engine that cannot does not spoil the others
                traceback.print_exception(error)
                self.wrong[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        self._memory()
        self.built_s = now() - begun

    def _try(self, name: str, engine: str, seeds: int) -> None:
        base, Clocked.seconds = self._memory(), 0.0
        of = made(self.case, engine, seeds, str(self.device))
        seconds = compile_seconds(of) if engine.endswith("compiled") else None
        if self.only_cached and engine.endswith("compiled") and seconds is None:
            self.wrong[name] = UNCOMPILED
            return
        self._add(Loop(name, of.advance, of.trainers[0]), base)
        if name in self.facts and seconds is not None:
            self.facts[name]["compile_s"] = seconds
        if name in self.facts and self.gpu:
            self.facts[name]["capture_s"] = Clocked.seconds

    def _add(self, loop: Loop, base: int) -> None:
        """Take the first steps of ``loop``, whose trials were made since ``base`` bytes were taken."""
        first = several(loop)
        step = pacing.window(loop, 1).seconds / loop.stride
        if step > SLOWEST and loop.name not in (HAND, AGAIN):
            self.wrong[loop.name] = f"a step takes {step:.1f} s"
            return
        self.subjects.append(loop)
        self.facts[loop.name] = {"first_step_s": first}
        if self.gpu:
            self.facts[loop.name]["peak_mib"] = (torch.cuda.max_memory_allocated(self.device) - base) / 2**20

    def _memory(self) -> int:
        """Bytes in use on a GPU, where the count of the most begins anew; what is not in use is given back."""
        if not self.gpu:
            return 0
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def time(self, seconds: float) -> dict[str, Any]:
        """Time the loops for about so many ``seconds`` and return what the file says of the case."""
        watch = Watch()
        length = min(pacing.WINDOW, max(SHORTEST, seconds / (PARTS[self.device.type] * len(self.subjects))))
        found = pacing.pace(
            self.subjects,
            baseline=0,
            sentinel=Sentinel(self.device),
            budget=seconds,
            rounds=ROUNDS,
            warm_steps=WARM_STEPS,
            warm_seconds=min(pacing.WARM_SECONDS, max(WARM_SECONDS, 2 * length)),
            window_seconds=length,
        )
        paced = {p.name: p for p in found}
        state = timer._gpu(self.device)
        others = watch.others()
        if self.gpu:
            self._sides()
        hand = paced[HAND]
        return {
            "networks": self.case.networks.name,
            "regularizer": self.case.stack,
            "by_hand_ms": hand.summary()["step_ms"],
            "by_hand_rounds": hand.rounds,
            "by_hand": self.facts[HAND],
            "window_s": length,
            "built_s": self.built_s,
            "noise_floor": pacing.noise_floor(paced[AGAIN].rounds, hand.rounds),
            "drifted": sum(p.drifted for p in found),
            "others": others,
            "gpu": state,
            "cudnn_benchmark": torch.backends.cudnn.benchmark if self.gpu else None,
            "rows": [self._row(engine, seeds, paced) for engine, seeds in self.listed],
        }

    def _sides(self) -> None:
        busy = Busy(self.device)
        for loop in self.subjects:
            if loop.name != AGAIN:
                self.facts[loop.name] |= sides(loop.take, loop.stride, busy)

    def _row(self, engine: str, seeds: int, paced: dict[str, Paced]) -> dict[str, Any]:
        name = f"{engine}, {seeds}"
        row: dict[str, Any] = {"engine": engine, "seeds": seeds}
        if name in self.wrong:
            return row | {"error": self.wrong[name]}
        found = paced[name]
        times = pacing.ratio([seeds * ms for ms in paced[HAND].rounds], found.rounds)
        assert times is not None  # every subject has all rounds
        summary = {"step_ms": found.summary()["step_ms"], "steady": found.converged, "rounds": found.rounds}
        return row | {"trials": times.mean, "low": times.low, "high": times.high} | summary | self.facts[name]
