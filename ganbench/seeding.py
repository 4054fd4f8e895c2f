"""Named random streams: equal seeds give equal data, latents and initial weights in every cell."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator


def stream_seed(seed: int, name: str) -> int:
    """The 64-bit seed of stream ``name``: ``SeedSequence(seed, spawn_key=sha256(name))``.

    The cell does not enter, so adding an axis, a metric or a regularizer never shifts another stream.
    """
    import numpy as np

    words = hashlib.sha256(name.encode()).digest()[:16]
    key = tuple(int.from_bytes(words[i : i + 4], "little") for i in range(0, 16, 4))
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


def stream(seed: int, name: str) -> Generator:
    """A fresh generator at the start of the stream ``name`` of ``seed``; always on the CPU.

    Names in use: ``data``, ``latent``, ``init-g``, ``init-d``, ``eval``, ``noise-d``, ``regularizer-0``,
    ``regularizer-1``...
    CPU streams give the same numbers on every device. (torch's generator takes 32 bits of the seed, so two
    streams of a study of 100 streams coincide with a chance of about 1e-6.)
    """
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, name))


@contextlib.contextmanager
def global_stream(seed: int, name: str) -> Iterator[None]:
    """Let code that draws from torch's global generator (``nn`` initialisers) draw from a named one, then restore."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, name))
        yield
