"""A grid file becomes axes, the axes cells, the cells trials."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from ganbench.axes import DEFAULTS, SWEEP, alternatives, product
from ganbench.cell import AXES, NONE, SPEC_SCHEMA, Cell, Trial, trials
from ganbench.choices import OPEN, Choice, block_of, candidates
from ganbench.component import Component, canonical, plain
from ganbench.dataset import Dataset
from ganbench.errors import ConfigError, nearest
from ganbench.exclude import BECAUSE, Exclude
from ganbench.metric import Metric
from ganbench.records import TAKEN
from ganbench.registry import Registry, located
from ganbench.settings import Settings, parse_duration

__all__ = [
    "AXES",
    "BECAUSE",
    "DEFAULTS",
    "NONE",
    "RUN_NAME",
    "SPEC_SCHEMA",
    "SWEEP",
    "Cell",
    "Combination",
    "Grid",
    "Settings",
    "Trial",
    "parse_duration",
    "plain_table",
    "trials",
]

RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


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
    def plugin_files(self) -> tuple[str | Path, ...]:
        """The plugins the grid names: files, from its own folder, and installed ones to switch on."""
        return tuple(located(plugin, self.folder) for plugin in self.settings.plugins)

    def combinations(
        self, registry: Registry, *, steps: int | None = None, choices: Mapping[str, Choice] | None = None
    ) -> list[Combination]:
        """Every cell of the union of the ``[[grid]]`` blocks, in file order, once; excluded and refused ones say why.

        Args:
            registry: where names are looked up.
            steps: overrides the number of steps of every cell.
            choices: the engines of blocks of cells, where the grid leaves them open; ``auto`` where there is none.

        Raises:
            ConfigError: naming the place in the file.
        """
        blocks = self.table.get("grid")
        if blocks is None:
            raise ConfigError("there is no [grid] table", place=self.source, hint="it names the axes")
        listed = blocks if isinstance(blocks, list) else [blocks]
        cells: dict[str, Combination] = {}
        excludes = [Exclude.parse(e, f"{self.source}: [[exclude]] {i + 1}", registry) for i, e in self._excludes()]
        matched: set[int] = set()
        for number, block in enumerate(listed):
            place = f"{self.source}: [[grid]] {number + 1}" if len(listed) > 1 else f"{self.source}: [grid]"
            if not isinstance(block, Mapping):
                raise ConfigError("not a table", place=place)
            for cell in self._block(block, place, registry, steps, choices or {}):
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

    def _block(
        self,
        block: Mapping[str, Any],
        place: str,
        registry: Registry,
        steps: int | None,
        choices: Mapping[str, Choice],
    ) -> Iterator[Cell]:
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
        axes = {role: alternatives(role, block, place, registry) for role in AXES}
        metrics = None
        if "metrics" in block:
            metrics = _metrics(block["metrics"], f"{place} metrics", registry)
        for values in product(axes, block.get("zip", []), f"{place} zip"):
            parts = dict(zip(AXES, values, strict=True))
            stack = tuple(r for r in parts.pop("regularizer") if r.hook_points())
            dataset = parts["dataset"]
            assert isinstance(dataset, Dataset)
            default = registry.metrics_of(dataset)
            yield Cell(
                **parts,
                regularizers=stack,
                metrics=_distinct(metrics if metrics is not None else tuple(default), place),
                steps=steps or settings.steps,
                batch=settings.batch,
                ema=settings.ema_decay,
                ema_warmup=settings.ema_warmup,
                samples=settings.samples,
                precision=settings.precision,
                channels_last=settings.channels_last,
                deterministic=settings.deterministic,
                engine=_engine(settings, parts, steps or settings.steps, choices),
            )

    def _run_table(self) -> dict[str, Any]:
        return {k: v for k, v in self.table.get("run", {}).items() if k != "name"}


def _engine(settings: Settings, parts: Mapping[str, Component], steps: int, choices: Mapping[str, Choice]) -> str:
    """The engine of a cell: the only one that ``[run]`` allows, or what was chosen for its block, or ``auto``."""
    allowed = candidates(settings)
    if len(allowed) == 1:
        return allowed[0]
    block = block_of(
        parts,
        steps,
        settings.batch,
        settings.precision,
        channels_last=settings.channels_last,
        deterministic=settings.deterministic,
    )
    chosen = choices.get(block)
    return chosen.engine if chosen and chosen.engine in allowed else OPEN


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
            if measure.name in TAKEN:
                raise ConfigError(
                    f"{metric.label} gives a measure named {measure.name!r}, as a column of the records is called",
                    place=f"{place} metrics",
                    hint='give it a prefix = "..."',
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
