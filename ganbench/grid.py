"""A grid file becomes axes, the axes cells, the cells trials."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any, Literal

from ganbench.component import USE, Component, canonical, digest, field, plain
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, PluginError, nearest
from ganbench.loss import Loss
from ganbench.metric import Metric
from ganbench.networks import Discriminator, Generator
from ganbench.optimizer import Optimizer
from ganbench.registry import Registry
from ganbench.regularizer import Regularizer
from ganbench.update import Update

AXES = ("dataset", "generator", "discriminator", "loss", "regularizer", "optimizer", "update")
DEFAULTS: dict[str, Any] = {"regularizer": "none", "optimizer": "adam", "update": "alternating"}
"""What an axis is where a grid does not name it; the others must be named."""
SWEEP, BECAUSE = "sweep", "because"
SPEC_SCHEMA = 1
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
NONE = "none"
"""The label of the empty stack of regularizers."""


class Settings(Component, role="run", name="run"):
    """The ``[run]`` table: how every cell of a grid is trained."""

    seeds: int | tuple[int, ...] = field(default=5, ge=0, doc="number of seeds (0, 1, ...), or a list of them")
    steps: int = field(default=5_000, ge=1, doc="whole training iterations")
    batch: int = field(default=64, ge=2, doc="samples a player sees in one turn")
    ema: float = field(default=0.999, ge=0.0, lt=1.0, doc="weight of the past in the generator's running average")
    samples: int = field(default=2_500, ge=2, doc="generated samples per evaluation, against as many real ones")
    evaluations: int = field(default=5, ge=1, doc="evaluations during training, evenly spaced, the last one at the end")
    precision: Literal["float32", "float64"] = "float32"
    engine: Literal["serial", "fused"] = field(default="serial", doc="fused: the seeds of a cell train in one step")
    compile: bool = field(default=False, doc="compile the fused step into one graph for each kind of step")
    threads: int = field(default=0, ge=0, doc="CPU threads of each process; 0: one, and as many processes as cores")
    checkpoint_every: int = field(
        default=1_000, ge=0, doc="steps between checkpoints that an interrupted trial resumes from"
    )
    timeout: str = "none"
    plugins: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @classmethod
    def title(cls) -> str:
        """What messages call it."""
        return "a run"

    def validate(self) -> None:
        parse_duration(self.timeout, place=".timeout")
        if isinstance(self.seeds, tuple) and len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"{list(self.seeds)} names a seed twice", place=".seeds")
        if self.compile and self.engine == "serial":
            raise ConfigError("only the fused engine is compiled", place=".compile", hint='add engine = "fused"')
        if not self.seed_list:
            raise ConfigError(f"{plain(self.seeds)!r} means no seed at all", place=".seeds")

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination, without a seed: every component resolved, and what else decides its numbers."""

    dataset: Dataset
    generator: Generator
    discriminator: Discriminator
    loss: Loss
    regularizers: tuple[Regularizer, ...]
    optimizer: Optimizer
    update: Update
    metrics: tuple[Metric, ...]
    steps: int
    batch: int
    ema: float
    samples: int
    precision: str
    engine: str

    @functools.cached_property
    def spec(self) -> dict[str, Any]:
        """The canonical resolved specification: every field with its default, and nothing of this machine."""
        return {
            "schema": SPEC_SCHEMA,
            "dataset": self.dataset.to_table(),
            "generator": self.generator.to_table(),
            "discriminator": self.discriminator.to_table(),
            "loss": self.loss.to_table(),
            "regularizer": [r.to_table() for r in self.regularizers],
            "optimizer": self.optimizer.to_table(),
            "update": self.update.to_table(),
            "metrics": [m.to_table() | {"version": m.version} for m in self.metrics],
            "steps": self.steps,
            "batch": self.batch,
            "ema": self.ema,
            "samples": self.samples,
            "precision": self.precision,
            "engine": self.engine,
        }

    @functools.cached_property
    def id(self) -> str:
        """12 hexadecimal digits of the hash of the specification."""
        return digest(self.spec, 12)

    @property
    def name(self) -> str:
        """``SLUG-ID``, the cell's folder: only the letters of component names, so never a path."""
        stack = "_".join(r.name for r in self.regularizers) or NONE
        parts = [self.dataset.name, self.generator.name, self.discriminator.name, self.loss.name, stack]
        return f"{'-'.join(parts)[:80].rstrip('-_')}-{self.id}"

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """For each role, what tables call this cell's component."""
        single = {role: getattr(self, role).label for role in AXES if role != "regularizer"}
        stack = " + ".join(r.label for r in self.regularizers) or NONE
        return {role: single.get(role, stack) for role in AXES}

    @property
    def components(self) -> tuple[Component, ...]:
        """Every component of the cell."""
        singles = (self.dataset, self.generator, self.discriminator, self.loss, self.optimizer, self.update)
        return (*singles, *self.regularizers, *self.metrics)

    def refusal(self) -> str | None:
        """Why this combination cannot work, from the first component that refuses it, or None."""
        if self.discriminator.output != self.loss.output:
            return (
                f"{self.loss.name} asks the discriminator for {self.loss.output}, "
                f"and {self.discriminator.name} returns {self.discriminator.output}"
            )
        for component in self.components:
            reason = self._ask(component, component.mismatch)
            if reason is not None:
                return reason
        return None

    def advice(self) -> tuple[str, ...]:
        """What its components find doubtful about this combination, each reason once."""
        said = (self._ask(component, component.advice) for component in self.components)
        return tuple(dict.fromkeys(reason for reason in said if reason is not None))

    def _ask(self, component: Component, question: Callable[[Cell], str | None]) -> str | None:
        try:
            return question(self)
        except Exception as error:
            raise PluginError(
                f"{component.title()} failed to say whether it fits {self.name}: {type(error).__name__}: {error}"
            ) from error

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], registry: Registry) -> Cell:
        """The cell that ``spec.json`` describes; the inverse of :attr:`spec`.

        Raises:
            ConfigError: a component or field is no longer there.
        """

        def read(role: str, value: object) -> Any:
            return registry.parse(role, value, f"spec {role}")

        metrics = [{k: v for k, v in m.items() if k != "version"} for m in spec["metrics"]]
        return cls(
            **{role: read(role, spec[role]) for role in AXES if role != "regularizer"},
            regularizers=tuple(read("regularizer", r) for r in spec["regularizer"]),
            metrics=tuple(read("metric", m) for m in metrics),
            **{key: spec[key] for key in ("steps", "batch", "ema", "samples", "precision", "engine")},
        )


@dataclass(frozen=True)
class Trial:
    """A cell with a seed."""

    cell: Cell
    seed: int

    @property
    def folder(self) -> Path:
        """Where it lies under a run's folder."""
        return Path("trials", self.cell.name, f"seed-{self.seed}")


@dataclass(frozen=True)
class Combination:
    """A cell of the grid, why it is skipped, if it is, and otherwise what is doubtful about it."""

    cell: Cell
    skip: str | None
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A parsed grid file; components are looked up by :meth:`combinations`.

    Args:
        text: the file, verbatim.
        table: the same as a table.
        source: what messages call it.
        folder: what plugin paths in it are relative to.
    """

    text: str
    table: Mapping[str, Any]
    source: str
    folder: Path
    settings: Settings
    name: str
    notes: list[str] = dataclass_field(default_factory=list, compare=False)

    @classmethod
    def load(cls, grid: str | Path | Mapping[str, Any]) -> Grid:
        """The grid in a file, or in a dictionary of the same shape.

        Raises:
            ConfigError: the file cannot be read, is not TOML, or its tables are wrong.
        """
        if isinstance(grid, Mapping):
            return cls._checked(canonical(plain_table(grid)), grid, "grid", Path.cwd(), "run")
        path = Path(grid)
        try:
            text = path.read_text(encoding="utf-8")
            table = tomllib.loads(text)
        except FileNotFoundError:
            near = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            hint = nearest(path.name, near) if near else "ganbench new grid NAME writes one"
            raise ConfigError("there is no such grid file", place=str(path), hint=hint) from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"the grid file cannot be read: {why}", place=str(path)) from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"not valid TOML: {error}", place=str(path)) from None
        return cls._checked(text, table, str(path), path.resolve().parent, path.stem)

    @classmethod
    def _checked(cls, text: str, table: Mapping[str, Any], source: str, folder: Path, stem: str) -> Grid:
        known = ("run", "grid", "exclude")
        for key in table:
            if key not in known:
                raise ConfigError(f"unknown table [{key}]", place=source, hint=nearest(key, known))
        if not isinstance(table.get("run", {}), Mapping):
            raise ConfigError("[run] is not a table", place=source)
        run = dict(table.get("run", {}))
        name = run.pop("name", stem)
        if not (isinstance(name, str) and re.fullmatch(RUN_NAME, name)):
            raise ConfigError(
                f"{name!r} is not a name for a run",
                place=f"{source}: [run].name",
                hint="use letters, digits, '.', '_' and '-'; it becomes a folder",
            )
        try:
            settings = Settings.from_table(run, place="[run]")
        except ConfigError as error:
            raise ConfigError(error.message, place=f"{source}: {error.place}", hint=error.hint) from None
        return cls(text, table, source, folder, settings, name)

    @property
    def plugin_files(self) -> tuple[Path, ...]:
        """The plugin files the grid names, from its own folder."""
        return tuple(self.folder / file for file in self.settings.plugins)

    def combinations(self, registry: Registry, *, steps: int | None = None) -> list[Combination]:
        """Every cell of the union of the ``[[grid]]`` blocks, in file order, once; excluded and refused ones say why.

        Args:
            registry: where names are looked up.
            steps: overrides the number of steps of every cell.

        Raises:
            ConfigError: naming the place in the file.
        """
        blocks = self.table.get("grid")
        if blocks is None:
            raise ConfigError("there is no [grid] table", place=self.source, hint="it names the axes")
        listed = blocks if isinstance(blocks, list) else [blocks]
        cells: dict[str, Combination] = {}
        excludes = [_Exclude.parse(e, f"{self.source}: [[exclude]] {i + 1}", registry) for i, e in self._excludes()]
        matched: set[int] = set()
        for number, block in enumerate(listed):
            place = f"{self.source}: [[grid]] {number + 1}" if len(listed) > 1 else f"{self.source}: [grid]"
            if not isinstance(block, Mapping):
                raise ConfigError("not a table", place=place)
            for cell in self._block(block, place, registry, steps):
                if cell.id in cells:
                    continue
                hits = [i for i, e in enumerate(excludes) if e.matches(cell)]
                matched.update(hits)
                skip = f"excluded: {excludes[hits[0]].because}" if hits else cell.refusal()
                cells[cell.id] = Combination(cell, skip, cell.advice() if skip is None else ())
        self.notes[:] = [f"{e.place} matches no cell" for i, e in enumerate(excludes) if i not in matched]
        return list(cells.values())

    def _excludes(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        excludes = self.table.get("exclude", [])
        for i, exclude in enumerate(excludes if isinstance(excludes, list) else [excludes]):
            if not isinstance(exclude, Mapping):
                raise ConfigError("not a table", place=f"{self.source}: [[exclude]] {i + 1}")
            yield i, exclude

    def _block(self, block: Mapping[str, Any], place: str, registry: Registry, steps: int | None) -> Iterator[Cell]:
        overrides = ("steps", "batch")
        known = (*AXES, "metrics", "zip", *overrides)
        for key in block:
            if key not in known:
                raise ConfigError(f"unknown key {key!r}", place=place, hint=nearest(key, known))
        chosen = {key: block[key] for key in overrides if key in block}
        try:
            settings = Settings.from_table(self._run_table() | chosen, place="")
        except ConfigError as error:
            raise error.at(place) from None
        axes = {role: _axis(role, block, place, registry) for role in AXES}
        metrics = None
        if "metrics" in block:
            metrics = _metrics(block["metrics"], f"{place} metrics", registry)
        for values in _product(axes, block.get("zip", []), f"{place} zip"):
            parts = dict(zip(AXES, values, strict=True))
            stack = tuple(r for r in parts.pop("regularizer") if r.hook_points())
            dataset = parts["dataset"]
            assert isinstance(dataset, Dataset)
            default = [registry.parse("metric", m, f"default metrics of {dataset.name}") for m in dataset.metrics]
            yield Cell(
                **parts,
                regularizers=stack,
                metrics=_distinct(metrics if metrics is not None else tuple(default), place),
                steps=steps or settings.steps,
                batch=settings.batch,
                ema=settings.ema,
                samples=settings.samples,
                precision=settings.precision,
                engine=_engine(settings, parts["update"]),
            )

    def _run_table(self) -> dict[str, Any]:
        return {k: v for k, v in self.table.get("run", {}).items() if k != "name"}


@dataclass(frozen=True)
class _Exclude:
    """One ``[[exclude]]``: for each role it names, what a cell must have there to be left out."""

    place: str
    because: str
    wanted: Mapping[str, tuple[tuple[str, Mapping[str, Any]] | tuple[tuple[str, Mapping[str, Any]], ...], ...]]

    @classmethod
    def parse(cls, table: Mapping[str, Any], place: str, registry: Registry) -> _Exclude:
        because = table.get(BECAUSE, "excluded by the grid")
        if not isinstance(because, str):
            raise ConfigError(f"{because!r} is not a sentence", place=f"{place}.{BECAUSE}")
        wanted: dict[str, Any] = {}
        for role, value in table.items():
            if role == BECAUSE:
                continue
            if role not in AXES:
                raise ConfigError(f"unknown key {role!r}", place=place, hint=nearest(role, (*AXES, BECAUSE)))
            alternatives = value if isinstance(value, list) else [value]
            if not alternatives:
                raise ConfigError("an empty list matches no cell", place=f"{place} {role}")
            wanted[role] = tuple(
                tuple(_pattern(role, v, f"{place} {role}", registry) for v in alternative)
                if isinstance(alternative, list) and role == "regularizer"
                else _pattern(role, alternative, f"{place} {role}", registry)
                for alternative in alternatives
            )
        if not wanted:
            raise ConfigError("it names no role, so it would leave out everything", place=place)
        return cls(place, because, wanted)

    def matches(self, cell: Cell) -> bool:
        return all(any(self._fits(role, a, cell) for a in alternatives) for role, alternatives in self.wanted.items())

    @staticmethod
    def _fits(role: str, alternative: Any, cell: Cell) -> bool:
        if role != "regularizer":
            return _is(getattr(cell, role), alternative)
        if not alternative or isinstance(alternative[0], tuple):  # a list in the list means this very stack
            stack = cell.regularizers
            return len(stack) == len(alternative) and all(map(_is, stack, alternative))
        if alternative[0] == NONE:
            return not cell.regularizers
        return any(_is(r, alternative) for r in cell.regularizers)


def _pattern(role: str, value: object, place: str, registry: Registry) -> tuple[str, dict[str, Any]]:
    given = dict(value) if isinstance(value, Mapping) else {}
    parsed = registry.parse(role, value, place)  # every name and field is checked
    return parsed.name, {k: v for k, v in parsed.to_table().items() if k in given and k != USE}


def _is(component: Component, pattern: tuple[str, Mapping[str, Any]]) -> bool:
    name, given = pattern
    table = component.to_table()
    return component.name == name and all(table.get(k) == v for k, v in given.items())


def _axis(role: str, block: Mapping[str, Any], place: str, registry: Registry) -> list[Any]:
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


def _product(axes: Mapping[str, list[Any]], zipped: object, place: str) -> Iterator[tuple[Any, ...]]:
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


def _engine(settings: Settings, update: Update) -> str:
    """What a cell is trained with: ``serial`` where its update rule does not stack, whatever the grid asks."""
    if settings.engine == "serial" or not update.stacks:
        return "serial"
    return "fused+compiled" if settings.compile else "fused"


def _metrics(value: object, place: str, registry: Registry) -> tuple[Metric, ...]:
    listed = value if isinstance(value, list) else [value]
    metrics = [registry.parse("metric", m, f"{place}[{i}]") for i, m in enumerate(listed)]
    return tuple(m for m in metrics if isinstance(m, Metric))


def _distinct(metrics: Iterable[Component], place: str) -> tuple[Metric, ...]:
    found: dict[str, Metric] = {}
    chosen = tuple(m for m in metrics if isinstance(m, Metric))
    for metric in chosen:
        for measure in metric.named():
            if measure.name in found:
                raise ConfigError(
                    f"{found[measure.name].label} and {metric.label} both give a measure named {measure.name!r}",
                    place=f"{place} metrics",
                    hint='give one of them a prefix = "..."',
                )
            found[measure.name] = metric
    return chosen


def plain_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A grid given in Python as JSON has it: components in it become tables."""

    def simple(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): simple(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [simple(v) for v in value]
        return plain(value)

    return {key: simple(value) for key, value in table.items()}


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str | float, *, place: str = "") -> float:
    """Seconds in ``"90s"``, ``"30m"``, ``"2h"``, ``"1d"`` or a number; ``"none"`` is infinite.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(text, int | float):
        return float(text)
    if text == "none":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{text!r} is not a duration", place=place, hint='write "90s", "30m", "2h" or "none"')
    return float(match[1]) * _UNITS[match[2] or "s"]


def trials(cells: Sequence[Cell], seeds: Sequence[int]) -> list[Trial]:
    """Every trial, cell by cell."""
    return [Trial(cell, seed) for cell in cells for seed in seeds]
