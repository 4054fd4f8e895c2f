"""Measure what the cells of each block cost in each engine, and choose the one that takes the least in total."""

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
from typing import Any

from ganbench import compiled, family
from ganbench.cell import Cell, Trial
from ganbench.choices import Choice, block_of_cell, least
from ganbench.component import digest
from ganbench.processes import context, death, die_with, without_main
from ganbench.registry import Registry
from ganbench.timing import now

FEW_STEPS = 1_000
"""Steps of all that could train together below which nothing is measured: compiling would take longer."""
SHORT, BRIEF = 8.0, 1.0
"""Seconds of the same below which nothing is compiled, or even traced: that takes as long for a small step."""
SERIAL_S, OTHER_S = 0.5, 0.5
"""Seconds that the steps of an engine are timed for."""
PATIENCE = 600.0
"""Seconds after which the measurement of a block is given up."""


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


def choose(
    cells: Sequence[Cell],
    seeds: tuple[int, ...],
    allowed: tuple[str, ...],
    tell: Callable[[str], None],
    *,
    workers: int,
    most: int,
    **process: Any,
) -> dict[str, Choice]:
    """A choice for each block of ``cells``, measured in processes of their own.

    Args:
        cells: whose engine is open.
        seeds: of each.
        allowed: engines, the plainest first.
        tell: where messages go.
        workers: processes that train them.
        most: trials in one step.
        process: of a Question.
    """
    blocks: dict[str, list[Cell]] = {}
    for cell in cells:
        blocks.setdefault(block_of_cell(cell), []).append(cell)
    found = {}
    for block, members in blocks.items():
        first = members[0]
        about = f"{first.dataset.label}, {first.generator.label}, {first.discriminator.label}"
        stacks = _stacks(members, seeds, workers, most)
        if first.steps * len(stacks[0].trials) < FEW_STEPS:
            found[block] = Choice(allowed[0], f"{first.steps} steps are too few to measure engines", about)
            continue
        tell(f"{about}: measuring engines")
        question = Question(
            specs=tuple(cell.spec | {"engine": "serial"} for cell in members),
            seeds=seeds,
            stacks=stacks,
            allowed=allowed,
            graphs=tuple(kinds_of(cell) for cell in members),
            warm=any(s for e in allowed for s in _took(members, e, stacks, process["device"])),
            **process,
        )
        found[block] = dataclasses.replace(_asked(question), block=about)
    return found


def _stacks(cells: Sequence[Cell], seeds: Sequence[int], workers: int, most: int) -> tuple[Shared, ...]:
    """The trials of ``cells`` as they would be stacked, the largest stack first."""
    places = {cell.id: i for i, cell in enumerate(cells)}
    named = {dataclasses.replace(cell, engine="fused"): places[cell.id] for cell in cells}
    families = family.families(list(named))
    groups = [[(named[cell], seed) for cell in f.cells for seed in seeds] for f in families]
    dealt = zip(families, family.deal(groups, workers, most), strict=True)
    found = [Shared(trials, f.numbers) for f, stacks in dealt for trials in stacks]
    return tuple(sorted(found, key=lambda stack: -len(stack.trials)))


def kinds_of(cell: Cell) -> int:
    """How many kinds of step a cell has: one for each set of regularizers that are active together."""
    everys = {r.every for r in cell.regularizers}
    steps = range(min(cell.steps, 10_000))
    return len({tuple(step % every == 0 for every in everys) for step in steps}) if everys - {1} else 1


def _asked(question: Question) -> Choice:
    """The answer of a process of its own."""
    started = context(question.device, tracing=True, compiling=question.warm)
    answers, answer_end = started.Pipe(duplex=False)
    lifeline_end, lifeline = started.Pipe(duplex=False)
    process = started.Process(target=work, args=(question, answer_end, lifeline_end), daemon=True)
    with without_main():
        process.start()
    answer_end.close()
    lifeline_end.close()
    choice: Choice | None = None
    try:
        with contextlib.suppress(EOFError, OSError):
            choice = answers.recv() if answers.poll(PATIENCE) else None
    finally:
        if process.is_alive() and choice is None:
            process.kill()
        process.join()
        answers.close()
        lifeline.close()
    if choice is None:
        return Choice(question.allowed[0], f"measuring engines failed: {death(process.exitcode or 0)}", "")
    return choice


def work(question: Question, answers: Connection, lifeline: Connection) -> None:
    """Answer ``question``; die when the driver at the other end of ``lifeline`` does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what an interrupt means
    die_with(lifeline)
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 # what compilers say is for nobody
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        choice = answer(question)
    except Exception as error:  # noqa: BLE001 # the cells will say so themselves, in the plainest engine
        choice = Choice(question.allowed[0], f"measuring engines failed: {_line(error)}", "")
    with contextlib.suppress(BrokenPipeError, OSError):
        answers.send(choice)


def answer(question: Question) -> Choice:
    """Time the plainest engine, then what the grid allows beside it, as far as it can still take less."""
    registry = Registry.load(question.plugins, without=question.without)
    cells = [Cell.from_spec(spec, registry) for spec in question.specs]
    first, *others = question.allowed
    steps, stacks = cells[0].steps, question.stacks

    def turns(engine: str) -> float:
        """Steps of all trials of the block, in those of what is timed."""
        if engine.startswith("fused"):
            return steps * sum(family.share(len(s.trials), len(stacks[0].trials)) for s in stacks)
        return steps * len(cells) * len(question.seeds)

    step = _measured(cells, first, question, stacks[0])[1]
    seconds = {first: turns(first) * step}
    each = steps * step * (1 if first == "fused" else len(stacks[0].trials))
    if each < (SHORT if all("compiled" in engine for engine in others) else BRIEF):
        return Choice(first, f"trials that could share a step take {each:.2g} s", "", seconds)
    if any(engine.startswith("fused") for engine in question.allowed):
        stacks, reason = _stackable(cells, question)
        if reason:
            return Choice(first, reason, "", seconds)
        seconds[first] = turns(first) * step
    told = [f"{first} {seconds[first]:.3g} s"]
    for engine in sorted(others, key=lambda e: ("compiled" in e, not e.startswith("fused"))):
        if "compiled" in engine and each < SHORT:
            continue
        # one seed compiled is another matter only where all in one step gain little
        if engine == "serial+compiled" and min(seconds.values()) * 1.5 < seconds[first]:
            continue
        try:
            before = _took(cells, engine, stacks, question.device)
            loading = _loaded() if "compiled" in engine else 0.0
            first_s, step = _measured(cells, engine, question, stacks[0])
            compiling = 0.0
            if "compiled" in engine:
                again_s = _measured(cells, engine, question, stacks[0], only_first=True)[0]
                graphs = [question.graphs[s.cells[0]] for s in stacks] if engine[0] == "f" else question.graphs
                compiling = charged(graphs, before, first_s=first_s, again_s=again_s, loading=loading)
            elif engine == "fused":
                compiling = (first_s - step) * sum(question.graphs[s.cells[0]] for s in stacks)
                each = min(each, steps * step)
        except Exception as error:  # noqa: BLE001 # whatever a compiler may raise: there may be none
            told.append(f"{engine} failed ({_line(error)})")
            continue
        seconds[engine] = compiling + turns(engine) * step
        made = "compiling" if "compiled" in engine else "tracing"
        told.append(f"{engine} {seconds[engine]:.3g} s" + f", {compiling:.3g} s of it {made}" * (compiling > 0))
    return Choice(least(seconds, first), f"its cells would take {'; '.join(told)}", "", seconds)


def charged(
    graphs: Sequence[int], before: Sequence[float | None], *, first_s: float, again_s: float, loading: float
) -> float:
    """Seconds that compiling costs the stacks of a block, each of which has a process that loads the compiler.

    Args:
        graphs: kinds of step of each stack, or each cell where trials do not train together.
        before: seconds that each took to compile on this machine, None where it did not happen.
        first_s: until the first step of the first; one that was compiled before took as long then as
            ``before`` says.
        again_s: the same from the compiler's cache.
        loading: of the compiler.
    """
    cold = first_s if before[0] is None else max(before[0], again_s)
    cached = [True, *(b is not None for b in before[1:])]  # measuring has compiled one kind of step of the first cell
    total = sum(n * (again_s if known else cold) for n, known in zip(graphs, cached, strict=True))
    if before[0] is None:
        total += (graphs[0] - 1) * (cold - again_s)
    return total + loading * len(graphs)


def _took(cells: Sequence[Cell], engine: str, stacks: Sequence[Shared], device: str) -> list[float | None]:
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


def _loaded() -> float:
    """Seconds to load the compiler, and on a machine's first time to make what it makes once."""
    from ganbench.graph import prepare_compiler

    begun = now()
    prepare_compiler()
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
        return _line(error)
    return ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _trainers(trials: Sequence[Trial], question: Question) -> list[Any]:
    from ganbench.training import Trainer, Training

    training = Training(device=question.device, threads=question.threads)
    folder = Path(tempfile.gettempdir())  # nothing is written to it
    return [Trainer(trial, folder, training, lambda *_: None) for trial in trials]


def _measured(
    cells: Sequence[Cell], engine: str, question: Question, stack: Shared, *, only_first: bool = False
) -> tuple[float, float]:
    """Seconds until the first step was done, and of a step after it: of ``stack``, or of a seed of the first cell."""
    from ganbench.engines import engine_of, forget

    forget()
    fused = engine.startswith("fused")
    trials = stack.trials if fused else ((0, question.seeds[0]),)
    chosen = [Trial(dataclasses.replace(cells[i], engine=engine), seed) for i, seed in trials]
    running = engine_of(_trainers(chosen, question), stack.numbers if fused else ())
    trainer = running.trainers[0]
    trainer.synchronize()
    begun = now()
    running.advance(1)
    trainer.synchronize()
    compiling = now() - begun
    if only_first:
        return compiling, 0.0
    period = trainer.period
    running.advance(2 * period)  # the other kinds of step, and whatever runs for the first time
    times: list[float] = []
    until = now() + (SERIAL_S if engine == "serial" else OTHER_S)
    n = period
    while now() < until or len(times) < 3:
        begun = now()
        running.advance(n)
        trainer.synchronize()
        spent = now() - begun
        times.append(spent / n)
        if spent < 0.02:
            n *= 2
    return compiling, sorted(times)[len(times) // 2]
