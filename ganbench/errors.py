"""The errors that users see: each says what was wrong, where, and the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GanbenchError(Exception):
    """Something a user can put right: printed as one message, never with a traceback of ours.

    Args:
        message: what was wrong, with the value quoted.
        place: where, as a path in the grid file (``[grid] loss[1].a``), a file, or a command-line option.
        hint: what to do about it.
    """

    exit_code = 2

    def __init__(self, message: str, *, place: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.hint = hint

    def at(self, place: str) -> GanbenchError:
        """The same error, with ``place`` in front of the place it already names."""
        joined = place + self.place if self.place.startswith((".", "[")) else f"{place} {self.place}".strip()
        return type(self)(self.message, place=joined, hint=self.hint)

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(GanbenchError):
    """A grid file, a field or an option is wrong."""


class PluginError(GanbenchError):
    """A plugin could not be loaded or does not keep its contract.

    Args:
        traceback: the frames inside the plugin's own file, shown under the message.
    """

    def __init__(self, message: str, *, place: str = "", hint: str = "", traceback: str = "") -> None:
        super().__init__(message, place=place, hint=hint)
        self.traceback = traceback

    def at(self, place: str) -> PluginError:
        placed = super().at(place)
        return PluginError(placed.message, place=placed.place, hint=placed.hint, traceback=self.traceback)


class ContractError(GanbenchError):
    """A component broke the contract of its role while it ran, such as scores of shape [B, 1] for [B]."""


class ResultsError(GanbenchError):
    """A results folder is missing, unreadable or not writable."""


class StorageError(ResultsError):
    """The disk is full or no longer writable: no trial is at fault, so the run stops, and the same command goes on."""


class DeviceError(GanbenchError):
    """The requested device is not there."""


class CheckFailedError(GanbenchError):
    """A comparison or a check failed (exit code 1)."""

    exit_code = 1


def an(noun: str) -> str:
    """``a loss`` or ``an optimizer``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'hinge'?`` for the closest known name, or the known names if none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known: {shown}" if names else "none is known"
