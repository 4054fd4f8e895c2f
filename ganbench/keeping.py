"""Tensors that are dear to compute, kept on disk between runs under a hash of everything they depend on."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ganbench.dataset import cache_dir
from ganbench.errors import ResultsError
from ganbench.records import replacing
from ganbench.timing import now

WORTH_S = 0.2
"""Seconds that a computation must have taken to be kept: what is faster is computed again, and the disk stays empty."""
LARGEST = 2**30
"""Bytes above which nothing is kept."""


@dataclass(frozen=True)
class Shelf:
    """A place for tensors in :func:`ganbench.cache_dir`; delete its files at any time.

    Args:
        about: everything that the tensors depend on, beside their names, such as a hash of the samples. The version
            of torch is added: others round differently.
    """

    about: str

    def path(self, name: str) -> Path:
        """Where the tensor ``name`` is, if it is kept."""
        key = hashlib.sha256(f"{self.about}\0{name}\0{torch.__version__}".encode()).hexdigest()
        return cache_dir() / "measures" / f"{key[:32]}.safetensors"

    def kept(self, name: str, make: Callable[[], Tensor], device: torch.device) -> Tensor:
        """The tensor ``name`` from disk, or else made, and kept if that took long.

        A file that is damaged or holds something else is replaced. Processes may write at once: each file is whole.
        """
        path = self.path(name)
        found = _read(path, name)
        if found is not None:
            return found.to(device)
        begun = now()
        made = make()
        if now() - begun >= WORTH_S and made.numel() * made.element_size() <= LARGEST:
            _write(path, name, made)
        return made


def digest_of(*tensors: Tensor) -> str:
    """SHA-256 of types, shapes and values."""
    total = hashlib.sha256()
    for x in tensors:
        total.update(f"{x.dtype} {list(x.shape)}".encode())
        total.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().data if x.numel() else b"")
    return total.hexdigest()


def _read(path: Path, name: str) -> Tensor | None:
    """The tensor in ``path``, or None where the file is not what was written under ``name``."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts: Mapping[str, str] = file.metadata() or {}
            value: Tensor = file.get_tensor("value")
    except (OSError, safetensors.SafetensorError):
        return None
    return value if facts.get("name") == name and facts.get("sha256") == digest_of(value) else None


def _write(path: Path, name: str, value: Tensor) -> None:
    value = value.detach().cpu().contiguous()
    content = safetensors.torch.save({"value": value}, {"name": name, "sha256": digest_of(value)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
    except (OSError, ResultsError) as error:
        # the numbers are there all the same; only the next process computes again
        warnings.warn(f"what metrics need of real samples is not kept: {error}", stacklevel=2)
