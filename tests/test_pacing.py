"""The timing pass's protocol, on a host and a device of which the test turns the hands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest

from ganbench import pacing, timing
from ganbench.pacing import Paced, log_ratio, noise_floor, pace, pooled_ratio, ratio, warm_up, window


class Host:
    """A clock that work advances: launching takes ``launch`` seconds, what is queued is paid when somebody waits."""

    def __init__(self, launch: float = 1e-6) -> None:
        self.seconds = self.queued = 0.0
        self.launching = launch
        self.waits = 0

    def now(self) -> float:
        return self.seconds

    def synchronize(self) -> None:
        self.waits += 1
        self.seconds, self.queued = max(self.seconds, self.queued), 0.0

    def launch(self, seconds: float) -> None:
        self.seconds += self.launching
        self.queued = max(self.queued, self.seconds) + seconds


class Steps:
    """A subject whose step number n costs ``cost(n, now)`` seconds of the device."""

    def __init__(
        self, host: Host, cost: Callable[[int, float], float], *, name: str = "x", period: int = 1, stride: int = 1
    ) -> None:
        self.host, self.cost, self.name, self.period, self.stride = host, cost, name, period, stride
        self.done = 0

    def advance(self) -> None:
        for _ in range(self.stride):
            self.host.launch(self.cost(self.done, self.host.seconds))
            self.done += 1

    def synchronize(self) -> None:
        self.host.synchronize()

    def mark(self) -> object:
        return max(self.host.seconds, self.host.queued)  # when the device gets there

    def between(self, marks: Sequence[object]) -> list[float]:
        assert self.host.queued == 0.0, "events are read after the synchronisation"
        times = [float(m) for m in marks]  # type: ignore[arg-type] # they are floats here
        return [b - a for a, b in itertools.pairwise(times)]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(timing, "now", made.now)
    return made


def still(host: Host) -> Callable[[], float]:
    """A sentinel on a machine that keeps its pace."""

    def run() -> float:
        host.seconds += 0.02
        return 0.02

    return run


def test_a_window_waits_only_at_its_ends_and_pays_for_what_it_launched(host):
    subject = Steps(host, lambda n, t: 0.01)
    taken = window(subject, 50)
    assert host.waits == 2
    assert taken.seconds == pytest.approx(0.5, rel=1e-3)
    assert taken.each == pytest.approx([0.01] * 50, rel=1e-3)
    assert taken.launching == pytest.approx(50e-6)


def test_where_launching_is_the_bottleneck_the_host_has_the_whole_window(host):
    host.launching = 0.01
    taken = window(Steps(host, lambda n, t: 1e-5), 50)
    assert taken.launching / taken.seconds == pytest.approx(1.0, rel=1e-3)


def test_warm_up_goes_on_until_steps_are_steady(host):
    subject = Steps(host, lambda n, t: 0.1 * (1 + math.exp(-n / 10)))
    paced = Paced("x")
    step = warm_up(subject, paced)
    assert paced.converged
    # the slope of the last two blocks is under 2 %, so the excess over 0.1 s is at most 2 % / (e^0.5 - 1)
    assert step == pytest.approx(0.1, rel=0.06)
    assert paced.warm_up_steps >= 10
    assert paced.warm_up_s >= 1.0


def test_what_never_settles_is_said_to_be_unsteady_after_200_steps(host):
    subject = Steps(host, lambda n, t: 0.01 * 1.01**n)
    paced = Paced("x")
    warm_up(subject, paced)
    assert not paced.converged
    assert 200 <= paced.warm_up_steps <= 205


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_windows_and_blocks_hold_whole_periods_of_lazy_steps(host, stride):
    subject = Steps(host, lambda n, t: 0.017 if n % 16 == 0 else 0.001, period=16, stride=stride)
    (found,) = pace([subject], baseline=0, sentinel=still(host), budget=0.0)
    assert found.converged
    assert all(w.steps % 16 == 0 for w in found.windows)
    assert found.rounds == pytest.approx([2.0] * 5, rel=1e-3)
    assert all(w.seconds >= pacing.WINDOW * 0.99 for w in found.windows)


def test_a_steady_drift_of_the_machine_does_not_bias_the_ratio(host):
    """Two equal subjects on a machine that slows by 3 % over the pass: in a fixed order it would show in the ratio."""

    def cost(n: int, t: float) -> float:
        return 0.005 * (1 + 0.01 * t)

    def sentinel() -> float:
        host.seconds += 0.02
        return 0.02 * (1 + 0.01 * host.seconds)

    a, b, again = (Steps(host, cost, name=name) for name in ("a", "b", "again"))
    found = pace([a, again, b], baseline=0, sentinel=sentinel, budget=0.0, rounds=6)
    fair = ratio(found[2].rounds, found[0].rounds)
    assert fair is not None
    assert fair.mean == pytest.approx(1.0, abs=2e-4)
    # the windows of one direction alone are biased, so the test could fail
    one_way = ratio(found[2].rounds[::2], found[0].rounds[::2])
    assert one_way is not None
    assert one_way.mean > 1.003


def test_a_burst_is_met_by_a_second_window_and_a_lasting_change_is_counted(host):
    pace_of = {"machine": 1.0}
    subject = Steps(host, lambda n, t: 0.005 * pace_of["machine"])
    calls = iter([1.0, 1.5, 1.0, *[1.0] * 20])

    def burst() -> float:
        return 0.02 * next(calls)

    (found,) = pace([subject], baseline=0, sentinel=burst, budget=0.0)
    assert found.drifted == 1  # before it 1.5 and after it 1.0: the second window saw a change, too
    assert len(found.windows) == 5
    levels = iter([1.0, 1.2, 1.2, *[1.2] * 20])
    (found,) = pace([subject], baseline=0, sentinel=lambda: 0.02 * next(levels), budget=0.0)
    assert found.drifted == 0  # the second window ran at one pace
    assert len(found.windows) == 5


def test_rounds_go_on_while_a_ratio_is_loose_and_the_budget_lasts(host):
    noisy = iter([0.9, 1.1] * 10_000)
    subjects = [Steps(host, lambda n, t: 0.01), Steps(host, lambda n, t: 0.02 * factor["now"])]
    factor = {"now": 1.0}

    def sentinel() -> float:
        factor["now"] = next(noisy)
        return 0.02

    loose = pace(subjects, baseline=0, sentinel=sentinel, budget=30.0)
    assert len(loose[0].windows) > pacing.ROUNDS
    factor["now"] = 1.0
    tight = pace([Steps(host, lambda n, t: 0.01) for _ in range(2)], baseline=0, sentinel=still(host), budget=30.0)
    assert len(tight[0].windows) == pacing.ROUNDS


def test_ratios_are_paired_within_rounds():
    below = [1.0, 2.0, 4.0, 8.0, 3.0]  # whatever the machine did, the subject cost twice as much
    found = ratio([2 * x for x in below], below)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    logs = log_ratio([2.2, 1.9, 2.1], [1.0, 1.0, 1.0])
    assert logs is not None
    assert logs.low is not None
    assert logs.low < math.log(2.0) < (logs.high or 0.0)
    pooled = pooled_ratio([([2.0, 2.0], [1.0, 1.0]), ([8.0, 8.0, 8.0], [1.0, 1.0, 1.0])])
    assert pooled is not None
    assert pooled.mean == pytest.approx(4.0)
    assert pooled.n == 2
    assert ratio([1.0], []) is None


def test_the_noise_floor_is_the_farther_end_of_the_interval():
    assert noise_floor([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) == pytest.approx(0.0)
    floor = noise_floor([1.02, 1.01, 1.03], [1.0, 1.0, 1.0])
    assert floor is not None
    assert floor > 0.03
    assert noise_floor([1.0], [1.0]) is None


def test_the_summary_tells_rounds_from_steps(host):
    subject = Steps(host, lambda n, t: 0.02 if n % 20 == 0 else 0.01)
    (found,) = pace([subject], baseline=0, sentinel=still(host), budget=0.0)
    said = found.summary()
    assert said["step_ms_n"] == 5
    assert said["step_ms_p5"] == pytest.approx(10.0, rel=1e-3)
    assert said["step_ms_p99"] == pytest.approx(20.0, rel=1e-3)
    assert said["step_ms_min"] <= said["step_ms"]
    assert 0 < said["host_share"] < 0.01
