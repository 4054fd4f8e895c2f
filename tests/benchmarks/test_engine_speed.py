"""The comparison of engines: its loops do the same work, its file says what it holds for, its page is made from it."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path

import apart
import course
import engine_speed
import gpu_times
import pytest
import speed_cases
import torch
from loops import STACKS, ByHand, Noise, assert_close, cell, trainer

from ganbench import pacing
from ganbench.timing import now
from ganbench_zoo.networks import MLPDiscriminator, MLPGenerator

SCRIPT = importlib.util.spec_from_file_location("benchmarks", Path(__file__).parents[2] / "docs" / "benchmarks.py")
assert SCRIPT is not None
assert SCRIPT.loader is not None
benchmarks = importlib.util.module_from_spec(SCRIPT)
SCRIPT.loader.exec_module(benchmarks)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same course in a moment."""
    monkeypatch.setattr(pacing, "WINDOW", 0.002)
    monkeypatch.setattr(pacing, "WARM_SECONDS", 0.01)
    monkeypatch.setattr(pacing, "LEAST", 0.002)
    monkeypatch.setattr(engine_speed, "SECONDS", 0.0)
    monkeypatch.setattr(course, "SHORTEST", 0.002)


@pytest.mark.parametrize("stack", ["none", "r1", "gradient-penalty"])
def test_the_loop_written_by_hand_does_the_arithmetic_of_ours(stack):
    ours = trainer(cell(Noise(side=2), MLPGenerator(width=16), MLPDiscriminator(width=16), stack, 32), "cpu")
    theirs = ByHand(ours, stack, {})
    ours.advance(3)
    for _ in range(3):
        theirs.advance(1)
        torch.rand(32, 1, generator=theirs.noise)  # ours draws for the generator's turn, too
    assert_close(ours.state.g.params, theirs.g)
    assert_close(ours.state.d.params, theirs.d)


def test_the_loop_written_by_hand_normalizes_every_weight_of_d():
    like = trainer(cell(Noise(side=2), MLPGenerator(width=16), MLPDiscriminator(width=16), "spectral-norm", 32), "cpu")
    theirs = ByHand(like, "spectral-norm", {})
    theirs.advance(20)
    weights = [p for name, p in theirs.d.named_parameters() if name.endswith("original")]
    assert len(weights) == sum(p.dim() > 1 for p in like.discriminator.params.values())


def arguments(path: Path, *more: str) -> list[str]:
    return ["-o", str(path), "--networks", "latent 4", "--stacks", "r1", "--seeds", "1,2", *more]


def test_a_comparison_is_written_kept_and_refused_on_another_machine(tmp_path, quick, capsys):
    path = tmp_path / "b.json"
    command = arguments(path, "--engines", "serial,fused")
    assert engine_speed.run(command) == 0
    found = json.loads(path.read_text())
    rows = [(row["engine"], row["seeds"]) for case in found["cases"] for row in case["rows"]]
    assert rows == [("serial", 1), ("fused", 2)]
    for case in found["cases"]:
        assert case["noise_floor"] > 0
        assert all(row["low"] <= row["trials"] <= row["high"] for row in case["rows"])
    before = path.read_bytes()
    assert engine_speed.run(command) == 0
    assert path.read_bytes() == before
    found["machine"]["cpu"] = "another"
    path.write_text(json.dumps(found))
    assert engine_speed.run(command) == 2
    assert "another machine" in capsys.readouterr().err


def test_what_cannot_be_timed_says_why(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(course, "SLOWEST", 0.0)
    path = tmp_path / "b.json"
    assert engine_speed.run(arguments(path, "--engines", "serial", "--seeds", "1")) == 0
    (case,) = json.loads(path.read_text())["cases"]
    assert "a step takes" in case["rows"][0]["error"]


def test_what_was_slower_than_the_loop_is_not_timed_for_other_numbers_of_seeds(tmp_path, quick):
    path = tmp_path / "b.json"
    assert engine_speed.run([*arguments(path, "--engines", "fused"), "--seeds", "1,8"]) == 0
    found = json.loads(path.read_text())
    assert "error" not in found["cases"][0]["rows"][0]
    found["cases"][0]["rows"][0] |= {"trials": 0.5, "high": 0.6}
    path.write_text(json.dumps(found))
    assert engine_speed.run([*arguments(path, "--engines", "fused"), "--seeds", "1,2,8"]) == 0
    rest = json.loads(path.read_text())["cases"][1:]
    assert [(row["seeds"], row["error"]) for case in rest for row in case["rows"]] == [
        (2, "not timed: 0.50 with 8 seeds")
    ]


def test_preparing_steps_what_is_compiled_and_writes_nothing(tmp_path, monkeypatch):
    stepped = []
    monkeypatch.setattr(course, "engine_of", lambda trainers: Stepped(trainers, stepped))
    path = tmp_path / "b.json"
    assert engine_speed.run([*arguments(path), "--prepare"]) == 0
    assert stepped == [("serial+compiled", 1, 1), ("fused+compiled", 2, 1)]
    assert not path.exists()


def test_an_engine_that_cannot_be_compiled_says_why_and_stops_no_other(tmp_path, monkeypatch, capsys):
    stepped = []

    def make(trainers):
        if len(trainers) == 1:
            raise ValueError("no graph")
        return Stepped(trainers, stepped)

    monkeypatch.setattr(course, "engine_of", make)
    assert engine_speed.run([*arguments(tmp_path / "b.json"), "--prepare"]) == 0
    assert stepped == [("fused+compiled", 2, 1)]
    failed, done = capsys.readouterr().out.splitlines()
    assert "serial+compiled, 1: 0 s, ValueError: no graph" in failed
    assert "fused+compiled, 2: 0 s, compiled" in done


class Stepped:
    """An engine that only notes how it is called."""

    def __init__(self, trainers, stepped):
        self.trainers, self.stepped = trainers, stepped

    def advance(self, steps):
        self.stepped.append((self.trainers[0].cell.engine, len(self.trainers), steps))


def test_what_was_not_compiled_is_left_out_if_asked_and_measured_later(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "b.json"
    command = arguments(path, "--engines", "serial,serial+compiled", "--seeds", "1", "--only-cached")
    assert engine_speed.run(command) == 0
    (case,) = json.loads(path.read_text())["cases"]
    assert "error" not in case["rows"][0]
    assert case["rows"][1]["error"] == "not compiled in time"
    assert not engine_speed.Compared(engine_speed.parser().parse_args(command)).left
    (again,) = engine_speed.Compared(engine_speed.parser().parse_args(command[:-1])).left
    assert again.name == case["name"]


@pytest.mark.slow
def test_cases_are_built_at_a_time_in_processes_and_one_that_dies_stops_no_other(tmp_path, capsys):
    path = tmp_path / "b.json"
    few = ("--engines", "serial,fused", "--jobs", "2", "--seconds", "0.1")
    assert engine_speed.run(arguments(path, *few)) == 0
    found = json.loads(path.read_text())
    rows = [(row["engine"], row["seeds"]) for case in found["cases"] for row in case["rows"]]
    assert rows == [("serial", 1), ("fused", 2)]
    assert all(row["low"] <= row["trials"] <= row["high"] for case in found["cases"] for row in case["rows"])
    assert capsys.readouterr().out.count("built in") == 2


def dies(say, hear, task):
    del hear
    if task == "raises":
        raise ValueError(task)
    if task == "dies":
        os._exit(3)
    if task == "hangs":
        time.sleep(600)
    say(task.upper())


@pytest.mark.slow
def test_work_in_processes_says_how_each_went():
    tasks = ["works", "raises", "dies", "hangs", "waits"]
    begun = time.monotonic()
    done = list(
        apart.each(tasks, dies, jobs=3, until=now() + 45.0, room=3.0, size=lambda task: 1.0 + (task == "waits"))
    )
    assert time.monotonic() - begun < 90
    said = {task: str(answer) for task, _, answer in done}
    assert said == {
        "works": "WORKS",
        "raises": "ValueError: raises",
        "dies": "its process ended with code 3",
        "hangs": "the time was up",
        "waits": "WAITS",
    }


class Hands:
    """A host and a GPU of which the test turns the hands; the queue between them holds so many launches."""

    def __init__(self, monkeypatch, depth=1000):
        self.host = self.gpu = 0.0
        self.depth, self.ends = depth, []
        monkeypatch.setattr(gpu_times, "now", lambda: self.host)
        monkeypatch.setattr(gpu_times, "_wait", self.wait)
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Moment(self))

    def wait(self):
        self.host = max(self.host, self.gpu)

    def launch(self, host, gpu):
        """One launch, which takes the host so long to issue and the GPU to do."""
        waiting = [end for end in self.ends if end > self.host]
        if len(waiting) >= self.depth:
            self.host = waiting[-self.depth]
        self.host += host
        self.gpu = max(self.gpu, self.host) + gpu
        self.ends = [*waiting, self.gpu]


class Moment:
    def __init__(self, hands):
        self.hands = hands

    def record(self):
        self.at = max(self.hands.gpu, self.hands.host)

    def query(self):
        return self.at <= self.hands.host

    def elapsed_time(self, later):
        return 1e3 * (later.at - self.at)


@pytest.mark.parametrize(("host", "gpu"), [(1e-3, 1e-4), (1e-4, 1e-3)])
def test_host_and_gpu_are_told_apart_whichever_of_them_waits(monkeypatch, host, gpu):
    hands = Hands(monkeypatch)
    found = gpu_times.sides(
        lambda steps: [hands.launch(host, gpu) for _ in range(steps)], 8, lambda seconds: hands.launch(0.0, seconds)
    )
    assert found["queued"]
    assert found["host_ms"] == pytest.approx(1e3 * host)
    assert found["device_ms"] == pytest.approx(1e3 * gpu)


def test_one_step_is_taken_where_the_queue_holds_no_more(monkeypatch):
    hands = Hands(monkeypatch, depth=50)

    def take(steps):
        for _ in range(20 * steps):
            hands.launch(1e-5, 1e-4)

    found = gpu_times.sides(take, 8, lambda seconds: hands.launch(0.0, seconds))
    assert found == {"host_ms": pytest.approx(0.2), "device_ms": pytest.approx(2.0), "queued": True}


def test_a_step_that_waits_for_the_gpu_is_known_by_it(monkeypatch):
    hands = Hands(monkeypatch)

    def take(steps):
        for _ in range(steps):
            hands.launch(1e-3, 1e-3)
            hands.wait()

    found = gpu_times.sides(take, 8, lambda seconds: hands.launch(0.0, seconds))
    assert not found["queued"]
    assert found["device_ms"] >= 1.0


def test_cases_come_in_the_order_of_what_is_most_wanted():
    listed = speed_cases.cases("cpu", (1, 4, 8, 16), ("none", "r1"))
    pairs = len(speed_cases.networks("cpu"))
    assert {case.stack for case in listed[:pairs]} == {"r1"}
    assert all(case.seeds == (1, 8) for case in listed[: 2 * pairs])
    assert {(case.title, seeds) for case in listed for seeds in case.seeds} == {
        (f"{pair.name}, {stack}", seeds)
        for pair in speed_cases.networks("cpu")
        for stack in ("none", "r1")
        for seeds in (1, 4, 8, 16)
    }


def test_on_a_gpu_what_its_targets_are_for_comes_first_and_each_case_once():
    listed = speed_cases.cases("cuda", (1, 4, 8, 16))
    assert [(case.networks.name[:5], case.stack, case.seeds) for case in listed[:3]] == [
        ("mlp, ", "r1", (8, 16)),
        ("mlp, ", "r1", (8, 16)),
        ("dcgan", "r1", (8, 16)),
    ]
    single = [(case.title, seeds) for case in listed for seeds in case.seeds]
    assert len(single) == len(set(single)) == 5 * 4 * 4
    assert max(case.gib(speed_cases.ENGINES) for case in listed) < 0.85 * 79


def test_the_page_is_made_from_the_files(tmp_path, monkeypatch):
    row = {"engine": "fused", "seeds": 8, "trials": 4.5678, "low": 4.0, "high": 120.4}
    case = {
        "networks": "mlp",
        "regularizer": "r1",
        "by_hand_ms": 1.5,
        "noise_floor": 0.02,
        "others": 0.5,
        "rows": [row],
    }
    failed = {"engine": "serial", "seeds": 1, "error": "ValueError: a | b"}
    machine = {"cpu": "A CPU", "cores": 2, "gpus": [], "versions": {"torch": "2.0"}}
    content = {"machine": machine, "threads": 1, "cases": [case, {**case, "rows": [failed]}]}
    (tmp_path / "cpu.json").write_text(json.dumps(content))
    monkeypatch.setattr(benchmarks, "FILES", tmp_path)
    made = benchmarks.page("before\n<!-- table: cpu -->\nold\n<!-- end -->\n<!-- table: gpu -->\n<!-- end -->\n")
    assert "| mlp | r1 | 1.50 | 1 | *ValueError: a \\| b* |  |  |  |" in made
    assert "|  |  |  | 8 |  |  | **4.57** [4.00, 120] |  |" in made
    assert "A CPU (2 cores, 1 thread used); torch 2.0. Noise floor" in made
    assert "old" not in made
    assert made.count("Not measured yet.") == 1
    assert "| loop |" not in made


def test_the_page_says_of_a_gpu_what_host_and_device_take(tmp_path, monkeypatch):
    sides = {"host_ms": 0.25, "device_ms": 0.5, "queued": True, "peak_mib": 1536.0, "first_step_s": 3.0}
    row = {"engine": "fused", "seeds": 8, "trials": 4.5, "low": 4.0, "high": 5.0, "step_ms": 0.55}
    case = {
        "networks": "mlp",
        "regularizer": "r1",
        "by_hand_ms": 1.5,
        "by_hand": {**sides, "queued": False},
        "noise_floor": 0.02,
        "others": 0.0,
        "window_s": 0.1,
        "gpu": {"driver_version": "1.2", "clocks.sm": "1980"},
        "rows": [{**row, **sides, "capture_s": 0.5}, {"engine": "fused", "seeds": 16, "error": "gone"}],
    }
    slower = {**case, "gpu": {"driver_version": "1.2", "clocks.sm": "1755"}, "regularizer": "none"}
    machine = {"cpu": "A CPU", "cores": 2, "gpus": [{"name": "A GPU"}], "cuda": "13.0", "versions": {"torch": "2.0"}}
    (tmp_path / "gpu.json").write_text(json.dumps({"machine": machine, "threads": 1, "cases": [case, slower]}))
    monkeypatch.setattr(benchmarks, "FILES", tmp_path)
    made = benchmarks.page("<!-- table: gpu -->\n<!-- end -->\n").replace("\n", " ")
    assert "A GPU; torch 2.0; CUDA 13.0; driver 1.2; SM clock 1755 to 1980 MHz; windows of 100 ms" in made
    assert "| mlp | r1 | loop | 1 | 1.50 | 0.250 | ≤ 0.500 | 1536 | 3.0 |  |  |" in made
    assert "|  |  | fused | 8 | 0.550 | 0.250 | 0.500 | 1536 | 3.0 | 0.5 |  |" in made
    assert made.count("| fused | 8 |") == 2
    assert "| fused | 16 |" not in made


def test_the_page_in_the_documentation_is_what_the_files_say():
    assert benchmarks.main(["--check"]) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("pair", [0, 2])
def test_the_loop_written_by_hand_never_waits_for_a_gpu(stack, pair):
    case = speed_cases.Case(speed_cases.networks("cuda")[pair], stack, (1,))
    loop = ByHand(trainer(case.cell("serial"), "cuda"), stack, {"fused": True})
    loop.advance(2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop.advance(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_engines_are_compared_on_a_gpu(tmp_path, quick):
    path = tmp_path / "b.json"
    assert engine_speed.run([*arguments(path), "--device", "cuda"]) == 0
    (case,) = json.loads(path.read_text())["cases"]
    assert not [row["error"] for row in case["rows"] if "error" in row]
    for row in (case["by_hand"], *case["rows"]):
        assert row["host_ms"] > 0
        assert row["device_ms"] > 0
        assert row["peak_mib"] > 0
