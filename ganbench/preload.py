"""Imported once by the fork server, so that the process of a cell starts with torch and every plugin loaded.

Nothing here may run a parallel operation or touch a GPU: neither survives a fork.
"""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def for_good() -> Iterator[None]:
    """Import without looking for garbage; forked processes will not look through it either, or copy its memory."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server does it only when all is imported; the driver decides

with for_good():
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    import ganbench.worker
    from ganbench.registry import Registry

    PIL.Image.preinit()
    with contextlib.suppress(Exception):  # a broken plugin is reported by the driver, where somebody reads it
        Registry.load()

__all__ = ["for_good", "ganbench"]
