"""The devices a run may use, from what was asked for and what is there, how one is used and waited for."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from ganbench.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch


def find_devices(asked: str) -> list[str]:
    """The devices that ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1`` names.

    Raises:
        DeviceError: it is not there, or not a device.
    """
    if asked == "cpu":
        return ["cpu"]
    kind, _, numbers = asked.partition(":")
    if kind not in {"auto", "cuda"} or (numbers and not all(n.isdigit() for n in numbers.split(","))):
        raise DeviceError(f"{asked!r} is not a device", place="--device", hint="auto, cpu, cuda, cuda:0 or cuda:0,1")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        if kind == "auto":
            return ["cpu"]
        raise DeviceError(
            "no CUDA device was found", place=f"--device {asked}", hint="use --device cpu, or see ganbench doctor"
        )
    chosen = [int(n) for n in numbers.split(",")] if numbers else list(range(count))
    for number in chosen:
        if number >= count:
            raise DeviceError(f"there is no cuda:{number}", place=f"--device {asked}", hint=f"{count} found")
    return [f"cuda:{n}" for n in chosen]


def use(device: torch.device) -> None:
    """Make ``device`` the one on which this process's streams, events and graphs are, which a CPU needs not be."""
    if device.type == "cuda" and device.index is not None:
        import torch

        torch.cuda.set_device(device)


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` is idle, which a CPU always is."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


@contextlib.contextmanager
def beside(places: Sequence[int], device: torch.device) -> Iterator[list[Any]]:
    """For each of ``places``, what launches on a stream of its own within it; on a CPU, nothing happens.

    The streams begin when all that was launched before is done, and all that is launched after waits for them.
    """
    if device.type != "cuda":
        yield [contextlib.nullcontext()] * len(places)
        return
    import torch

    main = torch.cuda.current_stream(device)
    streams = [_stream(device, place) for place in places]
    for stream in streams:
        stream.wait_stream(main)
    try:
        yield [torch.cuda.stream(stream) for stream in streams]
    finally:
        for stream in streams:
            main.wait_stream(stream)


@functools.cache
def _stream(device: torch.device, place: int) -> torch.cuda.Stream:
    import torch

    del place
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch leaves it untyped
