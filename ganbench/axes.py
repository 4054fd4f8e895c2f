"""One ``[grid]`` block becomes the alternatives of each axis, and these their product."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ganbench.cell import AXES
from ganbench.errors import ConfigError, nearest
from ganbench.registry import Registry

DEFAULTS: dict[str, Any] = {"regularizer": "none", "optimizer": "adam", "update": "alternating"}
"""What an axis is where a grid does not name it; the others must be named."""
SWEEP = "sweep"


def alternatives(role: str, block: Mapping[str, Any], place: str, registry: Registry) -> list[Any]:
    """The alternatives of one axis; of the regularizer axis, stacks."""
    if role not in block and role not in DEFAULTS:
        raise ConfigError(f"the axis {role!r} is missing", place=place, hint=f'add {role} = ["name", ...]')
    value = block.get(role, DEFAULTS.get(role))
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise ConfigError(f"the axis {role!r} is empty, so the grid has no cell", place=f"{place} {role}")
    found: list[Any] = []
    for i, item in enumerate(listed):
        at = f"{place} {role}[{i}]" if isinstance(value, list) else f"{place} {role}"
        if role != "regularizer":
            found += [registry.parse(role, v, at) for v in _expand(item, at, role, registry)]
            continue
        stack = item if isinstance(item, list) else [item]
        places = [f"{at}[{j}]" if isinstance(item, list) else at for j in range(len(stack))]
        expanded = [_expand(v, where, role, registry) for v, where in zip(stack, places, strict=True)]
        for values in itertools.product(*expanded):
            found.append(tuple(registry.parse(role, v, where) for v, where in zip(values, places, strict=True)))
    return found  # repeated alternatives too: they may be zipped with others, and a cell counts once anyway


def _expand(value: Any, place: str, role: str, registry: Registry) -> list[Any]:
    """The alternatives that one entry of an axis stands for: what a glob matches, or a table without its sweeps."""
    if isinstance(value, str) and "*" in value:
        names: list[Any] = fnmatch.filter(registry.names(role), value)
        if not names:
            raise ConfigError(f"{value!r} matches no {role}", place=place, hint=nearest(value, registry.names(role)))
        return names
    return _sweep(value, place)


def _sweep(value: Any, place: str) -> list[Any]:
    """``value`` without its ``{ sweep = [...] }`` tables: the product of all their alternatives."""
    if not isinstance(value, Mapping):
        return [value]
    if set(value) == {SWEEP}:
        swept = value[SWEEP]
        if not isinstance(swept, list) or not swept:
            raise ConfigError(f"{swept!r} is not a list of alternatives", place=f"{place}.{SWEEP}")
        return [v for item in swept for v in _sweep(item, place)]
    choices = [_sweep(v, f"{place}.{key}") for key, v in value.items()]
    return [dict(zip(value, chosen, strict=True)) for chosen in itertools.product(*choices)]


def product(axes: Mapping[str, list[Any]], zipped: object, place: str) -> Iterator[tuple[Any, ...]]:
    """The product of the axes, where each group of zipped axes moves as one."""
    groups = zipped if isinstance(zipped, list) else [zipped]
    if groups and all(isinstance(g, str) for g in groups):
        groups = [groups]
    seen: set[str] = set()
    bundles: list[tuple[tuple[str, ...], list[tuple[Any, ...]]]] = []
    for i, group in enumerate(groups):
        at = f"{place}[{i}]"
        if not (isinstance(group, list) and len(group) > 1 and all(isinstance(r, str) for r in group)):
            raise ConfigError(
                f"{group!r} is not a list of axes", place=at, hint='write [["generator", "discriminator"]]'
            )
        for role in group:
            if role not in axes:
                raise ConfigError(f"{role!r} is no axis", place=at, hint=nearest(role, axes))
            if role in seen:
                raise ConfigError(f"the axis {role!r} is zipped twice", place=at)
            seen.add(role)
        lengths = {role: len(axes[role]) for role in group}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{role} has {n}" for role, n in lengths.items())
            raise ConfigError(f"zipped axes differ in length: {told}", place=at)
        bundles.append((tuple(group), list(zip(*(axes[role] for role in group), strict=True))))
    # a bundle takes the place of its first axis, so that cells come in the order of AXES
    bundles += [((role,), [(v,) for v in values]) for role, values in axes.items() if role not in seen]
    bundles.sort(key=lambda bundle: min(AXES.index(role) for role in bundle[0]))
    for chosen in itertools.product(*(values for _, values in bundles)):
        cell = {
            r: v for (roles, _), part in zip(bundles, chosen, strict=True) for r, v in zip(roles, part, strict=True)
        }
        yield tuple(cell[role] for role in AXES)
