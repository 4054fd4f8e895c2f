"""Let torch's operations over lists of tensors, which optimizers are written with, be mapped over seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PREFIX = "_foreach_"


@functools.cache
def batch() -> object:
    """Teach ``torch.vmap`` the operations ``torch._foreach_*``: tensor by tensor, as they are defined.

    torch has no batching rules for them. The registration lasts as long as the process, and acts on stacked
    tensors alone. What it returns keeps it.
    """
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call] # torch leaves it untyped
    for packet, overload in _operations():
        library.impl(f"{packet}.{overload}" if overload else packet, _by_tensor(packet), "FuncTorchBatched")
    return library


def _operations() -> list[tuple[str, str]]:
    """(name, overload) of every operation over lists that has a counterpart for single tensors."""
    found = []
    for name in dir(torch):
        if name.startswith(PREFIX) and _single(name) is not None:
            packet = getattr(torch.ops.aten, name)
            found += [(name, "" if o == "default" else o) for o in packet.overloads() if not o.endswith("out")]
    return found


def _single(name: str) -> Callable[..., Tensor] | None:
    """The operation on one tensor, out of place."""
    return getattr(torch, name.removeprefix(PREFIX).removesuffix("_"), None)


def _by_tensor(name: str) -> Callable[..., list[Tensor] | None]:
    operation = _single(name)
    assert operation is not None
    in_place = name.endswith("_")
    # the factor of these is positional over lists, and is not for single tensors
    scaled = name.removeprefix(PREFIX).removesuffix("_") in {"addcmul", "addcdiv"}

    def run(tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Tensor] | None:
        made = []
        for i, tensor in enumerate(tensors):
            own = [a[i] if isinstance(a, list | tuple) else a for a in args]
            named = {k: v[i] if isinstance(v, list | tuple) else v for k, v in kwargs.items()}
            if scaled and len(own) > 2:
                named["value"] = own.pop()
            made.append(operation(tensor, *own, **named))
        if not in_place:
            return made
        for tensor, value in zip(tensors, made, strict=True):
            tensor.copy_(value)
        return None

    return run
