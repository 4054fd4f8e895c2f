"""The clock: windows of whole periods, warm-up apart, robust statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganbench import timing
from ganbench.timing import StepClock, quantile


class Host:
    """A host and a device of which the test turns the hands: work is queued, and paid when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.queued = 0.0
        self.waits = 0

    def now(self) -> float:
        return self.seconds

    def synchronize(self) -> None:
        self.waits += 1
        self.seconds += self.queued
        self.queued = 0.0

    def launch(self, seconds: float) -> None:
        self.seconds += 1e-6
        self.queued += seconds


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(timing, "now", made.now)
    return made


def run(clock: StepClock, host: Host, steps: int, cost) -> None:
    done = 0
    while done < steps:
        n = min(clock.size(), steps - done)
        clock.begin()
        for i in range(n):
            host.launch(cost(done + i))
        clock.end(n)
        done += n


def test_asynchronous_work_is_paid_in_the_window_that_launched_it(host):
    clock = StepClock(host.synchronize)
    run(clock, host, 2_000, lambda step: 0.005)
    found = clock.summary()
    assert found["step_ms"] == pytest.approx(5.0, rel=1e-3)
    assert found["step_ms_mad"] == pytest.approx(0.0, abs=1e-3)
    assert found["step_ms_n"] > 50


def test_slow_first_steps_are_warm_up(host):
    clock = StepClock(host.synchronize)
    run(clock, host, 1_000, lambda step: 0.5 if step < 3 else 0.002)
    found = clock.summary()
    assert found["step_ms"] == pytest.approx(2.0, rel=1e-2)
    assert found["step_ms_p95"] < 2.1
    assert found["warm_up_s"] >= 1.5


def test_windows_hold_whole_periods_so_that_lazy_steps_weigh_alike(host):
    clock = StepClock(host.synchronize, period=16)
    run(clock, host, 4_000, lambda step: 0.017 if step % 16 == 0 else 0.001)
    assert all(steps % 16 == 0 for steps, _ in clock.windows)
    found = clock.summary()
    assert found["step_ms"] == pytest.approx(2.0, rel=1e-3)
    assert found["step_ms_p95"] == pytest.approx(2.0, rel=1e-3)


def test_the_device_is_waited_for_only_at_the_ends_of_a_window(host):
    clock = StepClock(host.synchronize)
    run(clock, host, 1_000, lambda step: 0.001)
    assert host.waits == 2 * (len(clock.windows) + len(clock.warm_up))


def test_a_training_too_short_to_warm_up_says_so(host):
    clock = StepClock(host.synchronize)
    run(clock, host, 5, lambda step: 0.001)
    assert clock.summary()["step_ms_n"] == 0
    assert StepClock(host.synchronize).summary() == {}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values, q):
    assert quantile(values, q) == pytest.approx(float(np.quantile(values, q)), rel=1e-9, abs=1e-6)


def test_phases_add_up_to_the_wall_time_and_inner_ones_are_not_counted_twice(host):
    phases = timing.Phases()
    with phases.of("train"):
        host.seconds += 2.0
        with phases.of("evaluate"):
            host.seconds += 3.0
        host.seconds += 1.0
    with phases.of("train"):
        host.seconds += 4.0
    found = phases.seconds()
    assert found == {"other": 0.0, "train": 7.0, "evaluate": 3.0}
    assert sum(found.values()) == phases.wall == 10.0
    assert phases.accounted


def test_what_happens_between_phases_is_caught(host):
    phases = timing.Phases()
    with phases.of("train"):
        host.seconds += 10.0
    host.seconds += 0.19
    assert phases.accounted
    host.seconds += 0.1  # a hidden sleep
    assert not phases.accounted
    assert phases.seconds()["other"] == pytest.approx(0.29)
    assert sum(phases.seconds().values()) == pytest.approx(phases.wall)


def test_a_phase_that_ends_in_an_exception_is_over(host):
    phases = timing.Phases()
    with pytest.raises(ValueError, match="x"), phases.of("build"):
        host.seconds += 1.0
        raise ValueError("x")
    host.seconds += 1.0
    assert phases.seconds() == {"other": 1.0, "build": 1.0}


def test_the_first_window_of_a_clock_is_told_from_warm_up_and_training(host):
    clock = StepClock(host.synchronize, warm_up=[(5, 0.1)])
    phases = []
    for _ in range(60):
        phases.append(clock.phase)
        clock.begin()
        host.launch(0.01)
        clock.end(1)
    assert phases[0] == "first_step"
    assert phases[1] == "warm_up"
    assert phases[-1] == "train"
    assert list(dict.fromkeys(phases)) == ["first_step", "warm_up", "train"]
