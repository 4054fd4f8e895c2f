"""Several processes on one run: who trains what, what a dead one leaves to the others, and how a worker joins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ganbench import claims, heartbeat
from ganbench import plan as planning
from ganbench.claims import Claims
from ganbench.cli import main
from ganbench.errors import ResultsError
from ganbench.facts import toml
from ganbench.grid import Grid
from ganbench.heartbeat import Beacon
from ganbench.records import Record, write_json
from ganbench.registry import Registry
from ganbench.runner import Options, Run, execute, join, make_folder

ONE, OTHER = Path("trials/a/seed-0"), Path("trials/a/seed-1")
HOLDER = """\
import sys, time
from pathlib import Path
from ganbench import heartbeat
from ganbench.claims import Claims
from ganbench.records import write_json

run, trial = map(Path, sys.argv[1:])
facts = dict(seconds=0, todo=1, finished=0, failed=0, workers=1, left_s=None, running=[])
path = heartbeat._own(run)
path.parent.mkdir(exist_ok=True)
write_json(path, heartbeat.whoami() | facts)
print(Claims(run).take(trial), flush=True)
time.sleep(60)
"""
PULSE: dict[str, Any] = {"seconds": 0, "todo": 1, "finished": 0, "failed": 0, "workers": 1, "left_s": None}


def beat(run: Path, host: str, age: float = 0.0) -> dict[str, Any]:
    """A heartbeat of another machine, ``age`` seconds old, and who it is."""
    owner = {"host": host, "pid": 7, "born": 3}
    (run / "live").mkdir(exist_ok=True)
    path = run / "live" / f"{host}-7.json"
    write_json(path, owner | PULSE | {"running": []})
    then = time.time() - age
    os.utime(path, (then, then))
    return owner


def lease(run: Path, name: str, owner: dict[str, Any]) -> Path:
    path = run / "claims" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(owner))
    return path


def test_a_claim_dies_with_its_process_and_not_before(tmp_path):
    mine = Claims(tmp_path)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(ONE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not mine.take(ONE)
        assert mine.take(OTHER)
        holder.kill()
    assert mine.take(ONE)
    assert mine.take(ONE), "its own claim is no obstacle"
    mine.close()


def test_a_trial_of_another_machine_is_free_when_its_heartbeat_is_gone(tmp_path):
    run = tmp_path
    owner = beat(run, "elsewhere")
    first = lease(run, "a-seed-0.1", owner)
    mine = Claims(run)
    assert not mine.take(ONE)
    beat(run, "elsewhere", age=heartbeat.LATE + 1)
    assert mine.take(ONE)
    assert not first.exists()
    assert json.loads((run / "claims" / "a-seed-0.2").read_text()) == heartbeat.whoami()
    mine.close()


def test_of_two_that_find_a_stale_claim_one_gets_the_trial(tmp_path, monkeypatch):
    lease(tmp_path, "a-seed-0.1", {"host": "gone", "pid": 1, "born": 1})
    mine = Claims(tmp_path)

    def slow(*_: object) -> bool:  # the other one is faster between the look and the claim
        lease(tmp_path, "a-seed-0.2", beat(tmp_path, "elsewhere"))
        return False

    with monkeypatch.context() as patch:
        patch.setattr(Claims, "_valid", slow)
        assert not mine.take(ONE)
    assert not mine.take(ONE)
    mine.close()


def test_a_claim_that_is_just_being_written_counts_and_a_torn_old_one_does_not(tmp_path):
    path = lease(tmp_path, "a-seed-0.1", {})
    path.write_text("")
    mine = Claims(tmp_path)
    assert not mine.take(ONE)
    os.utime(path, (time.time() - 60, time.time() - 60))
    assert mine.take(ONE)
    mine.close()


@pytest.fixture
def begun(small, tmp_path) -> tuple[Path, list[planning.Planned]]:
    """A run that a driver of another machine has begun, and its trials."""
    small["run"] |= {"engine": "serial", "compile": False, "timing": False}
    grid = Grid.load(small)
    plan = planning.make(grid, Registry.load(), tmp_path / "small")
    make_folder(Run("small", tmp_path / "small", plan, plan.to_run(), ["cpu"], 1), grid, Options())
    return tmp_path / "small", list(plan.trials)


def test_a_worker_trains_what_is_free_and_leaves_the_rest(begun, small):
    folder, trials = begun
    owner = beat(folder, "elsewhere")
    taken = trials[0].trial.folder
    lease(folder, f"{'-'.join(taken.parts[1:])}.1", owner)
    outcome = join(folder, Options(device="cpu", workers=1))
    assert outcome.exit_code == 0
    assert Record.read(folder / taken) is None
    assert all(Record.read(folder / p.trial.folder) is not None for p in trials[1:])
    beat(folder, "elsewhere", age=heartbeat.LATE + 1)  # it died: whoever comes next takes it over
    assert execute(Grid.load(small), folder.parent, Options(device="cpu")).exit_code == 0
    assert Record.read(folder / taken) is not None


def test_a_driver_waits_for_what_others_train_and_counts_it(begun, small, monkeypatch):
    folder, trials = begun
    last = trials[-1].trial
    lease(folder, f"{'-'.join(last.folder.parts[1:])}.1", beat(folder, "elsewhere"))
    monkeypatch.setattr("ganbench.driver.LOOK", 0.0)
    seen: list[str] = []

    class Watching(Beacon):
        def finished(self, slot, trial, record):
            super().finished(slot, trial, record)
            seen.append(f"{trial.cell.name} {trial.seed} {slot}")
            if len(seen) == len(trials) - 1:  # now the other machine commits its own
                there = folder / last.folder
                there.mkdir(parents=True)
                write_json(there / "spec.json", {"spec": last.cell.spec, "seed": last.seed, "code": {}})
                code = record.fingerprints if record.cell == last.cell.name else sibling(folder, last)
                about: dict[str, Any] = {"cell": last.cell.name, "id": last.cell.id, "seed": last.seed}
                Record(**about, status="done", labels=last.cell.labels, fingerprints=code).write(there)

    outcome = execute(Grid.load(small), folder.parent, Options(device="cpu", workers=1), Watching(folder))
    assert outcome.exit_code == 0
    assert seen[-1] == f"{last.cell.name} {last.seed} -1"
    assert len(seen) == len(set(seen)) == len(trials)


def sibling(folder: Path, trial: Any) -> dict[str, str]:
    """The fingerprints of another seed of the cell."""
    record = Record.read(folder / trial.folder.with_name("seed-0"))
    assert record is not None
    return dict(record.fingerprints)


def test_where_no_run_has_begun_a_worker_says_so(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with pytest.raises(ResultsError, match="no run has begun"):
        join(tmp_path / "run", Options())
    assert main(["worker", "nothing", "--results", str(tmp_path)]) == 2
    assert "nothing" in capsys.readouterr().err


OBSERVER = """\
import os
from pathlib import Path
from ganbench import hookimpl

@hookimpl
def ganbench_trial_started(run, trial):
    with (run.folder.parent / "started.txt").open("a") as file:
        file.write(f"{os.getpid()} {trial.folder}\\n")
"""


@pytest.mark.slow
def test_two_processes_share_a_run_and_one_killed_is_made_up_for(small, tmp_path):
    small["run"] |= {"seeds": 6, "steps": 400, "engine": "serial", "compile": False, "timing": False}
    small["run"]["plugins"] = ["observer.py"]
    small["grid"]["loss"] = ["hinge", "non-saturating", "least-squares"]
    (tmp_path / "observer.py").write_text(OBSERVER)
    (tmp_path / "g.toml").write_text(
        "".join(
            f"[{table}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in small[table].items())
            for table in small
        )
    )
    ganbench = [sys.executable, "-m", "ganbench.cli"]
    quiet: dict[str, Any] = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [*ganbench, "run", "--grid", "g.toml", "--device", "cpu", "--workers", "1"]
    folder = tmp_path / "results" / "small"

    def finished() -> int:
        return len(list(folder.glob("trials/*/*/result.json")))

    def until(n: int) -> None:
        deadline = time.monotonic() + 120
        while finished() < n:
            assert time.monotonic() < deadline, f"{finished()} of {n} trials after two minutes"
            time.sleep(0.02)

    driver = subprocess.Popen(command, **quiet)
    until(1)
    helper = subprocess.Popen([*ganbench, "worker", "small", "--device", "cpu", "--workers", "1"], **quiet)
    started = tmp_path / "results" / "started.txt"

    def pids() -> set[str]:
        return {line.split()[0] for line in started.read_text().splitlines()}

    deadline = time.monotonic() + 120
    while len(pids()) < 2:
        assert time.monotonic() < deadline, "the worker trained nothing"
        time.sleep(0.02)
    until(finished() + 2)
    driver.kill()
    driver.wait()
    assert helper.wait(120) == 0
    assert finished() == 36, "the worker left what the dead driver was at"
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    often = Counter(line.split()[1] for line in started.read_text().splitlines())
    assert len(often) == 36
    assert sorted(often.values())[-2:] <= [1, 2], "only what the dead driver was at was begun twice"
    assert not (folder / claims.FOLDER).exists()
