"""Which engine a block of cells trains in: open until it is measured, and then kept with the run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from ganbench import choices, choosing, compiled, trying, widths
from ganbench.cell import Cell
from ganbench.choices import Choice, candidates, least
from ganbench.grid import Grid
from ganbench.registry import Registry
from ganbench.runner import Options, execute
from ganbench.settings import Settings
from ganbench.trying import Question


@pytest.mark.parametrize(
    ("engine", "compiled", "allowed"),
    [
        ("auto", "auto", ("serial", "fused", "serial+compiled", "fused+compiled")),
        ("auto", True, ("serial+compiled", "fused+compiled")),
        ("auto", False, ("serial", "fused")),
        ("fused", "auto", ("fused", "fused+compiled")),
        ("serial", "auto", ("serial", "serial+compiled")),
        ("serial", False, ("serial",)),
        ("fused", True, ("fused+compiled",)),
    ],
)
def test_the_grid_says_what_may_be_chosen_from(engine: Any, compiled: Any, allowed: tuple[str, ...]) -> None:
    assert candidates(Settings(engine=engine, compile=compiled)) == allowed


def test_an_engine_has_to_gain_a_tenth_to_be_chosen_over_the_plainest() -> None:
    assert least({"serial": 10.0, "fused+compiled": 9.5}, "serial") == "serial"
    assert least({"serial": 10.0, "serial+compiled": 8.0, "fused+compiled": 6.0}, "serial") == "fused+compiled"


@pytest.fixture
def small_auto(small: dict[str, Any]) -> dict[str, Any]:
    small["run"] |= {"engine": "auto", "compile": False, "precision": "float64"}
    small["grid"]["regularizer"] = ["none", "r1"]
    return small


@pytest.fixture
def fused_is_chosen(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    asked: list[Question] = []

    def answer(question: Question, narrow: object) -> Choice:
        asked.append(question)
        return Choice("fused", "it took least", "", {"serial": 2.0, "fused": 1.0})

    monkeypatch.setattr(choosing, "FEW_STEPS", 1)
    monkeypatch.setattr(choosing, "_asked", answer)
    return asked


def test_a_run_measures_a_block_once_and_keeps_the_choice(
    small_auto: dict[str, Any], fused_is_chosen: list[Question], tmp_path: Path
) -> None:
    before = Grid.load(small_auto).combinations(Registry.load())
    assert {c.cell.engine for c in before} == {choices.OPEN}
    first = execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    assert [len(q.specs) for q in fused_is_chosen] == [2], "cells of the same data and networks share an engine"
    assert set(first.results.records["engine"]) == {"fused"}
    assert any("engine fused, because it took least" in note for note in first.run.plan.notes)
    small_auto["run"]["seeds"] = 3
    again = execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    assert len(fused_is_chosen) == 1, "the choice is kept on resume"
    assert len(again.run.todo) == 2, "one more seed of each of two cells"
    assert set(again.results.records["engine"]) == {"fused"}


@pytest.mark.parametrize("left", [None, "{", '{"blocks": {"x": {"engine": "serial"}}}'])
def test_a_lost_choice_is_what_the_trials_were_trained_in(
    small_auto: dict[str, Any], fused_is_chosen: list[Question], tmp_path: Path, left: str | None
) -> None:
    execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    file = tmp_path / "small" / choices.FILE
    before = set(choices.recorded(file.parent))
    if left is None:
        file.unlink()
    else:
        file.write_text(left)
    outcome = execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    assert {block: c.engine for block, c in choices.recorded(file.parent).items()} == dict.fromkeys(before, "fused")
    assert len(fused_is_chosen) == 1, "nothing is measured again"
    assert not outcome.run.todo, "nothing is trained again"


def test_an_engine_that_the_grid_no_longer_allows_is_chosen_anew(
    small_auto: dict[str, Any], fused_is_chosen: list[Question], tmp_path: Path
) -> None:
    execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    small_auto["run"]["engine"] = "serial"
    outcome = execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    assert {c.cell.engine for c in outcome.run.plan.combinations} == {"serial"}
    assert len(fused_is_chosen) == 1


def test_few_steps_are_not_measured(small_auto: dict[str, Any], tmp_path: Path) -> None:
    outcome = execute(Grid.load(small_auto), tmp_path, Options(device="cpu"))
    assert set(outcome.results.records["engine"]) == {"serial"}
    (choice,) = choices.recorded(tmp_path / "small").values()
    assert "too few" in choice.why


def question(small: dict[str, Any], seeds: tuple[int, ...] = (0, 1), **axes: Any) -> Question:
    table = {"run": small["run"] | {"engine": "serial", "compile": False}, "grid": small["grid"] | axes}
    cells = [c.cell for c in Grid.load(table).combinations(Registry.load(trouble()))]
    specs = tuple(cell.spec for cell in cells)
    stacks = choosing._stacks(cells, seeds, workers=1, most=64)
    return Question(specs, seeds, stacks, ("serial", "fused"), (1,) * len(cells), "cpu", 1, trouble(), ())


def trouble() -> tuple[Path, ...]:
    return (Path(__file__).parent / "plugins" / "trouble.py",)


def test_both_engines_are_timed(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "BRIEF", 0.0)
    monkeypatch.setattr(trying, "SERIAL_S", 0.05)
    monkeypatch.setattr(trying, "OTHER_S", 0.05)
    choice = trying.answer(question(small))
    assert set(choice.seconds) == {"serial", "fused"}
    assert all(seconds > 0 for seconds in choice.seconds.values())
    assert choice.engine == least(choice.seconds, "serial")


def test_short_trainings_may_be_traced_but_are_not_compiled(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BRIEF": 0.0, "SERIAL_S": 0.05, "OTHER_S": 0.05}.items():
        monkeypatch.setattr(trying, name, value)
    asked = dataclasses.replace(question(small), allowed=("serial", "fused", "serial+compiled", "fused+compiled"))
    choice = trying.answer(asked)
    assert set(choice.seconds) == {"serial", "fused"}
    assert "of it tracing" in choice.why


def test_brief_trainings_are_neither_traced_nor_compiled(small: dict[str, Any]) -> None:
    choice = trying.answer(question(small))
    assert choice.engine == "serial"
    assert choice.why.startswith("trials that could share a step take")


def test_a_cell_that_cannot_be_mapped_keeps_its_block_serial(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trying, "BRIEF", 0.0)
    choice = trying.answer(question(small, regularizer=["none", "asks-for-a-number"]))
    assert choice.engine == "serial"
    assert "asks-for-a-number" in choice.why
    assert "cannot be mapped over seeds" in choice.why


@pytest.mark.parametrize("allowed", [("serial", "fused"), ("fused",)])
def test_a_stack_that_runs_out_of_memory_is_timed_narrower(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...]
) -> None:
    for name, value in {"BRIEF": 0.0, "SHORT": 0.0, "SERIAL_S": 0.05, "OTHER_S": 0.05}.items():
        monkeypatch.setattr(trying, name, value)
    asked = question(small, (0, 1, 2, 3, 4), regularizer=["none", "crowded"])
    crowded = dataclasses.replace(asked, stacks=asked.stacks[::-1], allowed=allowed)
    heard: list[Any] = []
    choice = trying.answer(crowded, lambda *message: heard.append(message))
    assert set(choice.seconds) == set(allowed), choice.why
    assert "5 trials in one step run out of memory; 3 trials in one step run out of memory; " in choice.why
    cells = [Cell.from_spec(spec, Registry.load(trouble())) for spec in asked.specs]
    narrowed = [(kind, width.most, dict(width.tried)) for what, kind, width in (m for m in heard if m[0] == "width")]
    told = "CUDA out of memory. Tried to allocate 1 EiB."
    assert narrowed == [(widths.kind(cells[1]), 3, {"5": told}), (widths.kind(cells[1]), 2, {"3": told})]
    assert widths.kind(cells[0]) != widths.kind(cells[1])


def test_what_was_measured_before_a_process_died_or_took_too_long_counts(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Given:
        exitcode, messages, ends = -11, [("choice", Choice("fused", "fused 1 s", ""))], True

        def Pipe(self, *, duplex: bool) -> tuple[Any, Any]:  # noqa: N802 # multiprocessing's name
            return self, self

        def Process(self, **_: object) -> Any:  # noqa: N802 # multiprocessing's name
            return self

        def start(self) -> None: ...
        def close(self) -> None: ...
        def join(self) -> None: ...
        def kill(self) -> None:
            self.exitcode = -9

        def is_alive(self) -> bool:
            return not self.ends

        def poll(self, timeout: float) -> bool:
            return bool(self.messages) or self.ends

        def recv(self) -> Any:
            if not self.messages:
                raise EOFError
            return self.messages.pop()

    monkeypatch.setattr(choosing, "context", lambda *_, **__: Given())
    choice = choosing._asked(question(small), lambda *_: None)
    assert choice.engine == "fused"
    assert choice.why == "fused 1 s; measuring engines failed: its process was killed by SIGSEGV"
    monkeypatch.setattr(Given, "messages", [])
    choice = choosing._asked(question(small), lambda *_: None)
    assert (choice.engine, choice.why) == ("serial", "measuring engines failed: its process was killed by SIGSEGV")
    monkeypatch.setattr(Given, "ends", False)
    monkeypatch.setattr(choosing, "PATIENCE", 0.0)
    assert choosing._asked(question(small), lambda *_: None).why == "measuring engines failed: not done after 0 s"


@pytest.mark.parametrize(
    ("device", "alone", "best"),
    [("cuda:0", 1.9, "fused+compiled"), ("cuda:0", 1.0, "serial+compiled"), ("cpu", 1.0, "fused+compiled")],
    ids=["mapping gains", "capturing gains", "no capturing"],
)
def test_one_seed_compiled_is_timed_on_a_gpu_where_capturing_is_what_gains(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, device: str, alone: float, best: str
) -> None:
    asked = dataclasses.replace(
        question(small), device=device, allowed=("serial", "fused", "serial+compiled", "fused+compiled")
    )
    steps = {("serial", 2): 10.0, ("fused", 2): 2.2, ("fused", 1): alone, ("fused+compiled", 2): 2.0}
    steps["serial+compiled", 2] = 0.8
    timed: list[tuple[str, int]] = []

    def measured(cells: Any, engine: str, question: Any, stack: Any, **_: Any) -> tuple[float, float, float]:
        timed.append((engine, len(stack.trials)))
        return 0.0, steps[timed[-1]], 0.0

    monkeypatch.setattr(trying, "_measured", measured)
    monkeypatch.setattr(trying, "_loaded", lambda device: 0.0)
    monkeypatch.setattr(trying, "_stackable", lambda cells, question: (question.stacks, ""))
    choice = trying.answer(asked)
    assert (("fused", 1) in timed) == (device != "cpu")
    assert ("serial+compiled" in choice.seconds) == (best == "serial+compiled")
    assert choice.engine == best


def test_stacks_are_cut_evenly_and_keep_their_trials() -> None:
    trials = tuple((0, seed) for seed in range(9))
    cut = trying.narrowed((trying.Shared(trials, ("optimizer.lr_g",)), trying.Shared(trials[:3], ())), 4)
    assert [len(stack.trials) for stack in cut] == [3, 3, 3, 3]
    assert sorted(t for stack in cut for t in stack.trials) == sorted(trials + trials[:3])
    assert [stack.numbers for stack in cut].count(()) == 1


def test_what_was_compiled_before_is_charged_as_the_cache_takes() -> None:
    cold = compiled.charged((1, 2), (None, None), first_s=10.0, again_s=1.0, loading=0.5)
    assert cold == 1.0 + 2 * 10.0 + 2 * 0.5  # measuring compiled the first cell
    assert compiled.charged((2,), (None,), first_s=10.0, again_s=1.0, loading=0.0) == 1.0 + 10.0
    assert compiled.charged((1, 2), (9.0, 8.0), first_s=1.2, again_s=1.0, loading=0.5) == 3 * 1.0 + 2 * 0.5
    assert compiled.charged((1, 1), (9.0, None), first_s=1.2, again_s=1.0, loading=0.0) == 1.0 + 9.0


def test_a_sweep_is_charged_for_one_graph_and_falls_apart_where_it_would(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    asked = question(
        small,
        loss={"use": "non-saturating", "smoothing": {"sweep": [0.0, 0.1]}},
        regularizer=["none", {"use": "r1", "gamma": {"sweep": [1.0, 2.0]}}],
    )
    cells = [Cell.from_spec(spec, Registry.load()) for spec in asked.specs]
    assert [(len(s.trials), s.numbers) for s in asked.stacks] == [
        (8, ("loss.smoothing", "regularizer.0.gamma")),
        (4, ("loss.smoothing",)),
    ]
    assert trying.took(cells, "serial+compiled", asked.stacks, "cpu") == [None] * 6
    assert trying.took(cells, "fused+compiled", asked.stacks, "cpu") == [None, None]
    stacks, reason = trying._stackable(cells, asked)
    assert not reason
    assert [(s.trials, s.numbers) for s in stacks] == [
        (((1, 0), (1, 1), (2, 0), (2, 1)), ("regularizer.0.gamma",)),
        (((4, 0), (4, 1), (5, 0), (5, 1)), ("regularizer.0.gamma",)),
        (((0, 0), (0, 1)), ()),
        (((3, 0), (3, 1)), ()),
    ]
    halves = [dataclasses.replace(stacks[0], trials=stacks[0].trials[i : i + 2]) for i in (0, 2)]
    assert trying.took(cells, "fused+compiled", halves, "cpu") == [None, 0.0], "the second takes the first's graph"


def test_a_note_of_a_compilation_is_of_the_graph_alone(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    cell = next(c.cell for c in Grid.load(small).combinations(Registry.load()))
    assert compiled.took(cell, 2, "cpu") is None
    compiled.note(cell, 2, "cpu", 7.5)
    assert compiled.took(dataclasses.replace(cell, steps=cell.steps + 1), 2, "cpu") == 7.5
    assert compiled.took(cell, 3, "cpu") is None
    assert compiled.took(cell, 2, "cpu", ("optimizer.lr_g",)) is None
    assert compiled.took(dataclasses.replace(cell, batch=cell.batch + 1), 2, "cpu") is None
    (note,) = tmp_path.rglob("*.json")
    note.write_text("[]")
    assert compiled.took(cell, 2, "cpu") is None


def test_graphs_are_kept_where_the_user_says_and_not_where_torch_puts_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv(compiled.PLACE, raising=False)
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # it writes its default into the environment

    cache_dir()
    assert os.environ[compiled.PLACE]
    assert compiled.folder() == tmp_path / "inductor"
    monkeypatch.setenv(compiled.PLACE, str(tmp_path / "mine"))
    assert compiled.folder() == tmp_path / "mine"
