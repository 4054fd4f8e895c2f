"""What the reading commands say, as plain data: the same for ``--json`` and for the printed views."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ganbench import heartbeat
from ganbench.component import USE, Component, describe, field_types, fields, is_required, plain
from ganbench.errors import ResultsError
from ganbench.footers import refusals
from ganbench.records import FAILED, ROLES, read_json
from ganbench.standing import several_protocols, so_far
from ganbench.text import plural

if TYPE_CHECKING:
    from ganbench.plan import Plan, Stack
    from ganbench.registry import Registry
    from ganbench.results import Results

SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


# -- plan and status -----------------------------------------------------------------------------------------------


def stacking(jobs: Sequence[tuple[bool, int]]) -> str:
    """``36 trials in 3 stacks``, from whether the trials of a job train together, and how many; else nothing."""
    together = [n for stacked, n in jobs if stacked]
    return f"{plural(sum(together), 'trial')} in {plural(len(together), 'stack')}" if together else ""


def plan_facts(plan: Plan, stacks: Sequence[Stack] = ()) -> dict[str, Any]:
    """A plan: every cell with its labels, its skip and its trials by seed, the counts of stages, and the notes.

    ``stacks`` are what is left to do by the processes that train it.
    """
    trials: dict[str, list[dict[str, Any]]] = {}
    for planned in plan.trials:
        status = planned.record.status if planned.record else ""
        about = {"seed": planned.trial.seed, "stage": planned.stage, "status": status, "why": planned.why}
        trials.setdefault(planned.trial.cell.id, []).append(about)
    cells = [
        {
            "cell": c.cell.name,
            "id": c.cell.id,
            "labels": dict(c.cell.labels),
            "skip": c.skip,
            "advice": list(c.advice),
            "trials": trials.get(c.cell.id, []) if c.skip is None else [],
        }
        for c in plan.combinations
    ]
    return {
        "name": plan.name,
        "seeds": list(plan.seeds),
        "counts": {"trials": len(plan.trials), **plan.counts, "skipped": len(plan.skipped)},
        "cells": cells,
        "notes": list(plan.notes),
        "stacks": [
            {
                "together": s.trials[0].trial.cell.stacked,
                "cells": list(dict.fromkeys(p.trial.cell.name for p in s.trials)),
                "trials": len(s.trials),
                "numbers": list(s.numbers),
            }
            for s in stacks
        ],
    }


def status_facts(results: Results) -> dict[str, Any]:
    """How far a run is: counts by status, the trials that failed, where unfinished ones stand, the skipped cells.

    ``roles`` tell the cells apart. ``drivers`` are the processes at work with the trials they train; ``finished``
    are the cells with finished trials and the means of their measures, ``not_shown`` says which of these do not
    compare. ``failures`` have a reason and, if there is one, the path of a log; ``unfinished`` have the step of the
    last checkpoint, and nobody trains them; ``stale`` counts trials on disk that the plan no longer has.
    """
    drivers = [
        dataclasses.asdict(heard.pulse) | {"state": heard.state, "heard_s": heard.age}
        for heard in heartbeat.read(results.path)
    ]
    at_work = {
        (trial["cell"], trial["seed"]) for driver in drivers if driver["state"] != "gone" for trial in driver["running"]
    }
    raw = read_json(results.path / "run.json") or {}
    steps = {cell.get("cell"): cell.get("steps") for cell in raw.get("cells", [])}
    labels = {cell.cell: cell.labels for cell in results.plan}
    finished = {(record.cell, record.seed): record for record in results.trials}
    failures, unfinished = [], []
    for record in results.trials:
        if record.status in FAILED:
            log = results.folder(record.cell, record.seed) / "log.txt"
            failures.append(
                {
                    "cell": record.cell,
                    "labels": dict(record.labels),
                    "seed": record.seed,
                    "status": record.status,
                    "reason": record.reason,
                    "log": str(log) if log.exists() else None,
                }
            )
    for cell in results.plan:
        for seed in cell.seeds if cell.skip is None else ():
            folder = results.folder(cell.cell, seed)
            known = finished.get((cell.cell, seed))
            if (cell.cell, seed) in at_work:
                continue
            if folder.is_dir() and (known is None or known.status == "interrupted"):
                about = {"cell": cell.cell, "labels": dict(cell.labels), "seed": seed}
                status = known.status if known else "begun"
                unfinished.append(
                    about | {"status": status, "step": _checkpoint_step(folder), "steps": steps.get(cell.cell)}
                )
    return {
        "name": results.name,
        "path": str(results.path),
        "cells": sum(cell.skip is None for cell in results.plan),
        "trials": sum(len(cell.seeds) for cell in results.plan if cell.skip is None),
        "counts": dict(results.counts),
        "roles": varying([{"labels": cell.labels} for cell in results.plan]),
        "drivers": drivers,
        "finished": [
            dataclasses.asdict(row)
            for row in so_far(results.trials, {cell.cell: len(cell.seeds) for cell in results.plan})
        ],
        "not_shown": refusals(several_protocols(results.trials)),
        "failures": failures,
        "unfinished": unfinished,
        "skipped": [
            {"cell": cell.cell, "labels": dict(labels[cell.cell]), "skip": cell.skip}
            for cell in results.plan
            if cell.skip is not None
        ],
        "stale": len(results.stale),
    }


def _checkpoint_step(folder: Any) -> int:
    """The step of the last checkpoint, 0 without one."""
    try:
        step = (read_json(folder / "state.json") or {}).get("step", 0)
    except ResultsError:
        return 0
    return step if isinstance(step, int) else 0


def varying(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The roles in which the ``labels`` of cells differ."""
    return [role for role in ROLES if len({cell["labels"].get(role, "") for cell in cells}) > 1]


def merged(cells: Sequence[Mapping[str, Any]], roles: Sequence[str]) -> tuple[list[str], list[str]]:
    """Headings and roles of columns: one column for both networks where they are always called the same."""
    both = {"generator", "discriminator"}
    if both <= set(roles) and all(c["labels"]["generator"] == c["labels"]["discriminator"] for c in cells):
        picks = [role for role in roles if role != "discriminator"]
        return ["networks" if role == "generator" else role for role in picks], picks
    return list(roles), list(roles)


def name_of(labels: Mapping[str, str], roles: Sequence[str]) -> str:
    """``mlp / hinge / r1``: a cell by the roles that tell it from others, or by its regularizer if none does."""
    _, picks = merged([{"labels": labels}], roles)
    return " / ".join(labels.get(role, "") for role in picks or ["regularizer"])


def named(trial: Mapping[str, Any], roles: Sequence[str]) -> str:
    """``mlp / hinge / r1 / seed 0``: as :func:`name_of`, with the seed if there is one."""
    seed = trial.get("seed")
    return name_of(trial["labels"], roles) + ("" if seed is None else f" / seed {seed}")


def by_reason(skips: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Skipped cells by the reason they share, the most frequent first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for cell in skips:
        found.setdefault(cell["skip"], []).append(cell)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def state(trials: Sequence[Mapping[str, Any]]) -> str:
    """``2 done, 1 stale (code of regularizer:r1 changed)`` for the trials of a cell."""
    told = Counter((t["stage"], t["why"] or (t["status"] if t["stage"] == "failed" else "")) for t in trials)
    return ", ".join(f"{n} {stage}" + (f" ({why})" if why else "") for (stage, why), n in told.items())


# -- components ----------------------------------------------------------------------------------------------------


def component_facts(registry: Registry, role: str | None = None) -> list[dict[str, str]]:
    """Every component, or those of ``role``: role, name, summary, and the plugin it comes from."""
    return [
        {
            "role": of,
            "name": name,
            "summary": " ".join(cls.summary().split()),
            "plugin": registry.origin(cls).name,
            "from": registry.origin(cls).where,
        }
        for of, name, cls in registry.components()
        if role in {None, of}
    ]


def one_component(registry: Registry, cls: type[Component]) -> dict[str, Any]:
    """Everything about one component: docstring, fields, hook points or measures, source, plugin, a line of TOML."""
    doc = inspect.cleandoc(cls.__doc__ or "") if cls.summary() else ""
    docs = dict(_attribute_docs(cls))
    own = [f for f in fields(cls) if _is_own(cls, f.name)]
    ordered = own + [f for f in fields(cls) if f not in own]
    described = [_field(f, field_types(cls)[f.name], docs.get(f.name, "")) for f in ordered]
    hook_points: tuple[str, ...] = getattr(cls, "hook_points", tuple)()
    origin = registry.origin(cls)
    return {
        "role": cls.role,
        "name": cls.name,
        "summary": " ".join(cls.summary().split()),
        "doc": doc,
        "fields": described,
        "hook_points": list(hook_points),
        "measures": [dataclasses.asdict(m) for m in getattr(cls, "measures", ())],
        "source": cls.source,
        "plugin": {"name": origin.name, "from": origin.where},
        "toml": _toml_line(cls),
    }


def _field(f: dataclasses.Field[Any], hint: Any, doc: str) -> dict[str, Any]:
    required = is_required(f)
    bounds: Mapping[str, float] = f.metadata.get("bounds", {})
    return {
        "name": f.name,
        "type": describe(hint),
        "required": required,
        "default": None if required else plain(_default(f)),
        "range": ", ".join(f"{SIGNS[kind]} {bound:g}" for kind, bound in bounds.items()),
        "doc": f.metadata.get("doc", "") or doc,
    }


def _is_own(cls: type[Component], name: str) -> bool:
    """Whether a field is of the component rather than of its role."""
    role = next(base for base in cls.__mro__ if Component in base.__bases__)
    return name not in {f.name for f in fields(role)} or name in cls.__annotations__


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default


def _attribute_docs(cls: type[Component]) -> Iterator[tuple[str, str]]:
    """The strings that stand under fields in the source of ``cls`` and its bases, where the source is at hand."""
    for base in reversed(cls.__mro__):
        if not (issubclass(base, Component) and base is not Component):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = getattr(tree.body[0], "body", [])
        for field_, text in itertools.pairwise(body):
            named = isinstance(field_, ast.AnnAssign) and isinstance(field_.target, ast.Name)
            said = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if named and said and isinstance(text.value.value, str):
                yield field_.target.id, " ".join(text.value.value.split())


def _toml_line(cls: type[Component]) -> str | None:
    """The component with the fields of its own, as a grid has it; None if a grid cannot name it."""
    if cls.role not in {*ROLES, "metric", "extractor"}:
        return None
    own = {f.name: _default(f) for f in fields(cls) if _is_own(cls, f.name)}
    table = {USE: cls.name} | {name: plain(v) for name, v in own.items() if v is not dataclasses.MISSING}
    value = toml({k: v for k, v in table.items() if v is not None})
    if cls.role == "extractor":  # a field of metrics, not an axis
        return f"extractor = {value}"
    return f"metrics = [{value}]" if cls.role == "metric" else f"{cls.role} = [{value}]"


def toml(value: Any) -> str:
    """``value`` as TOML writes it in one line."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {toml(v)}' for key, v in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(v) for v in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
