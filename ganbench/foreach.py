"""Let torch's operations over lists of tensors, which optimizers are written with, be mapped over seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

PREFIX = "_foreach_"
LEVEL = "FuncTorchBatched"
_functorch: Any = torch._C._functorch  # noqa: SLF001 # nothing public tells how a tensor is mapped


@functools.cache
def batch() -> object:
    """Teach ``torch.vmap`` the operations ``torch._foreach_*``, for which it has no rules.

    Where every tensor has the seed axis in front they stay one operation over lists, on the stacked tensors; elsewhere
    they are done tensor by tensor, as they are defined. The registration lasts as long as the process, and acts on
    stacked tensors alone. What it returns keeps it.
    """
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call] # torch leaves it untyped
    for packet, overload in _operations():
        library.impl(f"{packet}.{overload}" if overload else packet, _rule(packet, overload or "default"), LEVEL)
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


def _rule(name: str, overload: str) -> Callable[..., list[Tensor] | None]:
    by_tensor = _by_tensor(name)
    whole = getattr(getattr(torch.ops.aten, name), overload)
    if "norm" in name or "max" in name.split("_"):  # they reduce each tensor, seeds and all
        return by_tensor
    keys: Any = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, LEVEL))  # noqa: SLF001 # as torch's own rules do
    excluded: Any = torch._C._ExcludeDispatchKeyGuard  # noqa: SLF001 # it is in C++

    def run(*args: Any, **kwargs: Any) -> list[Tensor] | None:
        level = _functorch.maybe_current_level()
        stacked = _stacked([*args, *kwargs.values()], level)
        if stacked is None:
            return by_tensor(*args, **kwargs)
        plain = iter(stacked)
        given = [next(plain) for _ in args]
        with excluded(keys):
            made = whole(*given, **dict(zip(kwargs, plain, strict=True)))
        # in place, the tensors that were given have the result
        return None if made is None else [_functorch._add_batch_dim(t, 0, level) for t in made]  # noqa: SLF001 # as above

    return run


def _stacked(values: Sequence[Any], level: int) -> list[Any] | None:
    """``values`` with tensors as they lie in memory, seed axis and all; None where not every list has it in front.

    A tensor that all of a list shares must have no such axis.
    """
    found: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            if _functorch.is_batchedtensor(value):
                return None
            found.append(value)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Tensor):
            if any(not _functorch.is_batchedtensor(t) or _functorch.maybe_get_level(t) != level for t in value):
                return None
            if any(_functorch.maybe_get_bdim(t) != 0 for t in value):
                return None
            found.append([_functorch.get_unwrapped(t) for t in value])
        else:
            found.append(value)
    # shapes that differ would be broadcast without regard to whose axis is whose
    lists = [v for v in found if isinstance(v, list) and v and isinstance(v[0], Tensor)]
    same = all(a.shape == b.shape for other in lists[1:] for a, b in zip(lists[0], other, strict=True))
    return found if same else None


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
