"""What a check finds, and the checks that every role shares."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ganbench.component import USE, Component, fields


@dataclass(frozen=True)
class Finding:
    """One check: the sentence that should hold, whether it does, and what was seen instead."""

    name: str
    ok: bool
    message: str = ""


class BrokenError(Exception):
    """A check does not hold."""


Check = tuple[str, Callable[[], None]]


def identity(component: Component) -> list[Check]:
    """Checks that hold for a component of any role."""

    def documented() -> None:
        expect(bool(type(component).summary()), "its class has no docstring; the first sentence is its formula")
        source = type(component).source
        expect(not source or source.startswith("http"), f"its source {source!r} is not a URL")

    def table() -> None:
        inner = [v for v in (getattr(component, f.name) for f in fields(type(component))) if isinstance(v, Component)]
        written = component.to_table()
        values = {key: value for key, value in written.items() if key != USE}
        read = type(component).from_table(
            values, resolve=lambda _, value, __: next(c for c in inner if c.to_table() == value)
        )
        same = read == component and read.fingerprint == component.fingerprint
        expect(same, f"{written} was read as {read.to_table()}")

    return [("says what it is", documented), ("survives being written as a table and read again", table)]


def pure(function: Callable[..., Any], inputs: Sequence[Any]) -> list[Check]:
    """Checks that a function of tensors writes to none of them and returns the same for the same."""

    def unmodified() -> None:
        given = copy.deepcopy(inputs)
        function(*given)
        same(inputs, given)

    def repeatable() -> None:
        same(function(*inputs), function(*inputs))

    return [
        ("leaves its inputs as they were", unmodified),
        ("gives the same for the same inputs", repeatable),
    ]


def run(checks: Sequence[Check]) -> list[Finding]:
    """Every check, and whether any of them moved a global generator."""
    findings, touched = [], ""
    for name, test in checks:
        before = _global_state()
        try:
            test()
        except BrokenError as error:
            findings.append(Finding(name, ok=False, message=str(error)))
        except Exception as error:  # noqa: BLE001 # a plugin may raise anything; it is what the check found
            findings.append(Finding(name, ok=False, message=f"{type(error).__name__}: {error}"))
        else:
            findings.append(Finding(name, ok=True))
        if not touched and _global_state() != before:
            touched = f"it was used while checking that it {name}"
    return [*findings, Finding("leaves the global generators alone", ok=not touched, message=touched)]


def _global_state() -> tuple[bytes, ...]:
    legacy = np.random.get_state(legacy=False)  # noqa: NPY002 # it is the global one that must not move
    return torch.get_rng_state().numpy().tobytes(), repr(legacy).encode(), repr(random.getstate()).encode()


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 # it is what assert has
    """Raise :class:`BrokenError` with what was seen instead, unless the check ``holds``."""
    if not holds:
        raise BrokenError(otherwise)


def finite(tree: object, where: str) -> None:
    """Every number in a tree of tensors is finite."""
    for leaf in pytree.tree_leaves(tree):
        expect(bool(torch.isfinite(leaf).all()), f"a value is not finite {where}")


def same(first: object, second: object) -> None:
    """Two trees of tensors and numbers are equal, bit by bit."""
    one, two = pytree.tree_leaves(first), pytree.tree_leaves(second)
    expect(len(one) == len(two), "the numbers of tensors differ")
    for a, b in zip(one, two, strict=True):
        equal = torch.equal(a, b) if isinstance(a, Tensor) else a == b or (a != a and b != b)  # noqa: PLR0124 # NaN
        expect(equal, "a value differs")


def alike(before: Mapping[str, Any], after: Mapping[str, Any], what: str) -> None:
    """Two dictionaries of tensors have the same names, shapes and types."""
    expect(set(before) == set(after), f"{what}: the names {list(before)} became {list(after)}")
    for name, value in before.items():
        other = after[name]
        if isinstance(value, Mapping):
            alike(value, other, f"{what}.{name}")
            continue
        expect(isinstance(other, Tensor), f"{what}: {name} is a {type(other).__name__}, expected a tensor")
        expect(other.shape == value.shape, f"{what}: {name} {list(value.shape)} became {list(other.shape)}")
        expect(other.dtype == value.dtype, f"{what}: {name} {value.dtype} became {other.dtype}")
