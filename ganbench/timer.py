"""The timing pass in its own process: build the cells of a block, time them in turn, write what was found."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from ganbench import codeprint, environment, timing
from ganbench.cell import Cell, Trial
from ganbench.devices import synchronize
from ganbench.engines import Together
from ganbench.machine import BUSY, Watch, gpu_state
from ganbench.pacing import Paced, Subject, pace, window
from ganbench.processes import die_with
from ganbench.records import write_json
from ganbench.registry import Registry
from ganbench.steptimes import AGAIN, BASELINE, SCHEMA
from ganbench.training import Trainer, Training, utc

CALL = 0.02
"""Seconds that one call should last at most, where a period of steps is shorter; its marks are then means."""
MOST_PERIODS = 32
SENTINEL = 0.004
"""Seconds that one go of the sentinel should last; the least of a few is what counts."""


@dataclass(frozen=True)
class BlockJob:
    """What the process is told: names, numbers and paths.

    Args:
        file: to write.
        block: its identity.
        mode: ``serial`` or ``compiled``.
        specs: the specification of each cell, by its name.
        plugins: files to load.
        without: plugins to block.
        device: to time on.
        threads: of the CPU.
        seconds: the budget for each cell.
    """

    file: Path
    block: str
    mode: str
    specs: Mapping[str, Mapping[str, Any]]
    plugins: tuple[Path, ...]
    without: tuple[str, ...]
    device: str
    threads: int
    seconds: float


class DeviceMarks:
    """Moments on a device: of the host's clock on a CPU, events in the queue of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        synchronize(self.device)

    def mark(self) -> object:
        """A moment; an event records it when the device gets there."""
        if self.device.type != "cuda":
            return timing.now()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch leaves it untyped
        event.record()
        return event

    def between(self, marks: Sequence[Any]) -> list[float]:
        """Seconds from each mark to the next."""
        if self.device.type != "cuda":
            return [b - a for a, b in itertools.pairwise(marks)]
        return [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks)]


class Steps(DeviceMarks):
    """The steps of one cell with fresh weights, seed 0: what a step costs does not depend on how far training is."""

    def __init__(self, name: str, cell: Cell, job: BlockJob) -> None:
        self.name = name
        self.trainer = Trainer(Trial(cell, 0), job.file.parent, Training(job.device, threads=job.threads), _silent)
        super().__init__(self.trainer.device)
        self.period = self.trainer.period
        self.stride = 1
        engine = Together([self.trainer], mapped=False, compiled=True) if job.mode == "compiled" else self.trainer
        self.steps: Callable[[int], None] = engine.advance

    def advance(self) -> None:
        self.steps(self.stride)


class Sentinel:
    """A fixed piece of work, a matrix product and a convolution, that notices when the machine changes its pace."""

    def __init__(self, device: torch.device) -> None:
        rng = torch.Generator().manual_seed(0)
        side, channels = (1024, 64) if device.type == "cuda" else (128, 8)
        self.device = device
        self.a = torch.randn(side, side, generator=rng).to(device)
        self.x = torch.randn(8, channels, 16, 16, generator=rng).to(device)
        self.w = torch.randn(channels, channels, 3, 3, generator=rng).to(device)
        self.goes = 1
        for _ in range(3):
            self._go()
        self.goes = max(1, round(SENTINEL / min(self._go() for _ in range(5))))

    def __call__(self) -> float:
        """Seconds of its quickest go out of five: interruptions pass, a slower clock stays."""
        return min(self._go() for _ in range(5))

    @torch.no_grad()
    def _go(self) -> float:
        self._wait()
        begun = timing.now()
        for _ in range(self.goes):
            self.a @ self.a
            torch.nn.functional.conv2d(self.x, self.w, padding=1)
        self._wait()
        return timing.now() - begun

    def _wait(self) -> None:
        synchronize(self.device)


def work(job: BlockJob, events: Connection, lifeline: Connection) -> None:
    """Time ``job`` and write its file; tell ``events`` of what failed; die with the driver at ``lifeline``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    die_with(lifeline)
    try:
        time_block(job)
        answer = ""
    except Exception as error:  # noqa: BLE001 # a plugin may raise anything
        traceback.print_exception(error)
        answer = f"{type(error).__name__}: {error}".splitlines()[0]
    with contextlib.suppress(BrokenPipeError, OSError):
        events.send(answer)


def time_block(job: BlockJob) -> None:
    """Time the cells of a block against the cell without regularizers, which is built twice, and write the file.

    A cell that cannot be built or stepped has its error in the file; the others are timed.
    """
    registry = Registry.load(job.plugins, without=job.without)
    cells = {name: Cell.from_spec(spec, registry) for name, spec in job.specs.items()}
    bare = dataclasses.replace(next(iter(cells.values())), regularizers=())
    started, watch = utc(), Watch()
    device = torch.device(job.device)
    before = _gpu(device)
    subjects: list[Subject] = [Steps(BASELINE, bare, job), Steps(AGAIN, bare, job)]
    first = {subject.name: several(subject) for subject in subjects}
    found: dict[str, dict[str, Any]] = {}
    for name, cell in cells.items():
        found[name] = {"code": codeprint.combined(codeprint.fingerprint(cell.components))}
        if not cell.regularizers:
            found[name]["is_baseline"] = True
            continue
        try:
            subject = Steps(name, cell, job)
            first[name] = several(subject)
        except Exception as error:  # noqa: BLE001 # as above
            found[name]["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            subjects.append(subject)
    memory = _Memory(device)
    paced = pace(
        subjects,
        baseline=0,
        sentinel=Sentinel(device),
        budget=job.seconds * len(subjects),
        warmed=memory.warmed,
    )
    said = {p.name: _facts(p) | {"first_s": first[p.name]} | memory.found.get(p.name, {}) for p in paced}
    for name, of_cell in found.items():
        of_cell.update(said.get(BASELINE if of_cell.get("is_baseline") else name, {}))
    after, others = _gpu(device), watch.others()
    beside = sum(state.get("others", 0) for state in (before, after) if state)
    job.file.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        job.file,
        {
            "schema": SCHEMA,
            "block": job.block,
            "mode": job.mode,
            "device": job.device,
            "threads": job.threads,
            "fingerprints": environment.fingerprints(job.device),
            "started": started,
            "finished": utc(),
            "exclusive": (others is None or others <= BUSY) and not beside,
            "others": others,
            "gpu": [before, after] if before or after else None,
            BASELINE: said[BASELINE],
            AGAIN: said[AGAIN],
            "cells": found,
        },
    )


class _Memory:
    """Peak memory of each subject on a GPU, of its warm-up and of a period after it, beyond what lay there before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.found: dict[str, dict[str, float]] = {}
        self.base = self._reset()

    def _reset(self) -> int:
        if self.device.type != "cuda":
            return 0
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def warmed(self, subject: Subject) -> None:
        if self.device.type != "cuda":
            return
        warm = torch.cuda.max_memory_allocated(self.device) - self.base
        base = self._reset()
        for _ in range(max(1, subject.period // subject.stride)):
            subject.advance()
        subject.synchronize()
        steady = torch.cuda.max_memory_allocated(self.device) - base
        self.found[subject.name] = {"warm_up_mib": warm / 2**20, "step_mib": steady / 2**20}
        self.base = self._reset()


def several(subject: Subject) -> float:
    """Seconds of the very first step; small steps are taken several at a call from then on, as training takes them."""
    seconds = window(subject, 1).seconds
    again = window(subject, subject.period).seconds
    subject.stride = subject.period * max(1, min(MOST_PERIODS, int(CALL / again)))
    return seconds


def _facts(paced: Paced) -> dict[str, Any]:
    return {
        "warm_up_s": paced.warm_up_s,
        "warm_up_steps": paced.warm_up_steps,
        "converged": paced.converged,
        "drifted": paced.drifted,
        "steps_a_round": paced.windows[-1].steps,
        "rounds": paced.rounds,
        "summary": paced.summary(),
    }


def _gpu(device: torch.device) -> dict[str, Any] | None:
    if device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return gpu_state(f"GPU-{uuid}" if uuid else device.index or 0)


def _silent(kind: str, content: Mapping[str, Any]) -> None:
    del kind, content
