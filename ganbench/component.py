"""Components: frozen dataclasses whose fields are their TOML keys, their documentation and their fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Self, TypeVar, dataclass_transform

from ganbench.errors import ConfigError, PluginError, an, nearest

if typing.TYPE_CHECKING:
    from ganbench.grid import Cell

T = TypeVar("T")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
USE = "use"  # the TOML key that names the component in a table
Resolver = Callable[[str, object, str], "Component"]
"""Turns (role, TOML value, place) into a component: how a field that holds a component is read."""


def field(
    default: T,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    doc: str = "",
) -> T:
    """A field with a range and a description.

    Example: ``gamma: float = field(default=10.0, ge=0.0, doc="coefficient")``.

    Args:
        default: the value without one in the grid; it should reproduce the cited paper.
        ge: least allowed value.
        gt: bound the value must exceed.
        le: greatest allowed value.
        lt: bound the value must stay below.
        doc: one line for ``ganbench show``, with the unit.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    metadata = {"bounds": {k: v for k, v in bounds.items() if v is not None}, "doc": doc}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, dataclasses.field))
class Component:
    """A value that fills a role. Subclasses are made frozen, keyword-only dataclasses; no decorator is needed.

    ``class R1(Regularizer, name="r1", source="https://...")`` gives the subclass its identity. Values are
    checked against the annotations and the ranges of :func:`field` when a component is made, from Python and
    from TOML alike; a check over several fields goes into :meth:`validate`.
    """

    role: ClassVar[str] = ""
    name: ClassVar[str] = ""
    source: ClassVar[str] = ""
    twice_differentiable: ClassVar[bool] = True
    """Whether its gradients can be derived again, as penalties on gradients and second-order update rules do."""

    def __init_subclass__(cls, *, name: str = "", source: str = "", role: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name, cls.source = name, source
        if role:
            cls.role = role
        if name and not NAME.fullmatch(name):
            raise PluginError(
                f"component name {name!r} is not lower-case words joined by hyphens",
                place=f"{cls.__module__}.{cls.__qualname__}",
            )
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if USE in {f.name for f in dataclasses.fields(cls)}:  # type: ignore[arg-type] # made one the line before
            raise PluginError(f"a field may not be called {USE!r}", place=f"{cls.__module__}.{cls.__qualname__}")

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = convert(getattr(self, name), hint, place=f".{name}")
            object.__setattr__(self, name, value)
        for f in fields(type(self)):
            check_bounds(getattr(self, f.name), f.metadata.get("bounds", {}), place=f".{f.name}")
        self.validate()

    def validate(self) -> None:
        """Raise :class:`ConfigError` if the fields do not fit together."""

    def mismatch(self, cell: Cell) -> str | None:
        """Why this component refuses to work in ``cell``, or None. The cell becomes a skipped row with the reason."""
        del cell
        return None

    def advice(self, cell: Cell) -> str | None:
        """What is doubtful about this component in ``cell``, which is trained all the same, or None."""
        del cell
        return None

    def to_table(self) -> dict[str, Any]:
        """This component as TOML: ``{"use": name, field: value, ...}`` with every field, defaults included."""
        values = {f.name: plain(getattr(self, f.name)) for f in fields(type(self))}
        return {USE: self.name} | {k: v for k, v in values.items() if v is not None}

    def with_values(self, **values: Any) -> Self:
        """A copy with other ``values`` of fields, which are not checked: within a step they may be tensors [].

        Nothing that was derived from the old values and kept is copied.
        """
        copy = object.__new__(type(self))
        for f in fields(type(self)):
            object.__setattr__(copy, f.name, values.get(f.name, getattr(self, f.name)))
        return copy

    @property
    def label(self) -> str:
        """``r1``, or ``r1(gamma=1)`` where fields differ from their defaults."""
        changed = []
        for f in fields(type(self)):
            value = getattr(self, f.name)
            if value != f.default:
                changed.append(f"{f.name}={_short(value)}")
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of role, name and every field: equal for equal components on any machine."""
        return digest({"role": self.role} | self.to_table())

    @classmethod
    def summary(cls) -> str:
        """The first sentence of the docstring: the formula or the contract."""
        doc = (cls.__doc__ or "").strip()
        # a dataclass without a docstring gets its signature as one
        return "" if doc.startswith(f"{cls.__name__}(") else doc.split("\n\n")[0].replace("\n", " ").strip()

    @classmethod
    def title(cls) -> str:
        """What messages call it: ``regularizer 'r1'``."""
        return f"{cls.role} {cls.name!r}"

    @classmethod
    def from_table(cls, table: Mapping[str, Any], *, place: str = "", resolve: Resolver | None = None) -> Self:
        """The component that ``table`` (fields only, without ``use``) describes.

        Raises:
            ConfigError: an unknown field, a wrong type or a value out of range, naming ``place``.
        """
        hints = field_types(cls)
        values = {}
        for key, value in table.items():
            if key not in hints:
                raise ConfigError(
                    f"{cls.title()} has no field {key!r}",
                    place=place,
                    hint=nearest(key, hints) if hints else "it has no fields",
                )
            values[key] = convert(value, hints[key], place=f"{place}.{key}", resolve=resolve)
        for f in fields(cls):
            if is_required(f) and f.name not in values:
                hint = f"it has no default; add {f.name} = {describe(hints[f.name])}"
                raise ConfigError(f"{cls.title()} needs the field {f.name!r}", place=place, hint=hint)
        try:
            return cls(**values)
        except ConfigError as error:
            raise error.at(place) from None


def fields(cls: type[Component]) -> tuple[dataclasses.Field[Any], ...]:
    """The dataclass fields of a component class, in order of definition."""
    return dataclasses.fields(cls)  # type: ignore[arg-type] # __init_subclass__ makes every subclass a dataclass


_FIELD_TYPES: dict[type[Component], dict[str, Any]] = {}
"""What :func:`field_types` has resolved: components are made often, annotations never change."""


def is_required(f: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def field_types(cls: type[Component]) -> dict[str, Any]:
    """The annotation of each field of ``cls``, resolved.

    Raises:
        PluginError: an annotation names something its module does not have at run time.
    """
    if cls not in _FIELD_TYPES:
        try:
            hints = typing.get_type_hints(cls)
        except NameError as error:
            raise PluginError(
                f"an annotation of {cls.__qualname__} cannot be resolved: {error}",
                place=cls.__module__,
                hint="import the name outside `if TYPE_CHECKING`",
            ) from error
        _FIELD_TYPES[cls] = {f.name: hints[f.name] for f in fields(cls)}
    return _FIELD_TYPES[cls]


def describe(hint: Any) -> str:
    """``float``, ``'d' | 'g'`` or ``list of int`` for an annotation, as an error message or a table says it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(repr(a) for a in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"list of {describe(args[0])}"
        return f"[{', '.join(describe(a) for a in args)}]"
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(describe(a) for a in args if a is not types.NoneType)
    if origin is Mapping:
        return f"table of {describe(args[1])}"
    if isinstance(hint, type) and issubclass(hint, Component):
        return an(hint.role)
    return getattr(hint, "__name__", str(hint))


def convert(value: Any, hint: Any, *, place: str, resolve: Resolver | None = None) -> Any:
    """``value``, read from TOML or given in Python, as the type ``hint``; integers serve as floats, lists as tuples.

    Raises:
        ConfigError: the value does not fit the type.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if value in args and type(value) is type(args[args.index(value)]):
            return value
        choices = [str(a) for a in args]
        raise ConfigError(f"{value!r} is not {describe(hint)}", place=place, hint=nearest(str(value), choices))
    if origin in {typing.Union, types.UnionType}:
        if value is None and types.NoneType in args:
            return None
        for arg in (a for a in args if a is not types.NoneType):
            try:
                return convert(value, arg, place=place, resolve=resolve)
            except ConfigError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) == len(value):
            items = [
                convert(v, h, place=f"{place}[{i}]", resolve=resolve)
                for i, (v, h) in enumerate(zip(value, inner, strict=True))
            ]
            return tuple(items)
    elif origin is Mapping and isinstance(value, Mapping):
        return {str(k): convert(v, args[1], place=f"{place}.{k}", resolve=resolve) for k, v in value.items()}
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isnan(value):
            return float(value)
    elif hint is float and value in ("inf", "-inf"):  # how spec.json writes what JSON cannot
        return float(value)
    elif hint in {int, str, bool} and type(value) is hint:
        return value
    elif isinstance(hint, type) and issubclass(hint, Component):
        if isinstance(value, hint):
            return value
        if resolve is not None and isinstance(value, str | dict):
            return resolve(hint.role, value, place)
    advice = "write it without quotes" if isinstance(value, str) and _is_number(value) else ""
    if isinstance(value, list):
        advice = "for alternatives write { sweep = [...] }"
    raise ConfigError(f"{_kind(value)}{value!r} is not {_article(describe(hint))}", place=place, hint=advice)


def _kind(value: object) -> str:
    """What TOML calls a value that could be taken for another type."""
    return {str: "the string ", bool: "the boolean "}.get(type(value), "")


def _article(words: str) -> str:
    """``an int`` for ``int``; what is more than one word or quoted stays as it is."""
    return an(words) if words.isalpha() else words


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_bounds(value: Any, bounds: Mapping[str, float], *, place: str) -> None:
    """Raise :class:`ConfigError` if a number, or one in a tuple, lies outside ``bounds``."""
    for item in value if isinstance(value, tuple) else (value,):
        if not isinstance(item, int | float):
            continue
        for kind, bound in bounds.items():
            word, holds = _BOUNDS[kind]
            if not holds(item, bound):
                raise ConfigError(f"{item!r} is out of range", place=place, hint=f"it must be {word} {bound:g}")


_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "ge": ("at least", lambda v, b: v >= b),
    "gt": ("more than", lambda v, b: v > b),
    "le": ("at most", lambda v, b: v <= b),
    "lt": ("less than", lambda v, b: v < b),
}


def plain(value: Any) -> Any:
    """A field's value as TOML and JSON have it: components as tables, tuples as lists."""
    if isinstance(value, Component):
        return value.to_table()
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, floats by ``repr``, integers and floats kept apart, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: object, length: int = 16) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def _short(value: object) -> str:
    if isinstance(value, Component):
        return value.label
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{', '.join(_short(v) for v in value)}]"
    return str(value)
