"""What a step costs the host, and what it costs a GPU, each by itself: which of the two limits a loop."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch

from ganbench.timing import now

GOES = 5
SIDE = 4096
"""Of the matrices whose product keeps a GPU busy: about 3 ms of an H100 in float32."""
MARGIN = 2.0
"""How much longer the GPU is kept busy than the host takes to issue steps."""


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

    ``host_ms`` is the time to issue a step to an idle GPU: the less of one step and of ``stride`` at once, since a few
    steps share their draws, and many fill the queue, so that the host waits. ``device_ms`` is between events around
    steps that wait in the queue behind other work. Where the host could not issue them in time (``queued`` is false),
    it has waits for the host in it, and is an upper bound.
    """
    counts = sorted({1, stride}, reverse=True)
    issue = {steps: statistics.median(_issued(take, steps) for _ in range(GOES)) for steps in counts}
    found: dict[str, Any] = {"host_ms": 1e3 * min(seconds / steps for steps, seconds in issue.items())}
    for steps, seconds in issue.items():
        goes = [_queued(take, steps, busy, MARGIN * seconds) for _ in range(GOES)]
        device = {"device_ms": statistics.median(ms for ms, _ in goes), "queued": all(ahead for _, ahead in goes)}
        if device["queued"] or "device_ms" not in found or device["device_ms"] < found["device_ms"]:
            found |= device
        if device["queued"]:
            break
    return found


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
