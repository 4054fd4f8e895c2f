"""Who is told of a run: a display, and the hooks of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pluggy

    from ganbench.grid import Trial
    from ganbench.records import Record
    from ganbench.registry import Registry
    from ganbench.runner import Run


class Display(Protocol):
    """Where progress is shown."""

    def begin(self, run: Run) -> None:
        """The run begins."""

    def started(self, slot: int, trial: Trial) -> None:
        """A trial began in the process of a slot."""

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        """A trial has finished ``step`` steps."""

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        """A trial's record is on disk."""

    def stopped(self, slot: int, trial: Trial) -> None:
        """The process of a slot has left a trial, which goes on later in another."""

    def note(self, text: str) -> None:
        """Something a user should read once."""

    def tick(self) -> None:
        """The driver is alive, and has heard whatever there was to hear; called several times a second."""

    def end(self) -> None:
        """The run ended, well or not."""


class Silent:
    """A display that shows nothing."""

    def begin(self, run: Run) -> None: ...
    def started(self, slot: int, trial: Trial) -> None: ...
    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None: ...
    def finished(self, slot: int, trial: Trial, record: Record) -> None: ...
    def stopped(self, slot: int, trial: Trial) -> None: ...
    def note(self, text: str) -> None: ...
    def tick(self) -> None: ...
    def end(self) -> None: ...


class Several:
    """Displays that all show the same."""

    def __init__(self, *displays: Display) -> None:
        self.displays = displays

    def begin(self, run: Run) -> None:
        for display in self.displays:
            display.begin(run)

    def started(self, slot: int, trial: Trial) -> None:
        for display in self.displays:
            display.started(slot, trial)

    def stepped(self, slot: int, trial: Trial, step: int, logs: Mapping[str, float]) -> None:
        for display in self.displays:
            display.stepped(slot, trial, step, logs)

    def finished(self, slot: int, trial: Trial, record: Record) -> None:
        for display in self.displays:
            display.finished(slot, trial, record)

    def stopped(self, slot: int, trial: Trial) -> None:
        for display in self.displays:
            display.stopped(slot, trial)

    def note(self, text: str) -> None:
        for display in self.displays:
            display.note(text)

    def tick(self) -> None:
        for display in self.displays:
            display.tick()

    def end(self) -> None:
        for display in self.displays:
            display.end()


def call_observers(
    registry: Registry,
    name: str,
    arguments: Mapping[str, Any],
    complained: set[str],
    note: Callable[[str], None],
) -> None:
    """Call each implementation of the hook ``name`` by itself, so that one that raises stops no other."""
    implementations: list[pluggy.HookImpl] = getattr(registry.manager.hook, name).get_hookimpls()
    for impl in reversed(implementations):
        try:
            impl.function(*(arguments[a] for a in impl.argnames))
        except Exception as error:  # noqa: BLE001 # somebody's observer may raise anything
            origin = str(registry.origins.get(impl.plugin, impl.plugin_name))
            if origin not in complained:
                complained.add(origin)
                note(f"plugin {origin} failed in {name}: {type(error).__name__}: {error} (reported once)")
