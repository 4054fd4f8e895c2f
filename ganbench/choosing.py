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

from ganbench import compiled
from ganbench.cell import Cell, Trial
from ganbench.choices import Choice, block_of_cell, least
from ganbench.processes import context, death, die_with, without_main
from ganbench.registry import Registry
from ganbench.timing import now

FEW_STEPS = 1_000
"""Steps of all seeds of a cell below which nothing is measured: compiling would take longer."""
SHORT = 8.0
"""Seconds of all seeds of a cell below which nothing is compiled: a small step takes that long without a cache."""
SERIAL_S, OTHER_S = 0.5, 0.5
"""Seconds that the steps of an engine are timed for."""
PATIENCE = 600.0
"""Seconds after which the measurement of a block is given up."""


@dataclass(frozen=True)
class Question:
    """One block to choose for.

    Args:
        specs: of its cells; times are those of the first.
        seeds: of each cell.
        allowed: engines, the plainest first.
        graphs: kinds of step of each cell.
        warm: whether some cell was compiled on this machine before, so that compiling is likely.
    """

    specs: tuple[Mapping[str, Any], ...]
    seeds: tuple[int, ...]
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
    **process: Any,
) -> dict[str, Choice]:
    """A choice for each block of ``cells``, measured in processes of their own; ``process`` is of a Question."""
    blocks: dict[str, list[Cell]] = {}
    for cell in cells:
        blocks.setdefault(block_of_cell(cell), []).append(cell)
    found = {}
    for block, members in blocks.items():
        first = members[0]
        about = f"{first.dataset.label}, {first.generator.label}, {first.discriminator.label}"
        if first.steps * len(seeds) < FEW_STEPS:
            found[block] = Choice(allowed[0], f"{first.steps} steps are too few to measure engines", about)
            continue
        tell(f"{about}: measuring engines")
        question = Question(
            specs=tuple(cell.spec | {"engine": "serial"} for cell in members),
            seeds=seeds,
            allowed=allowed,
            graphs=tuple(kinds_of(cell) for cell in members),
            warm=any(_took(cell, e, len(seeds), process["device"]) for cell in members for e in allowed),
            **process,
        )
        found[block] = dataclasses.replace(_asked(question), block=about)
    return found


def kinds_of(cell: Cell) -> int:
    """How many kinds of step a cell has: one for each set of regularizers that are active together."""
    everys = {r.every for r in cell.regularizers}
    steps = range(min(cell.steps, 10_000))
    return len({tuple(step % every == 0 for every in everys) for step in steps}) if everys - {1} else 1


def _asked(question: Question) -> Choice:
    """The answer of a process of its own."""
    started = context(compiling=question.warm)
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
    seeds, steps = question.seeds, cells[0].steps
    step = _measured(cells[0], first, question)[1]
    each = steps * step * (1 if first == "fused" else len(seeds))
    seconds = {first: each * len(cells)}
    if each < SHORT:
        return Choice(first, f"all seeds of a cell take {each:.2g} s", "", seconds)
    if reason := _cannot_stack(cells, question):
        return Choice(first, reason, "", seconds)
    told = [f"{first} {seconds[first]:.3g} s"]
    for engine in sorted(others, key=lambda e: not e.startswith("fused")):
        # one seed compiled is another matter only where all in one step gain little
        if engine == "serial+compiled" and min(seconds.values()) * 1.5 < seconds[first]:
            continue
        try:
            before = [_took(cell, engine, len(seeds), question.device) for cell in cells]
            loading = _loaded() if "compiled" in engine else 0.0
            first_s, step = _measured(cells[0], engine, question)
            compiling = 0.0
            if "compiled" in engine:
                again_s = _measured(cells[0], engine, question, only_first=True)[0]
                compiling = charged(question.graphs, before, first_s=first_s, again_s=again_s, loading=loading)
        except Exception as error:  # noqa: BLE001 # whatever a compiler may raise: there may be none
            told.append(f"{engine} failed ({_line(error)})")
            continue
        turns = steps * len(cells) * (1 if engine.startswith("fused") else len(seeds))
        seconds[engine] = compiling + turns * step
        told.append(f"{engine} {seconds[engine]:.3g} s, {compiling:.3g} s of it compiling")
    return Choice(least(seconds, first), f"its cells would take {'; '.join(told)}", "", seconds)


def charged(
    graphs: Sequence[int], before: Sequence[float | None], *, first_s: float, again_s: float, loading: float
) -> float:
    """Seconds that compiling costs the cells of a block, each of which has a process that loads the compiler.

    Args:
        graphs: kinds of step of each cell.
        before: seconds that each took to compile on this machine, None where it did not happen.
        first_s: until the first step of the first cell; one that was compiled before took as long then as
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


def _took(cell: Cell, engine: str, seeds: int, device: str) -> float | None:
    """Seconds that ``cell`` took to be compiled in ``engine``, if it was."""
    if "compiled" not in engine:
        return None
    return compiled.took(dataclasses.replace(cell, engine=engine), seeds if engine.startswith("fused") else 1, device)


def _loaded() -> float:
    """Seconds to load the compiler, and on a machine's first time to make what it makes once."""
    from ganbench.graph import prepare_compiler

    begun = now()
    prepare_compiler()
    return now() - begun


def _cannot_stack(cells: Sequence[Cell], question: Question) -> str:
    """Why the seeds of some cell cannot train in one step, where that is allowed; a block shares an engine."""
    if not any(engine.startswith("fused") for engine in question.allowed):
        return ""
    for cell in cells:
        try:
            _engine(dataclasses.replace(cell, engine="fused"), (0, 1), question).advance(1)
        except Exception as error:  # noqa: BLE001 # a plugin may do anything with a tensor
            try:
                _engine(cell, (0,), question).advance(1)
            except Exception:  # noqa: BLE001, S112 # it fails in every engine, and its row will say why
                continue
            return f"{cell.name} cannot be mapped over seeds: {_line(error)}"
    return ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]


def _engine(cell: Cell, seeds: Sequence[int], question: Question) -> Any:
    from ganbench.engines import engine_of
    from ganbench.training import Trainer, Training

    chosen = seeds if cell.stacked else seeds[:1]
    training = Training(device=question.device, threads=question.threads)
    folder = Path(tempfile.gettempdir())  # nothing is written to it
    return engine_of([Trainer(Trial(cell, seed), folder, training, lambda *_: None) for seed in chosen])


def _measured(cell: Cell, engine: str, question: Question, *, only_first: bool = False) -> tuple[float, float]:
    """Seconds until the first step was done, and of a step after it, of ``cell`` in ``engine``."""
    from ganbench.engines import forget

    forget()
    running = _engine(dataclasses.replace(cell, engine=engine), question.seeds, question)
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
