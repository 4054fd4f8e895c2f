"""Whether the steps of an engine are replayed as CUDA graphs, or something fell back."""

from __future__ import annotations

from pathlib import Path

from fitting import trainers_of

from ganbench.cell import Cell
from ganbench.engines import Together


def not_replayed(engine: Together) -> list[str]:
    """What there is to say of each kind of step that ``engine`` has taken and that was not replayed."""
    told = []
    for active, kind in engine.kinds.items():
        graph = getattr(kind, "graph", None)
        if graph is None:
            told.append(f"{active}: Python runs it, since it could not be traced")
        elif not graph.replayed:
            told.append(f"{active}: launched kernel by kernel, since it could not be captured or differs replayed")
    return told or ([] if engine.kinds else ["no step was taken"])


def fallbacks(cell: Cell, folder: Path, device: str, *, mapped: bool = True, compiled: bool = False) -> list[str]:
    """:func:`not_replayed` of a few steps of ``cell``."""
    group = trainers_of(cell, folder, device, seeds=2 if mapped else 1)
    engine = Together(group, mapped=mapped, compiled=compiled)
    engine.advance(2)
    return not_replayed(engine)
