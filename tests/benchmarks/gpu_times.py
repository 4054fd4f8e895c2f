"""What a step costs the host, and what it costs a GPU, each by itself: which of the two limits a loop."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch

from ganbench.timing import now

GOES, LASTING = 3, 0.2
"""Goes at most, and the seconds that they should last at most."""
SIDE = 4096
"""Of the matrices whose product keeps a GPU busy: about 3 ms of an H100 in float32."""
MARGIN, LEAST = 2.0, 0.002
"""How much longer the GPU is kept busy than the host takes to issue steps, and the seconds of that at least."""


def _wait() -> None:
    torch.cuda.synchronize()


class Busy:
    """Keeps a GPU busy for some time, so that what is issued meanwhile runs without waiting for the host."""

    def __init__(self, device: torch.device) -> None:
        self.a = torch.ones(SIDE, SIDE, device=device)
        self.product = torch.empty_like(self.a)
        self._issue(3)
        _wait()
        begun = now()
        self._issue(GOES)
        _wait()
        self.seconds = (now() - begun) / GOES

    def __call__(self, seconds: float) -> None:
        self._issue(math.ceil(seconds / self.seconds))

    def _issue(self, times: int) -> None:
        for _ in range(times):
            torch.mm(self.a, self.a, out=self.product)


def sides(take: Callable[[int], None], stride: int, busy: Busy) -> dict[str, Any]:
    """Milliseconds a step of ``take``, which takes as many steps as it is told, of the host and of the GPU.

    ``host_ms`` is the time to issue a step to an idle GPU, ``stride`` of them at once, since a few steps share their
    draws. ``device_ms`` is between events around steps that wait in the queue behind other work. Where the queue does
    not hold so many, one step is taken, and the lesser time of the host counts. Where the host could not issue even
    that one in time (``queued`` is false), both are upper bounds: they have waits in them.
    """
    issue: dict[int, float] = {}
    for steps in sorted({1, stride}, reverse=True):
        begun = now()
        issued = [_issued(take, steps)]
        goes = max(1, min(GOES, int(LASTING / (now() - begun))))
        issued += [_issued(take, steps) for _ in range(goes - 1)]
        issue[steps] = statistics.median(issued)
        queued = [_queued(take, steps, busy, MARGIN * issue[steps] + LEAST) for _ in range(goes)]
        ahead = [ms for ms, was_ahead in queued if was_ahead]
        found = statistics.median(ahead or [ms for ms, _ in queued])
        if ahead:
            break
    return {
        "host_ms": 1e3 * min(seconds / steps for steps, seconds in issue.items()),
        "device_ms": found,
        "queued": bool(ahead),
    }


def _issued(take: Callable[[int], None], steps: int) -> float:
    """Seconds to issue ``steps`` steps to an idle GPU."""
    _wait()
    begun = now()
    take(steps)
    seconds = now() - begun
    _wait()
    return seconds


def _queued(take: Callable[[int], None], steps: int, busy: Busy, seconds: float) -> tuple[float, bool]:
    """Milliseconds a step between events, and whether all was issued before the first event came."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _wait()
    busy(seconds)
    start.record()
    take(steps)
    end.record()
    ahead = not start.query()
    _wait()
    return start.elapsed_time(end) / steps, ahead
