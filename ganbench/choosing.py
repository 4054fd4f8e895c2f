"""Choose the engine of each block of cells: the one that takes the least in total, as a process of its own measures."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ganbench import family
from ganbench.cell import Cell
from ganbench.choices import Choice, block_of_cell
from ganbench.processes import context, death, without_main
from ganbench.timing import now
from ganbench.trying import Question, Shared, took, work
from ganbench.widths import Width

FEW_STEPS = 1_000
"""Steps of all that could train together below which nothing is measured: compiling would take longer."""
PATIENCE = 600.0
"""Seconds after which the measurement of a block is given up."""


def choose(
    cells: Sequence[Cell],
    seeds: tuple[int, ...],
    allowed: tuple[str, ...],
    tell: Callable[[str], None],
    narrow: Callable[[str, Width], None],
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
        narrow: where it goes that trials of a kind run out of memory in one step.
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
            warm=any(s for e in allowed for s in took(members, e, stacks, process["device"])),
            **process,
        )
        found[block] = dataclasses.replace(_asked(question, narrow), block=about)
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


def _asked(question: Question, narrow: Callable[[str, Width], None]) -> Choice:
    """The answer of a process of its own; ``narrow`` is told of stacks that are too wide."""
    started = context(question.device, tracing=True, compiling=question.warm)
    answers, answer_end = started.Pipe(duplex=False)
    lifeline_end, lifeline = started.Pipe(duplex=False)
    process = started.Process(target=work, args=(question, answer_end, lifeline_end), daemon=True)
    with without_main():
        process.start()
    answer_end.close()
    lifeline_end.close()
    choice, final = Choice(question.allowed[0], "", ""), False
    until = now() + PATIENCE
    try:
        with contextlib.suppress(EOFError, OSError):
            while not final and answers.poll(max(0.0, until - now())):
                kind, *content = answers.recv()
                if kind == "width":
                    narrow(*content)
                else:
                    final, (choice,) = kind == "final", content
    finally:
        late = process.is_alive() and now() >= until
        if process.is_alive() and not final:
            process.kill()
        process.join()
        answers.close()
        lifeline.close()
    if final:
        return choice
    why = f"measuring engines failed: {f'not done after {PATIENCE:g} s' if late else death(process.exitcode or 0)}"
    return dataclasses.replace(choice, why=f"{choice.why}; {why}" if choice.why else why)
