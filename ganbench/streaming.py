"""Samples that a device has no room for: a thread fetches the next batches while it computes."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from ganbench.samples import Levels, Samples

SHARE = 0.25
"""Of the memory that is free on a GPU, or that the host has: sets of at most this size stay on the device."""
AHEAD = 4
"""Batches that are fetched before they are asked for."""


class Streamed:
    """``samples`` on the host, taken on ``device``: the same values in the same order as if they lay there."""

    def __init__(self, samples: Levels, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ganbench-data")
        self._ahead: deque[tuple[Tensor, Future[Levels]]] = deque()

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, index: Tensor) -> Samples:
        """The samples at ``index [m]``, which lies on the host; fetched now if they were not expected."""
        while self._ahead:
            expected, fetched = self._ahead.popleft()
            if torch.equal(expected, index):
                return self._delivered(fetched.result())
        return self._delivered(self._fetch(index))

    def expect(self, order: Tensor, n: int) -> None:
        """Begin to fetch what comes next: batches of ``n`` of ``order``, as far as they are whole."""
        known = torch.split(order[: AHEAD * n], n)
        for index in known[len(self._ahead) :]:
            if len(index) == n:
                self._ahead.append((index, self._thread.submit(self._fetch, index)))

    def _fetch(self, index: Tensor) -> Levels:
        source = self.samples
        levels, y = source.levels[index], None if source.y is None else source.y[index]
        if self.device.type == "cuda":  # from pinned memory, copies do not wait for the device
            levels, y = levels.pin_memory(), None if y is None else y.pin_memory()
        return Levels(levels, y, low=source.low, high=source.high)

    def _delivered(self, batch: Levels) -> Samples:
        levels = batch.levels.to(self.device, non_blocking=True)
        y = None if batch.y is None else batch.y.to(self.device, non_blocking=True)
        return Samples(batch.converted(levels), y)


def placed(samples: Samples, device: torch.device, dtype: torch.dtype) -> Samples | Streamed:
    """``samples`` on ``device``: bytes as bytes, floats in ``dtype``; streamed to it where bytes do not fit."""
    if isinstance(samples, Levels):
        if samples.device.type != "cpu":  # another seed has placed them
            return samples
        fits = samples.levels.numel() <= SHARE * _memory(device)
        return samples.to(device) if fits else Streamed(samples, device)
    return Samples(samples.x.to(device, dtype), None if samples.y is None else samples.y.to(device))


def _memory(device: torch.device) -> float:
    """Bytes that are free on a GPU, or that the host has."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
