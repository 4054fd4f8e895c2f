"""Time the engines that a block may train in, in a process of its own, and tell which takes the least."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench import compiled, family, widths
from ganbench.cell import Cell, Trial
from ganbench.choices import Choice, least
from ganbench.component import digest
from ganbench.memory import give_back, lacked
from ganbench.processes import die_with
from ganbench.registry import Registry
from ganbench.timing import now
from ganbench.widths import Width

if TYPE_CHECKING:
    import torch

    from ganbench.engines import Engine
    from ganbench.training import Trainer

SHORT, SHORT_GPU, BRIEF = 8.0, 30.0, 1.0
"""Seconds of the same below which nothing is compiled, or even traced: that takes as long for a small step.

On a GPU a traced step is one launch already, so that compiling, which takes longer there, has less to gain.
"""
SERIAL_S, OTHER_S = 0.5, 0.5
"""Seconds that the steps of an engine are timed for."""
ENOUGH = 1.5
"""How many times less all trials in one step must take for nobody to ask what one seed compiled takes."""
WARM_S = 0.3
"""Seconds that a GPU is kept busy before: its clocks rise under load, and its libraries load kernels when they come."""
WINDOW_S = 0.02
"""Seconds that a window of steps has at least: in shorter ones, waiting for a GPU and drawing inputs weigh too much."""


@dataclass(frozen=True)
class Shared:
    """Trials that one step could train: (place of its cell in the block, seed) of each, and what are inputs of it."""

    trials: tuple[tuple[int, int], ...]
    numbers: tuple[str, ...]

    @property
    def cells(self) -> tuple[int, ...]:
        """The places of its cells."""
        return tuple(dict.fromkeys(place for place, _ in self.trials))


@dataclass(frozen=True)
class Question:
    """One block to choose for.

    Args:
        specs: of its cells; times of single seeds are those of the first.
        seeds: of each cell.
        stacks: its trials as engines that train them together would have them, the largest first, which is timed.
        allowed: engines, the plainest first.
        graphs: kinds of step of each cell.
        warm: whether some cell was compiled on this machine before, so that compiling is likely.
        sharing: processes that train on the device at a time, whose memory must do for all.
    """

    specs: tuple[Mapping[str, Any], ...]
    seeds: tuple[int, ...]
    stacks: tuple[Shared, ...]
    allowed: tuple[str, ...]
    graphs: tuple[int, ...]
    device: str
    threads: int
    plugins: tuple[str | Path, ...]
    without: tuple[str, ...]
    warm: bool = False
    sharing: int = 1


def work(question: Question, answers: Connection, lifeline: Connection) -> None:
    """Answer ``question``; die when the driver at the other end of ``lifeline`` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    die_with(lifeline)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 # what compilers say is for nobody
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)

    def tell(*message: object) -> None:
        with contextlib.suppress(BrokenPipeError, OSError):
            answers.send(message)

    try:
        choice = answer(question, tell)
    except Exception as error:  # noqa: BLE001 # the cells will say so themselves, in the plainest engine
        choice = Choice(question.allowed[0], f"measuring engines failed: {_line(error)}", "")
    tell("final", choice)


def answer(question: Question, tell: Callable[..., None] = lambda *_: None) -> Choice:
    """Time the plainest engine, then what the grid allows beside it, as far as it can still take less.

    Args:
        question: what block to choose for.
        tell: hears ``("choice", Choice)`` after each engine, which holds should the next one not come back, and
            ``("width", kind, Width)`` where a stack runs out of memory.
    """
    return _Comparison(question, tell).choice()


class _Comparison:
    """The engines of one block that were timed so far, and its stacks, which become narrower where memory runs out."""

    def __init__(self, question: Question, tell: Callable[..., None]) -> None:
        registry = Registry.load(question.plugins, without=question.without)
        self.question, self.tell, self.stacks = question, tell, question.stacks
        self.cells = [Cell.from_spec(spec, registry) for spec in question.specs]
        self.steps, self.first = self.cells[0].steps, question.allowed[0]
        self.on_gpu = question.device.startswith("cuda")
        self.seconds: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        """Seconds of a step for each of the trials that were timed in it."""
        self.told: list[str] = []

    def choice(self) -> Choice:
        first, short = self.first, SHORT_GPU if self.on_gpu else SHORT
        others = sorted(self.question.allowed[1:], key=lambda e: ("compiled" in e, not e.startswith("fused")))
        step = self.timed(first).step
        self.seconds[first] = self.turns(first) * step
        each = self.steps * step * (1 if first == "fused" else len(self.stacks[0].trials))
        if each < (short if all("compiled" in engine for engine in others) else BRIEF):
            return Choice(first, f"trials that could share a step take {each:.2g} s", "", self.seconds)
        if any(engine.startswith("fused") for engine in self.question.allowed):
            self.stacks, reason = _stackable(self.cells, dataclasses.replace(self.question, stacks=self.stacks))
            if reason:
                return Choice(first, reason, "", self.seconds)
            self.seconds[first] = self.turns(first) * step
        self.told.append(f"{first} {self.seconds[first]:.3g} s")
        for engine in others:
            self.tell("choice", self.so_far())
            if "compiled" in engine and each < short:
                continue
            try:
                # one seed compiled is another matter only where all in one step gain little
                if engine == "serial+compiled" and self.gain() > ENOUGH:
                    continue
                step = self.consider(engine)
            except Exception as error:  # noqa: BLE001 # whatever a compiler may raise: there may be none
                self.told.append(f"{engine} failed ({_line(error)})")
                continue
            if engine == "fused":
                each = min(each, self.steps * step)
        return self.so_far()

    def so_far(self) -> Choice:
        """The engine that takes the least of those that were timed."""
        return Choice(
            least(self.seconds, self.first), f"its cells would take {'; '.join(self.told)}", "", dict(self.seconds)
        )

    def gain(self) -> float:
        """How many times less the best engine takes than the plainest one.

        On a GPU most of that may be due to capturing, of which a seed of its own has as much: there it is how many
        times less a stack takes than its trials one by one, captured as well.
        """
        gained = self.seconds[self.first] / min(self.seconds.values())
        if gained <= ENOUGH or not self.on_gpu or "fused" not in self.shares:
            return gained
        one = Shared(self.stacks[0].trials[:1], self.stacks[0].numbers)
        return _measured(self.cells, "fused", self.question, one)[1] / self.shares["fused"]

    def consider(self, engine: str) -> float:
        """Time ``engine`` and say what it would take in all; seconds of its step."""
        loading = _loaded(self.question.device) if "compiled" in engine else 0.0
        found, graphs, made = self.timed(engine), self.question.graphs, "tracing"
        if engine.startswith("fused"):
            graphs = tuple(graphs[stack.cells[0]] for stack in self.stacks)
        if "compiled" in engine:
            again_s = _measured(self.cells, engine, self.question, self.stacks[0], only_first=True)[0]
            making = compiled.charged(graphs, found.before, first_s=found.first, again_s=again_s, loading=loading)
            made = "compiling"
        else:  # each process traces, and a GPU's graph is captured
            making = (found.first - found.step) * sum(graphs)
            made += " and capturing" * self.on_gpu
        self.seconds[engine] = making + self.turns(engine) * found.step
        told = f"{engine} {self.seconds[engine]:.3g} s" + f", {making:.3g} s of it {made}" * (making > 0)
        self.told.append(told + f", in {found.peak_mib:.0f} MiB" * (found.peak_mib > 0))
        return found.step

    def turns(self, engine: str) -> float:
        """Steps of all trials of the block, in those of what is timed."""
        if engine.startswith("fused"):
            widest = len(self.stacks[0].trials)
            return self.steps * sum(family.share(len(s.trials), widest) for s in self.stacks)
        return self.steps * len(self.cells) * len(self.question.seeds)

    def timed(self, engine: str) -> Timed:
        """How ``engine`` does; where memory runs out, with half as many trials in a step, down to single ones."""
        cells, question = self.cells, self.question
        while True:
            before, widest = took(cells, engine, self.stacks, question.device), self.stacks[0]
            try:
                found = Timed(*_measured(cells, engine, question, widest), before)
            except Exception as error:
                n, lack = len(widest.trials), lacked(error)
                if n == 1 or not engine.startswith("fused") or not lack:
                    raise
            else:
                self.shares[engine] = found.step / (len(widest.trials) if engine.startswith("fused") else 1)
                return found
            # the error is gone here, and with it what its frames held
            most = -(-n // 2)
            self.told.append(f"{n} trials in one step run out of memory")
            of = [cells[i] for i in widest.cells]
            self.tell("width", widths.kind(of[0]), Width(most, widths.about(of), {str(n): lack}))
            self.stacks = narrowed(self.stacks, most)


def took(cells: Sequence[Cell], engine: str, stacks: Sequence[Shared], device: str) -> list[float | None]:
    """Seconds that each stack took to be compiled, or each cell where trials do not train together; None if not.

    Stacks of one family and of one size are one graph, which is compiled once.
    """
    if "compiled" not in engine:
        return [None]
    chosen = [dataclasses.replace(cell, engine=engine) for cell in cells]
    if not engine.startswith("fused"):
        return [compiled.took(cell, 1, device) for cell in chosen]
    found: dict[str, float | None] = {}
    seconds = []
    for stack in stacks:
        cell, n = chosen[stack.cells[0]], len(stack.trials)
        key = digest({"cell": family.masked(cell, stack.numbers), "trials": n})
        seconds.append(0.0 if key in found else compiled.took(cell, n, device, stack.numbers))
        found[key] = seconds[-1]
    return seconds


def _loaded(device: str) -> float:
    """Seconds to load the compiler, and on a machine's first time to make what it makes once."""
    from ganbench.graph import prepare_compiler

    begun = now()
    prepare_compiler(device)
    return now() - begun


def _stackable(cells: Sequence[Cell], question: Question) -> tuple[tuple[Shared, ...], str]:
    """The stacks as they fall apart where numbers cannot be inputs, or why a cell cannot train in a step with others.

    A block shares an engine. One trial of each cell is tried.
    """
    from ganbench.engines import by_python
    from ganbench.stacking import apart

    found: list[Shared] = []
    for stack in question.stacks:
        tried = [Trial(dataclasses.replace(cells[i], engine="fused"), 0) for i in stack.cells]
        place = {trial.cell.id: i for i, trial in zip(stack.cells, tried, strict=True)}
        parts = [(_trainers(tried, question), stack.numbers)]
        if _wrong(by_python, parts[0]) and stack.numbers:
            parts = apart(_trainers(tried, question), stack.numbers)
        for members, numbers in parts:
            if error := _wrong(by_python, (members, numbers)):
                alone = dataclasses.replace(members[0].cell, engine="serial")
                if _wrong(by_python, (_trainers([Trial(alone, 0)], question), ())):
                    continue  # it fails in every engine, and its row will say why
                return (), f"{members[0].cell.name} cannot be mapped over seeds: {error}"
            own = {place[t.cell.id] for t in members}
            found.append(Shared(tuple(trial for trial in stack.trials if trial[0] in own), tuple(numbers)))
    return tuple(sorted(found, key=lambda stack: -len(stack.trials))) or question.stacks, ""


def _wrong(engine_of: Callable[..., Any], stack: tuple[Sequence[Any], Sequence[str]]) -> str:
    """What is wrong with a step of these trainers and numbers; nothing if it is empty."""
    try:
        engine_of(*stack).advance(1)
    except Exception as error:  # noqa: BLE001 # a plugin may do anything with a tensor
        return "" if lacked(error) else _line(error)  # a lack of memory says nothing of the step
    return ""


def _line(error: Exception) -> str:
    return lacked(error)[:120] or f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _trainers(trials: Sequence[Trial], question: Question) -> list[Any]:
    from ganbench.training import Trainer, Training

    training = Training(device=question.device, threads=question.threads)
    folder = Path(tempfile.gettempdir())  # nothing is written to it
    return [Trainer(trial, folder, training, lambda *_: None) for trial in trials]


@dataclass(frozen=True)
class Timed:
    """How an engine did.

    Args:
        first: seconds until the first step was done.
        step: seconds of a step after it, of the first stack, or of one seed where trials do not train together.
        peak_mib: the most memory that it held of a GPU; 0 on a CPU.
        before: seconds that each stack took to be compiled before, as :func:`took` has it.
    """

    first: float
    step: float
    peak_mib: float
    before: list[float | None]


def narrowed(stacks: Sequence[Shared], most: int) -> tuple[Shared, ...]:
    """``stacks``, the largest first, of which none has more than ``most`` trials."""
    parts = [Shared(part, s.numbers) for s in stacks for part in family.deal([s.trials], 1, most)[0]]
    return tuple(sorted(parts, key=lambda stack: -len(stack.trials)))


def _measured(
    cells: Sequence[Cell], engine: str, question: Question, stack: Shared, *, only_first: bool = False
) -> tuple[float, float, float]:
    """Seconds until the first step was done, seconds of a step after it, and MiB of a GPU at most.

    They are of ``stack``, or of a seed of the first cell.

    Raises:
        OutOfMemoryError: this process has the memory, but all that train on the device at a time would not.
    """
    import torch

    from ganbench.engines import engine_of, forget

    forget()
    device = torch.device(question.device)
    give_back(device)  # what was measured before
    fused = engine.startswith("fused")
    trials = stack.trials if fused else ((0, question.seeds[0]),)
    chosen = [Trial(dataclasses.replace(cells[i], engine=engine), seed) for i, seed in trials]
    running = engine_of(_trainers(chosen, question), stack.numbers if fused else ())
    trainer = running.trainers[0]
    if device.type == "cuda":  # not before: torch has no statistics of a GPU that the process has not used
        torch.cuda.reset_peak_memory_stats(device)
    trainer.synchronize()
    begun = now()
    running.advance(1)
    trainer.synchronize()
    first = now() - begun
    if only_first:
        return first, 0.0, 0.0
    period = trainer.period
    running.advance(2 * period)  # the other kinds of step, and whatever runs for the first time
    trainer.synchronize()
    if device.type == "cuda":
        _windows(running, trainer, WARM_S)
    times = _windows(running, trainer, SERIAL_S if engine == "serial" else OTHER_S)
    peak = _peak(device, question.sharing) if device.type == "cuda" else 0.0
    return first, sorted(times)[len(times) // 2], peak


def _windows(running: Engine, trainer: Trainer, seconds: float) -> list[float]:
    """Seconds of a step in each of at least three windows of whole periods, none of them short."""
    times: list[float] = []
    until, n = now() + seconds, trainer.period
    while now() < until or len(times) < 3:
        begun = now()
        running.advance(n)
        trainer.synchronize()
        spent = now() - begun
        if spent < WINDOW_S:
            n *= 2
            times.clear()
        else:
            times.append(spent / n)
    return times


def _peak(device: torch.device, processes: int) -> float:
    """MiB of ``device`` that this process has held at most.

    Raises:
        OutOfMemoryError: as much for each of so many ``processes`` is more than there is.
    """
    import torch

    peak = torch.cuda.max_memory_reserved(device)
    room = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    if peak * processes > room:
        held, there = peak / 2**20, room / 2**20
        raise torch.OutOfMemoryError(f"out of memory: {processes} processes of {held:.0f} MiB share {there:.0f} MiB")
    return peak / 2**20
