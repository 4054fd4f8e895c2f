"""Everything a trial needs to go on bit for bit: tensors as safetensors, the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ganbench.records import replacing, write_json
from ganbench.state import State

TENSORS, REST = "checkpoint.safetensors", "state.json"
SCHEMA = "2"
"""Of what a checkpoint holds beside the state; a trial with a checkpoint of another one starts anew."""


def save(folder: Path, state: State, feed: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Write a checkpoint: tensors first, then ``state.json``, which says which tensors it belongs to.

    Raises:
        ResultsError: the folder is not writable or the disk is full; the checkpoint before is still whole.
    """
    tensors = flatten(state) | {f"feed.{name}": t for name, t in feed.items()}
    with replacing(folder / TENSORS) as partial:
        # a copy each: safetensors refuses tensors that share memory
        step = str(int(state.step))
        copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        save_file(
            copies, partial, metadata={"schema": SCHEMA, "step": step, "rest": json.dumps(dict(rest), allow_nan=False)}
        )
    write_json(folder / REST, {"step": int(state.step), **rest})


def load(folder: Path, template: State, device: torch.device) -> tuple[State, dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint in ``folder`` as (state shaped like ``template``, feed, rest), or None if there is none that fits.

    The tensors and the rest are read from one file, so that they are of one moment whenever the writer died.
    """
    path = folder / TENSORS
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata()
            if metadata.get("schema") != SCHEMA:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # a handle, not a dictionary
        rest = json.loads(metadata["rest"])
        feed = {name.removeprefix("feed."): t.clone() for name, t in tensors.items() if name.startswith("feed.")}
        return unflatten(template, tensors, device), feed, rest
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None  # torn or of another version of the cell: the trial starts anew


def flatten(state: State) -> dict[str, Tensor]:
    """Every tensor of a state by its path, such as ``g/params/body.0.weight``; logs are left out."""
    found: dict[str, Tensor] = {}

    def visit(path: str, value: object) -> object:
        if isinstance(value, Tensor):
            found[path] = value
        return value

    _walk("", state._replace(logs={}), visit)
    return found


def unflatten(template: State, tensors: Mapping[str, Tensor], device: torch.device) -> State:
    """A state shaped like ``template`` with the tensors of :func:`flatten`.

    Raises:
        KeyError: a tensor is missing.
        ValueError: one has another shape.
    """

    def visit(path: str, value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        found = tensors[path]
        if found.shape != value.shape or found.dtype != value.dtype:
            raise ValueError(f"{path} is {list(found.shape)}, expected {list(value.shape)}")
        # a copy on the CPU too: tensors of a mapped file are aligned otherwise, and kernels round by alignment
        return torch.empty_like(value, device=device).copy_(found)

    rebuilt = _walk("", template._replace(logs={}), visit)
    assert isinstance(rebuilt, State)
    return rebuilt


def _walk(path: str, value: Any, visit: Callable[[str, object], object]) -> Any:
    """``value`` rebuilt with ``visit`` at every leaf of its dictionaries and tuples."""

    def inner(key: object) -> str:
        return f"{path}/{key}" if path else str(key)

    if isinstance(value, dict):
        return {k: _walk(inner(k), v, visit) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_walk(inner(k), v, visit) for k, v in zip(value._fields, value, strict=True)))
    if isinstance(value, tuple):
        return tuple(_walk(inner(i), v, visit) for i, v in enumerate(value))
    return visit(path, value)
