"""The protocol of the timing pass: warm up to a steady state, take windows in turn, compare within rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ganbench import stats, timing
from ganbench.stats import Estimate
from ganbench.timing import quantile

WINDOW = 0.25
"""Seconds that a window should last at least."""
ROUNDS = 5
"""Rounds that are always taken; more follow while the budget lasts and a ratio is not known to 1 %."""
ENOUGH = 0.01
"""Half-width of the interval of a log ratio at which no more rounds are taken."""
DRIFT = 0.03
"""Change of the sentinel from before a window to after it, on the log scale, above which the window is taken anew."""
WARM_STEPS, WARM_SECONDS, BLOCK, STEADY, MOST_STEPS = 10, 1.0, 5, 0.02, 200
"""Warm-up: at least so many steps and seconds, until the medians of two blocks of so many steps differ by less."""
LEAST = 0.05
"""Seconds that such a block should last at least: the median of five steps of a fraction of a millisecond is noise."""


class Subject(Protocol):
    """Something whose steps are timed.

    Attributes:
        name: what results call it.
        period: steps after which the kinds of step repeat.
        stride: steps that one call of ``advance`` takes.
    """

    name: str
    period: int
    stride: int

    def advance(self) -> None:
        """Take ``stride`` steps, without waiting for the device."""

    def synchronize(self) -> None:
        """Wait until the device is idle."""

    def mark(self) -> object:
        """A moment: of the host's clock, or an event in the device's queue."""

    def between(self, marks: Sequence[object]) -> list[float]:
        """Seconds from each mark to the next, asked for after a synchronisation."""


@dataclass(frozen=True)
class Window:
    """Steps between two synchronisations.

    Args:
        steps: their number, a multiple of the period.
        seconds: on the host's clock, from idle to idle.
        launching: seconds of these in which the host was still issuing work: all of them where it is the bottleneck.
        each: seconds of single steps (of single calls, over their strides).
    """

    steps: int
    seconds: float
    launching: float
    each: tuple[float, ...]

    @property
    def ms(self) -> float:
        """Milliseconds a step."""
        return 1e3 * self.seconds / self.steps


@dataclass
class Paced:
    """What the pass found of one subject.

    Args:
        warm_up_s: seconds until it was steady.
        warm_up_steps: steps in them.
        converged: whether it became steady.
        windows: one for each round.
        drifted: rounds whose window was taken anew and still saw the machine change its pace.
    """

    name: str
    warm_up_s: float = 0.0
    warm_up_steps: int = 0
    converged: bool = False
    windows: list[Window] = field(default_factory=list)
    drifted: int = 0

    @property
    def rounds(self) -> list[float]:
        """Milliseconds a step, for each round."""
        return [w.ms for w in self.windows]

    def summary(self) -> dict[str, float]:
        """Milliseconds a step: the median over rounds, its deviation, and quantiles over single steps."""
        ms = self.rounds
        middle = quantile(ms, 0.5)
        each = sorted(1e3 * s for w in self.windows for s in w.each)
        return {
            "step_ms": middle,
            "step_ms_mad": quantile([abs(v - middle) for v in ms], 0.5),
            "step_ms_min": min(ms),
            **{f"step_ms_p{p}": quantile(each, p / 100) for p in (5, 95, 99)},
            "step_ms_n": float(len(ms)),
            "host_share": sum(w.launching for w in self.windows) / sum(w.seconds for w in self.windows),
        }


def window(subject: Subject, calls: int) -> Window:
    """``calls`` calls between two synchronisations, with a mark after each."""
    subject.synchronize()
    begun = timing.now()
    marks = [subject.mark()]
    for _ in range(calls):
        subject.advance()
        marks.append(subject.mark())
    issued = timing.now()
    subject.synchronize()
    seconds = timing.now() - begun
    each = tuple(s / subject.stride for s in subject.between(marks))
    return Window(calls * subject.stride, seconds, issued - begun, each)


def warm_up(subject: Subject, paced: Paced, least: int = WARM_STEPS, lasting: float | None = None) -> float:
    """Bring ``subject`` to a steady state and return the seconds of one of its steps then.

    It takes blocks of at least 5 steps and about 50 ms, each of whole periods, until two in a row have medians within
    2 % and at least 10 steps and 1 s have passed; it is given up after 200 steps and 2 s, or after 10 s. The very first
    step, which loads, allocates and compiles, should be behind it. ``least`` is for steps so slow that 10 of them are
    too many: blocks are half of it. ``lasting`` is in place of the 1 s.
    """
    shortest = WARM_SECONDS if lasting is None else lasting
    calls = _whole(subject, min(BLOCK, math.ceil(least / 2)))
    medians: list[float] = []
    seconds: list[float] = []
    done = 0
    while True:
        block = window(subject, calls)
        medians.append(quantile(block.each, 0.5))
        seconds.append(block.seconds)
        done += block.steps
        long = done >= least and sum(seconds) >= shortest
        # two clocks that show no time at all are equal, too
        steady = len(medians) > 1 and abs(medians[-1] - medians[-2]) <= STEADY * medians[-2]
        spent = len(medians) > 1 and done >= MOST_STEPS and sum(seconds) >= 2 * shortest
        late = sum(seconds) >= 10 * shortest
        if (long and steady) or spent or late:
            paced.converged = steady
            paced.warm_up_s, paced.warm_up_steps = sum(seconds), done
            return block.seconds / block.steps
        if block.seconds < LEAST:
            calls *= 2


def _whole(subject: Subject, steps: int) -> int:
    """Calls that make at least ``steps`` steps and whole periods."""
    unit = math.lcm(subject.stride, subject.period)
    return unit * max(1, math.ceil(steps / unit)) // subject.stride


def pace(
    subjects: Sequence[Subject],
    *,
    baseline: int,
    sentinel: Callable[[], float],
    budget: float,
    rounds: int = ROUNDS,
    warm_steps: int = WARM_STEPS,
    warm_seconds: float | None = None,
    window_seconds: float | None = None,
    warmed: Callable[[Subject], None] = lambda _: None,
) -> list[Paced]:
    """Time ``subjects`` against each other.

    After each is warm, a round takes one window of each, and the next round goes the other way: a drift that is steady
    over two rounds favours none. Before and after every window the sentinel runs.

    Args:
        subjects: to time.
        baseline: the place of the subject that the others are compared with.
        sentinel: runs a fixed piece of work and returns its seconds.
        budget: seconds, from the first warm-up on, after which no round beyond ``rounds`` begins.
        rounds: to take in any case.
        warm_steps: to take at least before the first.
        warm_seconds: that they last at least (default: :data:`WARM_SECONDS`).
        window_seconds: that a window should last at least (default: :data:`WINDOW`).
        warmed: called after each warm-up, to count memory from then on.
    """
    begun = timing.now()
    found = [Paced(s.name) for s in subjects]
    calls = []
    length = WINDOW if window_seconds is None else window_seconds
    for subject, paced in zip(subjects, found, strict=True):
        step = warm_up(subject, paced, warm_steps, warm_seconds)
        calls.append(_whole(subject, math.ceil(length / step) if step > 0 else 1))
        warmed(subject)
    order = list(range(len(subjects)))
    number = 0
    before = sentinel()
    while number < rounds or (timing.now() - begun < budget and any(_loose(found[baseline], paced) for paced in found)):
        for i in order:
            taken = window(subjects[i], calls[i])
            after = sentinel()
            if abs(math.log(after / before)) > DRIFT:
                before = after
                taken = window(subjects[i], calls[i])
                after = sentinel()
                found[i].drifted += abs(math.log(after / before)) > DRIFT
            before = after
            found[i].windows.append(taken)
        order.reverse()
        number += 1
    return found


def _loose(baseline: Paced, paced: Paced) -> bool:
    """Whether the ratio to the baseline is not yet known to :data:`ENOUGH`."""
    logs = log_ratio(paced.rounds, baseline.rounds)
    return logs is None or logs.half is None or logs.half > ENOUGH


def log_ratio(above: Sequence[float], below: Sequence[float]) -> Estimate | None:
    """Mean and t interval over rounds of log(above / below), paired within rounds; None without a common round."""
    return stats.mean(math.log(a / b) for a, b in zip(above, below, strict=False))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate | None:
    """The exponential of :func:`log_ratio`: the geometric mean of the rounds' ratios, and its interval."""
    return stats.exp(log_ratio(above, below))


def pooled_ratio(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate | None:
    """As :func:`ratio` over several blocks: in each round the mean over blocks, and the interval over rounds."""
    logs = [[math.log(a / b) for a, b in zip(above, below, strict=False)] for above, below in pairs]
    return stats.exp(stats.mean(math.fsum(of) / len(of) for of in zip(*logs, strict=False)))


def noise_floor(first: Sequence[float], second: Sequence[float]) -> float | None:
    """What two timings of one thing differ by: the end of their ratio's interval that is farther from 1, less 1."""
    same = ratio(first, second)
    if same is None or same.low is None or same.high is None:
        return None
    return max(same.high - 1, 1 - same.low)
