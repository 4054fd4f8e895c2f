"""Files of a run that are torn, missing or of another trial are found, and whole ones are not complained of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import making
import pytest

from ganbench.records import write_json
from ganbench.results import Results
from ganbench.verify import ARTIFACTS, header_problem, verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = making.make_run(tmp_path / "run", {"hinge": None, "minimax": None, "wasserstein": "no bound"})
    making.add_trial(made, "hinge", 0)
    return made


def problems(run: Path) -> dict[str, str]:
    found = verify(Results(run))
    assert all(p["advice"] for p in found)
    return {str(Path(p["path"]).relative_to(run)): p["problem"] for p in found}


def trial(run: Path) -> Path:
    return making.trial_folder(run, "hinge", 0)


def test_a_whole_run_has_no_problems_and_trials_to_come_are_none(run: Path) -> None:
    assert problems(run) == {}


def test_trials_that_did_not_end_well_may_lack_files(run: Path) -> None:
    for seed, status in enumerate(["crashed", "oom", "timeout", "error", "interrupted"]):
        folder = making.add_trial(run, "minimax", seed, status=status, reason="x", step=4)
        for name in ARTIFACTS:
            (folder / name).unlink()
    making.trial_folder(run, "hinge", 1)  # begun
    assert problems(run) == {}


def truncate(name: str, by: int = 1) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-by])

    return damage


def rewrite(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


@pytest.mark.parametrize(
    ("damage", "name", "problem"),
    [
        (truncate("result.json", 9), "result.json", "cannot be read"),
        (rewrite("result.json", "[]"), "result.json", "not a JSON object"),
        (rewrite("result.json", "{}"), "result.json", "not a result of a trial"),
        (truncate("curves.jsonl"), "curves.jsonl", "ends in the middle of a line"),
        (rewrite("curves.jsonl", "x\n"), "curves.jsonl", "has a line that cannot be read"),
        (rewrite("curves.jsonl", '{"step": 5}\n'), "curves.jsonl", "does not reach the trial's last step 10"),
        (rewrite("curves.jsonl", ""), "curves.jsonl", "does not reach"),
        (truncate("checkpoint.safetensors"), "checkpoint.safetensors", "its header says"),
        (rewrite("checkpoint.safetensors", "short"), "checkpoint.safetensors", "shorter than its header"),
        (rewrite("checkpoint.safetensors", "\x02" + "\0" * 7 + "xx"), "checkpoint.safetensors", "no readable header"),
        (rewrite("state.json", "{"), "state.json", "cannot be read"),
        (rewrite("spec.json", "{"), "spec.json", "cannot be read"),
        (lambda folder: write_json(folder / "spec.json", {"spec": {"other": 1}}), "spec.json", "hashes to"),
        (
            lambda folder: (folder / ".result.json.x1.partial").write_text("{") and None,
            ".result.json.x1.partial",
            "partial",
        ),
    ],
)
def test_a_damaged_file_is_found(run: Path, damage: Callable[[Path], None], name: str, problem: str) -> None:
    damage(trial(run))
    ((path, found),) = problems(run).items()
    assert Path(path).name == name
    assert problem in found


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_finished_trial_lacks_nothing(run: Path, name: str) -> None:
    (trial(run) / name).unlink()
    ((path, problem),) = problems(run).items()
    assert Path(path).name == name
    assert "is missing" in problem


def test_a_result_in_the_folder_of_another_trial_is_found(run: Path) -> None:
    trial(run).rename(trial(run).with_name("seed-1"))
    ((path, problem),) = problems(run).items()
    assert path.endswith("seed-1/result.json")
    assert "lies in" in problem


def test_a_result_of_another_specification_is_found(run: Path) -> None:
    making.add_trial(run, "minimax", 0, id="0123456789ab")
    ((path, problem),) = problems(run).items()
    assert path.endswith("spec.json")
    assert "0123456789ab" in problem


def test_an_unknown_status_is_found(run: Path) -> None:
    making.add_trial(run, "minimax", 0, status="fine")
    assert "'fine' is no status" in next(iter(problems(run).values()))


def test_the_files_of_the_run_itself_are_checked(run: Path) -> None:
    (run / "grid.toml").write_text("[grid")
    (run / "environment.json").unlink()
    assert problems(run)["environment.json"] == "is missing"
    assert "cannot be read" in problems(run)["grid.toml"]
    (run / "grid.toml").unlink()
    assert problems(run)["grid.toml"] == "is missing"
    (run / "grid.toml").write_text('{"grid":{}}')  # of a grid given in Python
    assert "grid.toml" not in problems(run)


def test_files_of_the_timing_pass_and_of_the_engines_are_checked(run: Path) -> None:
    (run / "timing").mkdir()
    for name in ("engines.json", "timing/a-serial.json"):
        (run / name).write_text("{")
    (run / "timing" / "b-serial.json").write_text('{"schema": 1, "cells": []}')
    (run / "timing" / "c-serial.json").write_text('{"schema": 99}')
    found = {Path(problem["path"]).name: problem["problem"] for problem in verify(Results(run))}
    assert "cannot be read" in found["engines.json"]
    assert "cannot be read" in found["a-serial.json"]
    assert "not a file of the timing pass" in found["b-serial.json"]
    assert "another version" in found["c-serial.json"]


def test_a_file_that_safetensors_wrote_is_right(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3), "b": torch.zeros(2, 2, dtype=torch.int64)}, path, metadata={"step": "3"})
    assert header_problem(path) is None
    save_file({}, path)
    assert header_problem(path) is None
