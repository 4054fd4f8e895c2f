"""Running, resuming, and everything that can go wrong with a process."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from making import toml

from ganbench import driver
from ganbench.devices import find_devices
from ganbench.errors import ConfigError, DeviceError, ResultsError, StorageError
from ganbench.forecast import forecast
from ganbench.grid import Grid
from ganbench.plan import make
from ganbench.records import Record
from ganbench.registry import Registry
from ganbench.runner import Options, execute


def results_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("trials/*/*/result.json"))}


def statuses(folder: Path) -> dict[tuple[str, int], str]:
    records = [Record.read(p.parent) for p in folder.glob("trials/*/*/result.json")]
    return {(r.labels["regularizer"], r.seed): r.status for r in records if r is not None}


def test_a_run_leaves_a_record_for_every_trial_and_exits_with_0(small, tmp_path):
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    folder = tmp_path / "small"
    assert outcome.exit_code == 0
    assert statuses(folder) == {(r, s): "done" for r in ("none", "r1") for s in (0, 1)}
    trial = next(folder.glob("trials/*/seed-0"))
    names = {p.name for p in trial.iterdir()}
    assert names == {
        "spec.json", "result.json", "curves.jsonl", "samples.png", "checkpoint.safetensors", "state.json", "log.txt",
    }  # fmt: skip
    assert {"grid.toml", "run.json", "environment.json"} <= {p.name for p in folder.iterdir()}
    frame = outcome.results.records
    assert len(frame) == 4
    assert {"sw2", "sw2_ema", "sw2_floor", "step_ms", "peak_mib", "params_g", "d_forwards"} <= set(frame.columns)


def test_the_same_command_again_trains_nothing_and_changes_no_result(small, tmp_path):
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    before = results_of(tmp_path / "small")
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert not outcome.run.todo
    assert results_of(tmp_path / "small") == before


def test_an_edited_grid_reuses_every_unchanged_trial(small, tmp_path):
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    before = results_of(tmp_path / "small")
    small["grid"]["loss"] = ["hinge", "non-saturating"]
    small["run"]["seeds"] = 3
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert len(outcome.run.todo) == 12 - 4
    after = results_of(tmp_path / "small")
    assert {k: after[k] for k in before} == before
    assert len(outcome.results.records) == 12


def test_each_kind_of_failure_becomes_a_row_and_the_rest_goes_on(small, tmp_path, plugins):
    troubles = ["crash", "raises", "not-a-number", "hangs", "leaves", "out-of-memory"]
    small["run"] |= {"plugins": [str(plugins / "trouble.py")], "timeout": "5s"}
    small["grid"]["regularizer"] = ["none", *troubles]
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert outcome.exit_code == 3
    expected = {
        "none": "done",
        "crash": "crashed",
        "raises": "error",
        "not-a-number": "diverged",
        "hangs": "timeout",
        "leaves": "crashed",
        "out-of-memory": "oom",
    }
    assert statuses(tmp_path / "small") == {(r, s): status for r, status in expected.items() for s in (0, 1)}
    reasons = outcome.results.records.set_index(["regularizer", "seed"])["reason"]
    assert "SIGSEGV" in reasons["crash", 0]
    assert "the plugin's own mistake" in reasons["raises", 1]
    assert "exit code 7" in reasons["leaves", 0]
    log = next((tmp_path / "small").glob("trials/*raises*/seed-0/log.txt")).read_text()
    assert "Traceback" in log
    assert "trouble.py" in log


def test_failed_trials_run_again_only_when_asked_or_when_their_code_changed(small, tmp_path):
    plugin = tmp_path / "mine.py"
    text = (
        "from ganbench import Regularizer, hookimpl\n"
        "class Mine(Regularizer, name='mine'):\n"
        "    def d_penalty(self, at):\n"
        "        raise ValueError('first try')\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Mine]\n"
    )
    plugin.write_text(text)
    small["run"] |= {"plugins": [str(plugin)], "seeds": 1}
    small["grid"]["regularizer"] = "mine"
    command = [sys.executable, "-m", "ganbench.cli", "run", "--grid", "g.toml", "--device", "cpu"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "g.toml").write_text(toml(small))
    assert run().returncode == 3
    first = results_of(tmp_path / "results" / "small")
    assert run().returncode == 3
    assert results_of(tmp_path / "results" / "small") == first
    assert run("--retry", "error").returncode == 3
    assert results_of(tmp_path / "results" / "small") != first
    plugin.write_text(text.replace("raise ValueError('first try')", "return at.real_scores.mean() * 0"))
    assert run().returncode == 0
    assert statuses(tmp_path / "results" / "small") == {("mine", 0): "done"}


def alive(marker: str) -> list[int]:
    """Processes whose environment carries ``marker``: workers inherit it from the driver that started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find orphans")
def test_kill_9_of_the_driver_loses_no_finished_trial_and_leaves_no_orphan(small, tmp_path):
    small["run"] |= {"seeds": 3, "steps": 60, "checkpoint_every": 10}
    small["grid"]["loss"] = ["hinge", "non-saturating", "least-squares"]
    (tmp_path / "g.toml").write_text(toml(small))
    marker = f"GANBENCH_TEST_MARKER={random.SystemRandom().random()}"
    environment = os.environ | dict([marker.split("=")])
    command = [sys.executable, "-m", "ganbench.cli", "run", "--grid", "g.toml", "--device", "cpu"]
    folder = tmp_path / "results" / "small"
    kept: dict[str, bytes] = {}
    rng = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        enough = len(kept) + rng.randint(1, 3)
        deadline = time.monotonic() + 60
        while len(results_of(folder)) < enough and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.random() * 0.2)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while alive(marker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(marker), "a worker outlived its driver"
        now = results_of(folder)
        assert {k: now[k] for k in kept} == kept, "a finished trial changed"
        kept = now
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    final = results_of(folder)
    assert {k: final[k] for k in kept} == kept
    assert set(statuses(folder).values()) == {"done"}
    assert len(final) == 18
    assert not list(folder.rglob("*.partial")), "a torn file is left beside a result"


def test_an_interrupt_ends_with_130_keeps_what_is_done_and_resumes(small, tmp_path):
    small["run"] |= {"seeds": 2, "steps": 4_000, "checkpoint_every": 50, "evaluations": 1}
    (tmp_path / "g.toml").write_text(toml(small))
    command = [sys.executable, "-m", "ganbench.cli", "run", "--grid", "g.toml", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "results" / "small"
    deadline = time.monotonic() + 300  # engines are measured first
    while not list(folder.glob("trials/*/*/checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert "interrupted" in set(statuses(folder).values())
    small["run"]["steps"] = 4_000
    again = subprocess.run([*command, "--seeds", "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    records = [Record.read(p.parent) for p in folder.glob("trials/*/seed-0/result.json")]
    assert all(r is not None and r.status == "done" for r in records)
    assert any(r is not None and r.facts["resumed"] == 1 for r in records)


def test_a_driver_refuses_a_folder_that_another_one_works_on(small, tmp_path):
    from ganbench.processes import only_driver

    (tmp_path / "small").mkdir()
    with only_driver(tmp_path / "small"), pytest.raises(ResultsError, match="another ganbench"):
        execute(Grid.load(small), tmp_path, Options(device="cpu"))


def test_a_file_in_the_place_of_the_results_folder_is_named(small, tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(ResultsError, match="not writable") as caught:
        execute(Grid.load(small), tmp_path / "results", Options(device="cpu"))
    assert "--results" in str(caught.value)


def test_a_full_disk_stops_the_run_and_is_no_failure_of_a_trial(small, tmp_path):
    plugin = tmp_path / "fills.py"
    plugin.write_text(
        "import errno, os, pathlib\n"
        "from ganbench import Regularizer, hookimpl\n"
        "class Fills(Regularizer, name='fills'):\n"
        "    def d_penalty(self, at):\n"
        f"        if pathlib.Path({str(tmp_path / 'full')!r}).exists():\n"
        "            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'there')\n"
        "        return at.real_scores.mean() * 0\n"
        "@hookimpl\n"
        "def ganbench_components():\n"
        "    return [Fills]\n"
    )
    small["run"] |= {"plugins": [str(plugin)]}
    small["grid"]["regularizer"] = ["none", "fills"]
    (tmp_path / "full").touch()
    with pytest.raises(StorageError, match=r"^there: .*No space left on device; finished trials are kept"):
        execute(Grid.load(small), tmp_path, Options(device="cpu", workers=1))
    assert statuses(tmp_path / "small") == {("none", 0): "done", ("none", 1): "done"}
    assert not (tmp_path / "small" / "live").exists()
    (tmp_path / "full").unlink()
    assert execute(Grid.load(small), tmp_path, Options(device="cpu")).exit_code == 0
    assert set(statuses(tmp_path / "small").values()) == {"done"}


def test_workers_and_the_order_of_cells_do_not_change_the_numbers(small, tmp_path):
    frames = []
    for workers, order in ((1, ["none", "r1"]), (2, ["r1", "none"])):
        small["grid"]["regularizer"] = order
        options = Options(device="cpu", workers=workers)
        frame = execute(Grid.load(small), tmp_path / str(workers), options).results.records
        frames.append(frame.set_index(["id", "seed"]).sort_index()[["sw2", "sw2_ema", "sw2_floor"]])
    assert frames[0].equals(frames[1])


def test_what_a_plugin_prints_goes_to_the_trials_log(small, tmp_path, plugins):
    small["run"] |= {"plugins": [str(plugins / "trouble.py")], "seeds": 1}
    small["grid"]["regularizer"] = "prints"
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    log = next((tmp_path / "small").glob("trials/*/seed-0/log.txt")).read_text()
    assert "to stdout" in log
    assert "to stderr" in log


def test_smoke_trains_one_seed_for_a_moment_beside_the_real_run_and_plan_predicts_from_it(small, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "SMOKE_SECONDS", 0.05)
    small["run"]["engine"] = "serial"
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu", smoke=True))
    assert outcome.run.folder == tmp_path / "small-smoke"
    assert len(outcome.results.records) == 2
    assert set(outcome.results.records["status"]) == {"done"}
    steps = [json.loads(p.read_text())["step"] for p in outcome.run.folder.glob("trials/*/*/state.json")]
    assert all(2 <= step < 2_000 for step in steps)
    grid = Grid.load(small)
    expected = forecast(make(grid, Registry.load(), tmp_path / "small"), grid.settings, tmp_path / "small", workers=1)
    assert expected.sources == ["the smoke run"]
    assert expected.makespan is not None
    assert expected.makespan > 0


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "gpu", "cuda:a"])
def test_a_device_that_is_not_there_is_refused(asked):
    import torch

    if torch.cuda.is_available() and asked in {"cuda", "cuda:0"}:
        assert find_devices(asked)
        return
    with pytest.raises(DeviceError, match="--device"):
        find_devices(asked)


def test_a_status_that_does_not_exist_is_no_reason_to_retry(small, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'crashed'"):
        execute(Grid.load(small), tmp_path, Options(device="cpu", retry=("crashd",)))


def test_a_stale_result_is_made_again_from_nothing(small, tmp_path):
    small["run"]["seeds"] = 1
    execute(Grid.load(small), tmp_path, Options(device="cpu"))
    path = next((tmp_path / "small").glob("trials/*r1*/seed-0/result.json"))
    record = json.loads(path.read_text())
    record["fingerprints"]["code"] = "of another day"
    path.write_text(json.dumps(record))
    outcome = execute(Grid.load(small), tmp_path, Options(device="cpu"))
    assert [p.stage for p in outcome.run.todo] == ["stale"]
    assert json.loads(path.read_text())["facts"]["resumed"] == 0


def test_processes_that_use_a_gpu_are_not_forked():
    from ganbench.processes import context

    assert context("cuda:0", tracing=True, compiling=True).get_start_method() == "spawn"
