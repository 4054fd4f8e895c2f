"""The JSON Schema of grid files, made from the components that are loaded: editors complete and check with it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from ganbench.component import USE, Component, field_types, fields, is_required, plain
from ganbench.grid import AXES, BECAUSE, DEFAULTS, RUN_NAME, SWEEP, Settings
from ganbench.registry import ROLES, Registry

Schema = dict[str, Any]
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
SIMPLE = {int: "integer", float: "number", str: "string", bool: "boolean"}
SWEPT = "-or-sweep"
"""Ends the name of the definition of a component whose fields may be swept."""


def grid_schema(registry: Registry) -> Schema:
    """The schema (draft 2020-12) of grid files over the components of ``registry``.

    It knows names, fields, types and ranges; what only the values decide together (a mismatch, zipped axes of
    different lengths) is left to ``ganbench plan``.
    """
    definitions: dict[str, Schema] = {}
    for role in ROLES:
        if registry.names(role):
            definitions[role] = _choice(registry, role, swept=False)
            definitions[role + SWEPT] = _choice(registry, role, swept=True)
    block = _block(registry)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ganbench grid",
        "description": "A grid of GANs: every combination of the axes is trained with the same seeds.",
        "type": "object",
        "properties": {
            "run": _run(),
            "grid": {"anyOf": [{"$ref": "#/$defs/block"}, _list({"$ref": "#/$defs/block"})]},
            "exclude": {
                "anyOf": [{"$ref": "#/$defs/exclude"}, {"type": "array", "items": {"$ref": "#/$defs/exclude"}}]
            },
        },
        "required": ["grid"],
        "additionalProperties": False,
        "$defs": {"block": block, "exclude": _exclude(registry), **definitions},
    }


def _run() -> Schema:
    name = {"type": "string", "pattern": f"^{RUN_NAME}$", "description": "the run's folder; the file's name by default"}
    return _table("How every cell is trained.", {"name": name} | _fields(Settings, swept=False))


def _block(registry: Registry) -> Schema:
    shared = _fields(Settings, swept=False)
    axes: dict[str, Schema] = {}
    for role in AXES:
        entry: Schema = {"anyOf": [_ref(registry, role, swept=True), {"type": "string", "pattern": r"\*"}]}
        items = {"anyOf": [entry, {"type": "array", "items": entry}]} if role == "regularizer" else entry
        axes[role] = {"description": f"alternatives for the {role}", "anyOf": [entry, _list(items)]}
        if role in DEFAULTS:
            axes[role]["default"] = DEFAULTS[role]
    metric = _ref(registry, "metric", swept=False)
    axes["metrics"] = {
        "description": "instead of the dataset's own",
        "anyOf": [metric, {"type": "array", "items": metric}],
    }
    bundle = {"type": "array", "items": {"enum": list(AXES)}, "minItems": 2, "uniqueItems": True}
    axes["zip"] = {
        "description": "axes that go together, entry by entry, instead of in every combination",
        "anyOf": [bundle, {"type": "array", "items": bundle}],
    }
    axes |= {key: shared[key] for key in ("steps", "batch")}
    required = [role for role in AXES if role not in DEFAULTS]
    return _table("The axes; their product is trained.", axes) | {"required": required}


def _exclude(registry: Registry) -> Schema:
    found: dict[str, Schema] = {BECAUSE: {"type": "string", "description": "the reason, shown in tables"}}
    for role in AXES:
        entry = _ref(registry, role, swept=False)
        stack = {"anyOf": [entry, {"type": "array", "items": entry}]} if role == "regularizer" else entry
        found[role] = {"anyOf": [entry, _list(stack)]}
    named = {"anyOf": [{"required": [role]} for role in AXES]}
    return _table("Combinations that are left out: those with all of these.", found) | named


def _ref(registry: Registry, role: str, *, swept: bool) -> Schema:
    return {"$ref": f"#/$defs/{role}{SWEPT if swept else ''}"} if registry.names(role) else {"type": "string"}


def _choice(registry: Registry, role: str, *, swept: bool) -> Schema:
    """A component of a role: its name, or a table with its fields; with ``swept``, also alternatives of those."""
    classes = [registry.get(role, name) for name in registry.names(role)]
    tables = [_component(cls, swept=swept) for cls in classes]
    names = [{"const": cls.name, "description": " ".join(cls.summary().split())} for cls in classes]
    sweep = [_sweep({"$ref": f"#/$defs/{role}{SWEPT}"})] if swept else []
    return {"anyOf": [*names, *tables, *sweep]}


def _component(cls: type[Component], *, swept: bool) -> Schema:
    required = [f.name for f in fields(cls) if is_required(f)]
    table = _table(" ".join(cls.summary().split()), {USE: {"const": cls.name}} | _fields(cls, swept=swept))
    return table | {"required": [USE, *required]}


def _fields(cls: type[Component], *, swept: bool) -> dict[str, Schema]:
    found = {}
    for f in fields(cls):
        value = _type(field_types(cls)[f.name], f.metadata.get("bounds", {}), swept=swept)
        about: Schema = {"description": f.metadata["doc"]} if f.metadata.get("doc") else {}
        if f.default is not dataclasses.MISSING and f.default is not None:
            about["default"] = plain(f.default)
        found[f.name] = about | ({"anyOf": [value, _sweep(value)]} if swept else value)
    return found


def _type(hint: Any, bounds: Mapping[str, float], *, swept: bool) -> Schema:
    """The schema of an annotation; ``bounds`` hold for every number in it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in {typing.Union, types.UnionType}:
        options = [_type(a, bounds, swept=swept) for a in args if a is not types.NoneType]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return {"type": "array", "items": _type(args[0], bounds, swept=swept)}
    if origin is tuple:
        items = [_type(a, bounds, swept=swept) for a in args]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(args[1], bounds, swept=swept)}
    if isinstance(hint, type) and issubclass(hint, Component):
        return {"$ref": f"#/$defs/{hint.role}{SWEPT if swept else ''}"}
    if hint in {int, float}:
        return {"type": SIMPLE[hint]} | {BOUNDS[kind]: bound for kind, bound in bounds.items()}
    return {"type": SIMPLE[hint]} if hint in SIMPLE else {}


def _sweep(value: Schema) -> Schema:
    return _table("One cell for each of these.", {SWEEP: _list(value)}) | {"required": [SWEEP]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _table(description: str, properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "additionalProperties": False,
    }
