"""The only clock: synchronised windows of whole steps, warm-up apart, and every second put down to a phase."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

now: Callable[[], float] = time.perf_counter
"""Seconds on a monotonic clock."""


@dataclass
class StepClock:
    """Times windows of steps on one device.

    A window starts and ends with a synchronisation and holds a multiple of ``period`` steps, so that lazy
    regularizers weigh in every window alike. Windows before the clock is warm are kept apart: at least
    ``warm_steps`` steps and ``warm_seconds`` seconds.

    Args:
        synchronize: waits until the device is idle; does nothing on a CPU.
        period: steps after which the kinds of step repeat.
        least: seconds that a window should last.
    """

    synchronize: Callable[[], None]
    period: int = 1
    least: float = 0.05
    warm_steps: int = 20
    warm_seconds: float = 0.3
    windows: list[tuple[int, float]] = field(default_factory=list)
    warm_up: list[tuple[int, float]] = field(default_factory=list)
    begun_windows: int = 0
    """Windows begun by this clock: not those that a checkpoint brought."""
    _begun: float = math.nan

    def size(self) -> int:
        """Steps of the next window, from the time that steps took so far."""
        done = (self.windows or self.warm_up)[-3:]
        steps, seconds = sum(n for n, _ in done), sum(s for _, s in done)
        wanted = math.ceil(self.least * steps / seconds) if seconds > 0 else 1
        return self.period * max(1, math.ceil(min(wanted, 10_000) / self.period))

    def begin(self) -> None:
        """Start a window."""
        self.synchronize()
        self.begun_windows += 1
        self._begun = now()

    def end(self, steps: int) -> float:
        """End the window of ``steps`` steps and return its seconds; only whole periods enter the statistics."""
        self.synchronize()
        seconds = now() - self._begun
        if not self._warm():
            self.warm_up.append((steps, seconds))
        elif steps % self.period == 0:
            self.windows.append((steps, seconds))
        return seconds

    @property
    def phase(self) -> str:
        """What the next window is: the ``first_step`` (and others of its period), ``warm_up`` or ``train``."""
        if not self.begun_windows:
            return "first_step"
        return "train" if self._warm() else "warm_up"

    def _warm(self) -> bool:
        return sum(n for n, _ in self.warm_up) >= self.warm_steps and self.warm_up_seconds >= self.warm_seconds

    @property
    def warm_up_seconds(self) -> float:
        """Seconds spent before the clock was warm."""
        return sum(s for _, s in self.warm_up)

    def summary(self) -> dict[str, float]:
        """Milliseconds per step: median, median absolute deviation and 95th percentile over windows, and their number.

        Falls back to the warm-up windows, with ``step_ms_n = 0``, if training ended before the clock was warm.
        """
        chosen = self.windows or self.warm_up
        if not chosen:
            return {}
        ms = [1e3 * seconds / steps for steps, seconds in chosen]
        middle = quantile(ms, 0.5)
        return {
            "step_ms": middle,
            "step_ms_mad": quantile([abs(v - middle) for v in ms], 0.5),
            "step_ms_p95": quantile(ms, 0.95),
            "step_ms_n": float(len(self.windows)),
            "warm_up_s": self.warm_up_seconds,
        }


class Phases:
    """Where the wall time of a piece of work goes: every moment belongs to the innermost phase that is open.

    Outside all phases it belongs to ``other``, so the phases add up to the wall time by construction, and what nobody
    has put down to anything shows as ``other``.
    """

    def __init__(self) -> None:
        self.begun = self._since = now()
        self._seconds: dict[str, float] = {}
        self._open = ["other"]

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """What happens inside is of the phase ``name``, but for phases opened within."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        moment, phase = now(), self._open[-1]
        self._seconds[phase] = self._seconds.get(phase, 0.0) + moment - self._since
        self._since = moment

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase so far, and of ``other``; they add up to :attr:`wall`."""
        self._turn()
        return {"other": 0.0} | self._seconds

    @property
    def wall(self) -> float:
        """Seconds from the beginning to the last change of phase."""
        return self._since - self.begun

    @property
    def accounted(self) -> bool:
        """Whether no more than 2 % of the wall time (20 ms where that is more) is of no phase."""
        return self.seconds()["other"] <= max(0.02 * self.wall, 0.02)


def quantile(values: Sequence[float], q: float) -> float:
    """The ``q``-quantile of ``values``, linear between order statistics."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])
