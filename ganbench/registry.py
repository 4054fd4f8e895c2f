"""Load, check and look up plugins. A registry is a value: nothing is loaded at import time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import linecache
import re
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from ganbench import hookspecs
from ganbench.component import USE, Component, field_types
from ganbench.errors import ConfigError, GanbenchError, PluginError, an, nearest

if TYPE_CHECKING:
    from ganbench.dataset import Dataset

GROUP = "ganbench"
"""Entry points of plugins with components or run-level hooks; they may import torch."""
VIEW_GROUP = "ganbench.view"
"""Entry points of plugins for reading commands (columns, table styles, commands); they must not import torch."""
OPTIONAL_GROUP = "ganbench.optional"
"""Entry points of plugins that are off until a grid or an option names them, such as loggers."""
PLUGIN_NAME = r"[a-z0-9][a-z0-9-]*"
ROLES: tuple[str, ...] = (
    "dataset",
    "generator",
    "discriminator",
    "loss",
    "regularizer",
    "optimizer",
    "update",
    "metric",
    "extractor",
    "executor",
)


@dataclass(frozen=True)
class Origin:
    """Where a plugin came from: its name, and its distribution with version or its file."""

    name: str
    where: str
    file: Path | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.where})"


class Registry:
    """The plugins of one run, and the components they offer by role and name."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("ganbench")
        self.manager.add_hookspecs(hookspecs)
        self.origins: dict[object, Origin] = {}
        self._components: dict[str, dict[str, type[Component]]] = {role: {} for role in ROLES}
        self._offered: dict[type[Component], Origin] = {}

    @classmethod
    def load(
        cls,
        files: Sequence[str | Path] = (),
        *,
        without: Sequence[str] = (),
        groups: Sequence[str] = (GROUP, VIEW_GROUP),
        components: bool = True,
    ) -> Registry:
        """All installed plugins of ``groups`` and the plugin ``files``, less those named in ``without``.

        A name among the files, such as ``tensorboard``, is of an installed plugin that is off by default.

        Raises:
            PluginError: a plugin fails to import, has an unknown hook, offers something that is no component,
                or offers a name that another one has.
            ConfigError: ``without`` names no plugin.
        """
        registry = cls()
        points = [(point, group) for group in groups for point in importlib.metadata.entry_points(group=group)]
        known = {point.name for point, _ in points} | {Path(f).stem for f in files}
        for name in without:
            if name not in known:
                raise ConfigError(f"there is no plugin {name!r}", place="--without", hint=nearest(name, known))
        for point, _ in points:
            if point.name not in without:
                registry._load_entry_point(point)
        for file in files:
            if Path(file).stem in without:
                continue
            if is_name(file):
                registry._load_entry_point(_optional(str(file)))
            else:
                registry._load_file(Path(file))
        registry._check_hooks()
        if components:
            registry._collect()
        return registry

    # -- looking up --------------------------------------------------------------------------------------------

    def names(self, role: str) -> list[str]:
        """The names of the components that fill ``role``, sorted.

        Raises:
            ConfigError: there is no such role.
        """
        if role not in self._components:
            raise ConfigError(f"there is no role {role!r}", hint=nearest(role, ROLES))
        return sorted(self._components[role])

    def get(self, role: str, name: str, *, place: str = "") -> type[Component]:
        """The component class ``name`` of ``role``.

        Raises:
            ConfigError: there is none, with the nearest name, or the role under which the name exists.
        """
        known = self.names(role)
        if name in self._components[role]:
            return self._components[role][name]
        elsewhere = [other for other in ROLES if name in self._components[other]]
        hint = f"{name!r} is {an(elsewhere[0])}" if elsewhere else nearest(name, known)
        raise ConfigError(f"{role} has no component {name!r}", place=place, hint=hint)

    def metrics_of(self, dataset: Dataset) -> list[Component]:
        """The default metrics of ``dataset``."""
        return [self.parse("metric", metric, f"default metrics of {dataset.name}") for metric in dataset.metrics]

    def parse(self, role: str, value: object, place: str = "") -> Component:
        """The component that a TOML value describes: a name, or a table with ``use`` and fields.

        Raises:
            ConfigError: naming ``place`` in the file, quoting the value.
        """
        if isinstance(value, Component):
            if value.role == role:
                return value
            raise ConfigError(f"{value.name!r} is {an(value.role)}, not {an(role)}", place=place)
        if isinstance(value, str):
            return self.get(role, value, place=place).from_table({}, place=place, resolve=self.parse)
        if not isinstance(value, dict):
            raise ConfigError(
                f"{value!r} is not {an(role)}", place=place, hint=f'write a name or {{ {USE} = "name", field = value }}'
            )
        table = dict(value)
        name = table.pop(USE, None)
        if not isinstance(name, str):
            raise ConfigError(
                f"this {role} does not say which component it is", place=place, hint=f'add {USE} = "name"'
            )
        return self.get(role, name, place=f"{place}.{USE}").from_table(table, place=place, resolve=self.parse)

    def create(self, role: str, name: str, **values: Any) -> Component:
        """``create("regularizer", "r1", gamma=1.0)``: the component with these fields."""
        return self.get(role, name).from_table(values, resolve=self.parse)

    def origin(self, component: type[Component]) -> Origin:
        """The plugin that offers ``component``."""
        return self._offered[component]

    def components(self) -> Iterator[tuple[str, str, type[Component]]]:
        """Every (role, name, class), in the order of roles and names."""
        for role in ROLES:
            for name in self.names(role):
                yield role, name, self._components[role][name]

    # -- loading -----------------------------------------------------------------------------------------------

    def _load_entry_point(self, point: importlib.metadata.EntryPoint) -> None:
        dist = point.dist
        where = _release(dist) if dist else point.value
        origin = Origin(point.name, where)
        with _blaming(origin):
            module = point.load()
        self._register(module, origin)

    def _load_file(self, file: Path) -> None:
        path = file.resolve()
        if path.is_dir():
            raise PluginError("a plugin is a Python file, not a folder", place=str(file))
        if not path.is_file():
            siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
            hint = nearest(path.name, siblings) if siblings else ""
            raise PluginError("there is no such plugin file", place=str(file), hint=hint)
        origin = Origin(path.stem, str(file), path)
        # one module name for a file however it was reached, so that loading it twice gives the same classes
        name = f"ganbench_plugin_{path.stem.replace('-', '_')}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        if name in sys.modules:
            self._register(sys.modules[name], origin)
            return
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise PluginError("a plugin is a Python file, name.py", place=str(file))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        sys.path.insert(0, str(path.parent))  # so that it can import the helpers beside it
        try:
            with _blaming(origin):
                spec.loader.exec_module(module)
        except PluginError:
            del sys.modules[name]
            raise
        finally:
            sys.path.remove(str(path.parent))
        self._register(module, origin)

    def _register(self, module: types.ModuleType, origin: Origin) -> None:
        if self.manager.is_registered(module):
            return
        try:
            self.manager.register(module, name=f"{origin.name}@{origin.where}")
        except (pluggy.PluginValidationError, ValueError) as error:
            message, hint = _misfit(module) or (" ".join(str(error).split()), "")
            raise PluginError(f"plugin {origin} does not fit the hooks: {message}", hint=hint) from error
        self.origins[module] = origin

    def _check_hooks(self) -> None:
        known = [name for name in vars(hookspecs) if name.startswith("ganbench_")]
        for plugin, origin in self.origins.items():
            for name in dir(plugin):
                marked = getattr(getattr(plugin, name), "ganbench_impl", None)
                if marked is not None and name not in known:
                    raise PluginError(f"plugin {origin} has an unknown hook {name!r}", hint=nearest(name, known))
        self.manager.check_pending()

    def _collect(self) -> None:
        for plugin, origin in self.origins.items():
            offer = getattr(plugin, "ganbench_components", None)
            if getattr(offer, "ganbench_impl", None) is None or offer is None:
                continue
            with _blaming(origin):
                returned = offer()
                offered = list(returned) if isinstance(returned, Iterable) else None
            if offered is None:
                raise PluginError(
                    f"ganbench_components of plugin {origin} returned {returned!r}", hint="return a list of classes"
                )
            for cls in offered:
                self._add(cls, origin)

    def _add(self, cls: object, origin: Origin) -> None:
        if not (isinstance(cls, type) and issubclass(cls, Component)):
            hint = "offer the class, not an instance" if isinstance(cls, Component) else ""
            raise PluginError(f"plugin {origin} offers {cls!r}, which is no component class", hint=hint)
        if cls.role not in self._components:
            raise PluginError(
                f"plugin {origin} offers {cls.__qualname__} of no known role", hint=f"roles: {', '.join(ROLES)}"
            )
        if not cls.name:
            raise PluginError(
                f"plugin {origin} offers {cls.__qualname__} without a name",
                hint=f'write class {cls.__qualname__}(..., name="...")',
            )
        there = self._components[cls.role].get(cls.name)
        if there is not None and there is not cls:
            raise PluginError(
                f"two plugins offer {an(cls.role)} named {cls.name!r}: {self._offered[there]} and {origin}",
                hint="rename one, or block a plugin with --without NAME",
            )
        with _blaming(origin):
            field_types(cls)  # annotations that cannot be resolved are told here, not when a cell is made
        self._components[cls.role][cls.name] = cls
        self._offered[cls] = origin


def is_name(plugin: str | Path) -> bool:
    """Whether ``plugin`` is the name of an installed plugin that is off by default, rather than a file."""
    return isinstance(plugin, str) and re.fullmatch(PLUGIN_NAME, plugin) is not None


def located(plugin: str | Path, folder: Path) -> str | Path:
    """A plugin as it is called from anywhere: a name as it is, a file with its path from ``folder`` in front."""
    return plugin if is_name(plugin) else folder / plugin


@functools.lru_cache(maxsize=64)  # a distribution has many plugins, and its metadata are parsed as an e-mail
def _release(dist: importlib.metadata.Distribution) -> str:
    return f"{dist.metadata['Name']} {dist.version}"


def optional() -> list[importlib.metadata.EntryPoint]:
    """The installed plugins that are off by default."""
    return sorted(importlib.metadata.entry_points(group=OPTIONAL_GROUP), key=lambda point: point.name)


def _optional(name: str) -> importlib.metadata.EntryPoint:
    points = {point.name: point for point in optional()}
    if name not in points:
        file = f"{name}.py"
        hint = f"a file is named with its ending: {file}" if Path(file).is_file() else nearest(name, points)
        raise PluginError(f"there is no plugin {name!r} to switch on", hint=hint)
    return points[name]


@functools.cache
def installed() -> Registry:
    """The registry of the installed plugins, loaded once a process: what the Python interface uses."""
    return Registry.load()


@contextlib.contextmanager
def _blaming(origin: Origin) -> Iterator[None]:
    """Turn whatever a plugin raises while it loads into one error that shows only frames of the plugin."""
    try:
        yield
    except GanbenchError as error:
        inner = f"{error.place[1:]}: {error.message}" if error.place.startswith(".") else error.message
        raise PluginError(
            f"plugin {origin} failed to load: {inner}", place=_last_place(error, origin), hint=error.hint
        ) from error
    except (Exception, SystemExit) as error:  # anything may come out of somebody's module
        raise PluginError(
            f"plugin {origin} failed to load: {type(error).__name__}: {error}",
            place=_last_place(error, origin),
            hint=_import_hint(error),
            traceback=own_traceback(error),
        ) from error


def _misfit(module: types.ModuleType) -> tuple[str, str] | None:
    """The first argument of a hook implementation that its specification lacks, with the nearest that it has."""
    for name, specification in vars(hookspecs).items():
        function = getattr(module, name, None)
        if not name.startswith("ganbench_") or not inspect.isfunction(function):
            continue
        known = inspect.signature(specification).parameters
        for argument in inspect.signature(function).parameters:
            if argument not in known:
                return f"{name} has no argument {argument!r}", nearest(argument, known)
    return None


def _import_hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install {error.name.partition('.')[0]}, or block the plugin with --without"
    if isinstance(error, ImportError) and error.name == "ganbench":
        import ganbench

        wanted = str(error).partition("'")[2].partition("'")[0]
        return nearest(wanted, ganbench.__all__)
    return ""


def own_traceback(error: BaseException, ours: Iterable[str] = (str(Path(__file__).parent),)) -> str:
    """The traceback of ``error`` without the frames of this package and of the import machinery."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith("<frozen") and not any(f.filename.startswith(o) for o in ours)
    ]
    if isinstance(error, SyntaxError):
        return "".join(traceback.format_exception_only(error)).rstrip()
    if not frames:  # nothing of theirs was running
        return ""
    linecache.checkcache()
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()


def _last_place(error: BaseException, origin: Origin) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if origin.file is not None and Path(f.filename) == origin.file]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
