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
