"""Which process trains a trial, so that several, of one machine or of many, work on one run and train nothing twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ganbench import heartbeat
from ganbench.errors import ResultsError
from ganbench.records import read_json, storage_fault

FOLDER = "claims"


class Claims:
    """The trials of the run in ``folder`` that are this process's; they are free again when it ends, however it ends.

    Two things make a claim. On this machine it is a lock on a byte of a file among the temporary ones, which dies with
    its holder. For other machines it is a file of the run, ``claims/TRIAL.N``, that names its owner: it counts as long
    as the owner's heartbeat does. Whoever finds that one stale makes ``TRIAL.N+1``, which only one process can, so that
    no lock of a shared file system is needed.

    The process must have a heartbeat in the run while it claims.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.run = folder
        self.held: set[str] = set()
        key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        name = f"ganbench-{getattr(os, 'getuid', int)()}-{key}.claims"
        self.locks = (Path(tempfile.gettempdir()) / name).open("ab")

    def take(self, trial: Path) -> bool:
        """Whether the trial, named by its folder within the run, is this process's now; False if it is another's.

        Raises:
            StorageError: the run cannot be written.
        """
        name = re.sub(r"[^A-Za-z0-9._-]", "-", "-".join(trial.parts[1:]))
        if name in self.held:
            return True
        if not self._lock(name):
            return False
        if not self._lease(name):
            self._lock(name, release=True)
            return False
        self.held.add(name)
        return True

    def close(self) -> None:
        """Let go of everything: what is claimed in files goes with the heartbeat."""
        self.locks.close()
        self.held.clear()

    def _lock(self, name: str, *, release: bool = False) -> bool:
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the file alone decides
            return True
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])
        try:
            fcntl.lockf(self.locks, fcntl.LOCK_UN if release else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError:
            return False
        return True

    def _lease(self, name: str) -> bool:
        found = {int(p.suffix[1:]): p for p in self.folder.glob(f"{name}.*") if p.suffix[1:].isdigit()}
        last = max(found, default=0)
        if last and self._valid(found[last]):
            return False
        path = self.folder / f"{name}.{last + 1}"
        try:
            self.folder.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                json.dump(heartbeat.whoami(), file)
        except FileExistsError:
            return False
        except OSError as error:
            raise storage_fault(error, self.folder) or ResultsError(
                f"cannot be written: {error.strerror or error}", place=str(self.folder)
            ) from error
        for stale in found.values():
            with contextlib.suppress(OSError):
                stale.unlink()
        return True

    def _valid(self, path: Path) -> bool:
        """Whether the owner of the claim in ``path`` is still at work."""
        try:
            owner: dict[str, Any] = read_json(path) or {}
        except ResultsError:  # just being written, or a torn one
            return heartbeat.recent(self.run, path)
        if owner == heartbeat.whoami():
            return False  # of an earlier run of this process, or the lock would be held
        return heartbeat.at_work(self.run, owner)
