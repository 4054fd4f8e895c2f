"""The files a dataset is read from: where they may lie, whether they are the published ones, and what was read of them.

Nothing is downloaded. What a dataset read once, as bytes, is kept in the cache, in a file that processes map into
their memory and share.
"""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ganbench import codeprint
from ganbench.dataset import cache_dir
from ganbench.errors import ConfigError, ResultsError
from ganbench.records import replacing
from ganbench.samples import Levels

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ganbench.dataset import Dataset, Split

    Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
    Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

SYSTEM = Path("/usr/share/datasets")
"""Where Debian installs data sets."""
FORMAT = 2
"""Part of the stamp of every kept file: raise it when their layout changes."""
CHECKED = 2**30
"""Bytes up to which a kept file is read through for damage, once in a process; of a larger one, the length is."""


def data_roots() -> list[Path]:
    """Where data is looked for: ``$GANBENCH_DATA``, the folder ``data`` of the cache, ``/usr/share/datasets``."""
    named = os.environ.get("GANBENCH_DATA")
    return [*([Path(named).expanduser()] if named else []), cache_dir() / "data", SYSTEM]


@dataclass(frozen=True)
class DataFiles:
    """The files of a dataset, each in any of several folders under any of the roots.

    Args:
        dataset: its name, for messages.
        folders: names of the folders that may hold them, the preferred one first (``fashion-mnist``,
            ``FashionMNIST/raw``).
        names: for each file, the names it may have, the preferred one first (``a-ubyte``, ``a-ubyte.gz``).
        advice: where they come from, in one sentence.
    """

    dataset: str
    folders: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    advice: str

    def places(self) -> list[Path]:
        """The folders that are looked at, in this order."""
        return [root / folder for root in data_roots() for folder in self.folders]

    def found(self) -> list[Path | None]:
        """The path of each file, or None."""
        candidates = [[place / name for place in self.places() for name in names] for names in self.names]
        return [next((path for path in paths if path.is_file()), None) for paths in candidates]

    def missing(self) -> str | None:
        """What has to be put where, or None if all is there."""
        absent = [" or ".join(names) for names, path in zip(self.names, self.found(), strict=True) if path is None]
        if not absent:
            return None
        home = self.places()[0]
        looked = ", ".join(str(place) for place in self.places() if place.parts[-1] == self.folders[0])
        unset = "" if os.environ.get("GANBENCH_DATA") else " ($GANBENCH_DATA is not set)"
        return (
            f"dataset {self.dataset} needs {'; '.join(absent)}, looked for in {looked}{unset}: "
            f"put them into {home}. {self.advice} See docs/datasets.md"
        )

    def paths(self) -> list[Path]:
        """The path of each file.

        Raises:
            ConfigError: one is in none of the folders; says what to put where.
        """
        if (message := self.missing()) is not None:
            raise ConfigError(message)
        return [path for path in self.found() if path is not None]


def check_digest(data: bytes, digest: str, path: Path) -> None:
    """Check that ``data``, read from ``path``, has ``digest``, written ``sha256:HEX`` or ``md5:HEX``.

    Raises:
        ConfigError: it has another.
    """
    kind, _, expected = digest.partition(":")
    # MD5 is what some publishers give; it is there against damage, not against malice
    actual = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    if actual != expected:
        raise ConfigError(
            f"this is not the published file: its {kind} is {actual}, not {expected}",
            place=str(path),
            hint="get it again, or say checksum = false to use it as it is",
        )


def kept_levels(
    dataset: Dataset,
    split: Split,
    sources: Sequence[Path],
    read: Callable[[], tuple[Bytes, Integers | None]],
) -> Levels:
    """What ``read`` makes of the files ``sources``: levels uint8 [n, *shape] and labels int64 [n], or None.

    It is read once and kept in ``cache_dir()``, in a file that is mapped into memory: processes share its pages. It
    is read again when the name, size or time of a source changes, or the dataset's code, or what was kept is damaged.
    Where the cache is not writable, the samples are in memory.
    """
    spec = dataset.spec()
    path = cache_dir() / "levels" / f"{dataset.name}-{split}-{dataset.fingerprint}.safetensors"
    stamp = _stamp(dataset, sources)
    found = _mapped(path, stamp)
    if found is None:
        levels, labels = read()
        found = _write(path, stamp, levels, labels)
    x, y = found
    return Levels(x, y, low=spec.low, high=spec.high)


def _stamp(dataset: Dataset, sources: Sequence[Path]) -> str:
    total = hashlib.sha256(f"{FORMAT} {codeprint.of_class(type(dataset))}\n".encode())
    for source in sources:
        facts = source.stat()
        total.update(f"{source.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _mapped(path: Path, stamp: str) -> tuple[Tensor, Tensor | None] | None:
    """Levels and labels of the file at ``path``, or None where it is not what was kept under ``stamp``."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return _opened(path, stamp, (facts.st_ino, facts.st_size, facts.st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _opened(path: Path, stamp: str, version: tuple[int, int, int]) -> tuple[Tensor, Tensor | None] | None:
    """As :func:`_mapped`; a process maps and checks one ``version`` of a file once, for training and evaluations."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("stamp") != stamp:
                return None
            names = set(file.keys())
            x, y = file.get_tensor("x"), file.get_tensor("y") if "y" in names else None
    except (OSError, safetensors.SafetensorError):
        return None
    _, size, _ = version
    return (x, y) if size > CHECKED or facts.get("crc") == _crc(x, y) else None


def _crc(x: Tensor, y: Tensor | None) -> str:
    """A checksum against damage: four times as fast as a hash against malice."""
    sums = [zlib.crc32(part.numpy().data) if part.numel() else 0 for part in (x, y) if part is not None]
    return " ".join(map(str, sums))


def _write(path: Path, stamp: str, levels: Bytes, labels: Integers | None) -> tuple[Tensor, Tensor | None]:
    """Keep the samples at ``path``, whole or not at all; of two processes that read at once, the later one wins."""
    import numpy as np
    import safetensors.torch
    import torch

    x = torch.from_numpy(np.ascontiguousarray(levels))
    y = None if labels is None else torch.from_numpy(labels)
    tensors = {name: part for name, part in (("x", x), ("y", y)) if part is not None}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            safetensors.torch.save_file(tensors, partial, {"stamp": stamp, "crc": _crc(x, y)})
    except (OSError, ResultsError) as error:
        # the samples are there all the same; only the next process reads the sources again
        warnings.warn(f"the samples could not be kept in {path.parent}: {error}", stacklevel=3)
        return x, y
    return _mapped(path, stamp) or (x, y)
