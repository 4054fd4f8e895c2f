"""What a run is doing now, in a small file of its folder that other processes can read: ``live/HOST-PID.json``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ganbench.errors import ResultsError
from ganbench.records import read_json
from ganbench.tracking import Current, Tracker

if TYPE_CHECKING:
    from ganbench.runner import Run

FOLDER = "live"
EVERY = 1.0
"""Seconds between two beats."""
LATE = 30.0
"""Seconds without a beat after which a driver counts as silent; one of another machine is then given up."""


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """One beat of one driver.

    Args:
        born: the system's start time of the process, which tells it from a later one with its number; 0 if unknown.
        seconds: since the driver began.
        todo: trials that it set out to train.
        left_s: expected seconds until it ends, None while nothing is known.
        doing: what it is at where it trains nothing, such as the timing pass.
    """

    host: str
    pid: int
    born: int
    seconds: float
    todo: int
    finished: int
    failed: int
    workers: int
    left_s: float | None
    running: tuple[Current, ...] = ()
    doing: str = ""


@dataclass(frozen=True)
class Heard:
    """A driver's last beat, how many seconds ago it was, and what that says of the driver.

    ``running``; ``silent``, alive but not heard of for a while (stopped, or its disk is full); ``gone``, dead without
    a word, so that what it was training waits to be resumed.
    """

    pulse: Pulse
    age: float
    state: Literal["running", "silent", "gone"]


class Beacon(Tracker):
    """A display that keeps the heartbeat file: at most once in :data:`EVERY` seconds, removed at the end.

    A file that cannot be written is no reason to stop a run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = _own(folder)
        self.beaten = 0.0

    def begin(self, run: Run) -> None:
        """Start beating; what killed drivers of this machine left is cleared away."""
        super().begin(run)
        self.born = _born(os.getpid())
        _arrive(run.folder)
        self._beat()

    def tick(self) -> None:
        """Beat, if it is time."""
        if time.monotonic() - self.beaten >= EVERY:
            self._beat()

    def end(self) -> None:
        """Remove the file, and its folder if no other driver is at work."""
        _leave(self.path)

    def pulse(self) -> Pulse:
        """What is known now."""
        return Pulse(
            host=socket.gethostname(),
            pid=os.getpid(),
            born=self.born,
            seconds=self.seconds,
            todo=self.todo,
            finished=self.done,
            failed=self.failed,
            workers=self.run.workers,
            left_s=self.estimate.remaining(),
            running=tuple(self.running.values()),
        )

    def _beat(self) -> None:
        """Write the file whole: a reader sees the last beat or this one. It need not survive the machine."""
        self.beaten = time.monotonic()
        _write(self.path, self.pulse())


class TimingBeat:
    """The heartbeat of a timing pass over the run in ``folder``: what it is at, and how long it will yet take."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, _own(folder)
        self.begun = self.beaten = self.shown = time.monotonic()
        self.doing, self.left = "", 0.0

    def __enter__(self) -> Self:
        _arrive(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        _leave(self.path)

    def show(self, doing: str, left: float) -> None:
        """Say what begins now, and the seconds expected until the end of the pass."""
        self.doing, self.left, self.shown, self.beaten = doing, left, time.monotonic(), 0.0
        self.tick()

    def tick(self) -> None:
        """Beat, if it is time."""
        moment = time.monotonic()
        if self.beaten and moment - self.beaten < EVERY:
            return
        self.beaten, left = moment, self.left - (moment - self.shown)
        pulse = Pulse(
            **whoami(),
            seconds=moment - self.begun,
            todo=0,
            finished=0,
            failed=0,
            workers=1,
            left_s=left if left > 0 else None,  # later than expected: nobody knows
            doing=self.doing,
        )
        _write(self.path, pulse)


def _write(path: Path, pulse: Pulse) -> None:
    with contextlib.suppress(OSError):
        partial = _partial(path)
        partial.write_text(json.dumps(asdict(pulse)), encoding="utf-8")
        partial.replace(path)


def _arrive(folder: Path) -> None:
    """Make room for a heartbeat; what killed drivers of this machine left is cleared away."""
    with contextlib.suppress(OSError):
        (folder / FOLDER).mkdir(exist_ok=True)
    for path, heard in _all(folder):
        if heard.state == "gone" and heard.pulse.host == socket.gethostname():
            with contextlib.suppress(OSError):
                path.unlink()
                _partial(path).unlink(missing_ok=True)


def _leave(path: Path) -> None:
    with contextlib.suppress(OSError):
        _partial(path).unlink(missing_ok=True)
        path.unlink()
        path.parent.rmdir()


def read(folder: Path) -> list[Heard]:
    """The drivers that have a heartbeat in the run folder ``folder``; files that cannot be read are passed over."""
    return [heard for _, heard in _all(folder)]


def here(folder: Path) -> list[Heard]:
    """The drivers of the run that are at work on this machine, this process among them."""
    return [heard for heard in read(folder) if heard.state != "gone" and heard.pulse.host == socket.gethostname()]


def whoami() -> dict[str, Any]:
    """Host, number and start of this process, as its heartbeat has them."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid())}


def at_work(folder: Path, who: Mapping[str, Any]) -> bool:
    """Whether the process ``who`` of this or another machine has a heartbeat, by the clock of the file system."""
    return any(
        heard.state != "gone" and {name: getattr(heard.pulse, name) for name in ("host", "pid", "born")} == who
        for _, heard in _all(folder, _clock(folder))
    )


def recent(folder: Path, path: Path) -> bool:
    """Whether a file of the run ``folder`` was written less than :data:`LATE` seconds ago."""
    try:
        return _clock(folder) - path.stat().st_mtime < LATE
    except OSError:
        return False


def _clock(folder: Path) -> float:
    """Seconds, now, as the file system of the run counts them, whose clock a server may keep.

    A process with a heartbeat of its own there reads them off it; for others the clock of this machine must do.
    """
    with contextlib.suppress(OSError):
        return max(_own(folder).stat().st_mtime, 0.0)
    return time.time()


def _own(folder: Path) -> Path:
    return folder / FOLDER / f"{_file_name(socket.gethostname())}-{os.getpid()}.json"


def _all(folder: Path, clock: float | None = None) -> list[tuple[Path, Heard]]:
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ResultsError, TypeError, AttributeError, KeyError):
            raw = read_json(path)
            if raw is not None:
                age = max(0.0, (time.time() if clock is None else clock) - path.stat().st_mtime)
                pulse = _pulse(raw)
                found.append((path, Heard(pulse, age, _state(pulse, age))))
    return found


def _pulse(raw: Mapping[str, Any]) -> Pulse:
    values = {f.name: raw[f.name] for f in fields(Pulse) if f.name != "doing"} | {"doing": str(raw.get("doing", ""))}
    names = [f.name for f in fields(Current)]
    values["running"] = tuple(Current(**{name: item[name] for name in names}) for item in raw["running"])
    return Pulse(**values)


def _state(pulse: Pulse, age: float) -> Literal["running", "silent", "gone"]:
    if pulse.host != socket.gethostname():
        return "running" if age < LATE else "gone"
    if not _alive(pulse):
        return "gone"
    return "running" if age < LATE else "silent"


def _alive(pulse: Pulse) -> bool:
    """Whether the process is still there, and still the same."""
    try:
        os.kill(pulse.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return not pulse.born or _born(pulse.pid) in {0, pulse.born}


def _born(pid: int) -> int:
    """When the process began, in the system's ticks since boot; 0 where the system does not say."""
    try:
        fields_ = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return -1 if fields_[0] == "Z" else int(fields_[19])  # a zombie has died
    except (OSError, ValueError, IndexError):
        return 0


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _file_name(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", host)[:64].lstrip(".") or "host"
