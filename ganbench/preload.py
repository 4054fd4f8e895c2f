"""Imported once by the fork server, so that the process of a cell starts with torch and every plugin loaded.

Nothing here may run a parallel operation or touch a GPU: neither survives a fork.
"""

import contextlib

import ganbench.worker
from ganbench.registry import Registry

with contextlib.suppress(Exception):  # a broken plugin is reported by the driver, where somebody reads it
    Registry.load()

__all__ = ["ganbench"]
