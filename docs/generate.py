"""Writes the reference pages in docs/reference from the code; with ``--check``, says which of them are stale.

Run it as ``make docs`` or ``make docs-check``. The pages do not depend on the Python version: the command line's page
is made from the parser's options, since argparse words its own help differently from version to version.
"""
# ruff: noqa: INP001 # a script, not a package

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganbench import hookspecs
from ganbench.cli import EXIT_CODES, build_parser
from ganbench.component import Component, describe, field_types, fields, plain
from ganbench.dirac import spectral_radius, verdict
from ganbench.errors import GanbenchError
from ganbench.facts import SIGNS, one_component, toml
from ganbench.grid import AXES, DEFAULTS, Settings
from ganbench.loss import Loss
from ganbench.registry import Registry
from ganbench.regularizer import HOOK_POINTS, Batch, DStep, GStep, Regularizer
from ganbench.update import Update
from ganbench_zoo.losses import NonSaturating
from ganbench_zoo.optimizers import SGD

REFERENCE = Path(__file__).parent / "reference"
DATA = Path(__file__).parent / "data" / "step_costs.json"
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run `make docs`. -->"


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    made = {"components.md": components, "hooks.md": hooks, "cli.md": command_line, "grid-keys.md": grid_keys}
    written = {name: _page(lines()) for name, lines in made.items()}
    registry = Registry.load()
    return written | {_file(role): _page(catalogue(role, registry)) for role in _ours(registry)}


def _page(lines: Iterable[str]) -> str:
    title, *rest = lines
    return "\n".join([title, "", NOTE, "", *rest]).rstrip() + "\n"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join('---' for _ in heads)} |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _text(docstring: str) -> list[str]:
    """A docstring's formulas survive Markdown only as plain text."""
    return ["```text", *docstring.splitlines(), "```"]


def _prose(docstring: str | None) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(inspect.cleandoc(docstring or "").replace("``", "`").split())


# -- components ----------------------------------------------------------------------------------------------------


def _ours(registry: Registry) -> dict[str, list[type[Component]]]:
    """Every component that comes with ganbench, by role."""
    roles: dict[str, list[type[Component]]] = {}
    for role, _, cls in registry.components():
        if registry.origin(cls).where.partition(" ")[0] == "ganbench":
            roles.setdefault(role, []).append(cls)
    return roles


def _file(role: str) -> str:
    """The name of the page of a role."""
    return f"{role}{'es' if role.endswith('s') else 's'}.md"


def components() -> Iterator[str]:
    """The roles, and links to every component that comes with ganbench."""
    yield "# Components"
    yield "What comes with ganbench, by role. `ganbench list` and `ganbench show ROLE NAME` say the same, and include"
    yield "installed plugins. Each page has formulas, fields with their defaults and ranges, and sources; those of"
    yield "[losses](losses.md), [regularizers](regularizers.md) and [update rules](updates.md) also say what a step"
    yield "costs and what becomes of the Dirac-GAN. [Conventions](../conventions.md) says where popular code differs."
    registry = Registry.load()
    for role, found in _ours(registry).items():
        links = (f"[{cls.name}]({_file(role)}#{cls.name})" for cls in found)
        yield from ("", f"## {role}", "", f"[{len(found)}]({_file(role)}): {', '.join(links)}")


def catalogue(role: str, registry: Registry) -> Iterator[str]:
    """Every component of a role: formula, fields, hook points or measures, cost, Dirac verdict, source."""
    classes = _ours(registry)[role]
    found = [one_component(registry, cls) for cls in classes]
    yield f"# {_file(role).removesuffix('.md').capitalize()}"
    yield from (ROLES[role], "")
    if role in JUDGED:
        verdicts = [_judge(cls) for cls in classes]
        yield from _explained(role)
        heads = ("", *(f"step cost, {cell}" for cell in COSTS["cells"]), "Dirac-GAN")
        rows = (
            (f"[{cls.name}](#{cls.name})", *_costs(cls), verdict.partition(":")[0])
            for cls, verdict in zip(classes, verdicts, strict=True)
        )
        yield from _table(heads, rows)
    else:
        yield ", ".join(f"[{cls.name}](#{cls.name})" for cls in classes)
    shared = _shared(role, registry)
    if shared:
        yield from ("", f"Every {role} has:", "")
        yield from _fields([f for f in found[0]["fields"] if f["name"] in shared])
    for cls, facts in zip(classes, found, strict=True):
        yield from ("", f"## {facts['name']}", "", *_text(facts["doc"]))
        own = [f for f in facts["fields"] if f["name"] not in shared or _differs(f, found)]
        if own:
            yield from ("", *_fields(own))
        if facts["measures"]:
            yield from ("", *_table(("measure", "better", "unit"), map(_measure, facts["measures"])))
        if facts["hook_points"]:
            yield from ("", f"Hook points: {', '.join(map(_code, facts['hook_points']))}.")
        if role in JUDGED:
            yield from ("", *_judged(cls, verdicts[classes.index(cls)]))
        if facts["source"]:
            yield from ("", f"Source: <{facts['source']}>")


ROLES = {
    "dataset": "Where real samples come from. None of them needs a download.",
    "generator": "Networks from latents to samples.",
    "discriminator": "Networks from samples to scores, embeddings or energies; a loss names what it asks for.",
    "loss": "What discriminator and generator minimise, as functions of raw scores that are high on real samples.",
    "regularizer": "Whatever is added to a loss, wrapped around a network or done to gradients, stacked at will.",
    "optimizer": "How a player moves along its gradient.",
    "update": "The order in which the players see their gradients and move.",
    "metric": "What is measured of generated samples, against as many real ones.",
    "extractor": "Features of samples that metrics compare; the field `extractor` of a metric names one.",
}
"""A sentence on each role."""
JUDGED = {
    "loss": "under alternating gradient descent with learning rate 0.1",
    "regularizer": "with the non-saturating loss, under alternating gradient descent with learning rate 0.1",
    "update": "with the non-saturating loss and gradient descent with learning rate 0.1",
}
"""Of the roles with a cost and a verdict, under what it is given."""
COSTS: Mapping[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
"""What docs/measure_costs.py has written."""


def _explained(role: str) -> Iterator[str]:
    """What the costs and verdicts of a page mean."""
    machine, torch = COSTS["machine"], COSTS["versions"]["torch"]
    yield f"- **Step cost**: the time of a training step, divided by that of the same with {COSTS['baselines'][role]},"
    yield f"  defaults everywhere. {COSTS['protocol']}"
    for name, about in COSTS["cells"].items():
        yield f"  - {name}: {about}."
    yield f"  - Measured by `docs/measure_costs.py` on {machine['cpu']} with torch {torch}; {machine['note']}."
    yield f"- **Dirac-GAN**: whether its two parameters settle {JUDGED[role]}:"
    yield "  they converge if the spectral radius of one step at the equilibrium is below 1, and diverge above it; at 1"
    yield "  they circle, or drift where the eigenvalue is real. `ganbench show` says it of any component, a plugin's"
    yield "  too. It is the simplest game on which training can fail, and says nothing of the quality of samples."
    yield ""


def _costs(cls: type[Component]) -> list[str]:
    """For each cell in which costs are measured, the ratio, or a dash."""
    measured = COSTS["ratios"].get(cls.role, {}).get(cls.name, {})
    return [f"{found['ratio']:.2f}" if "ratio" in (found := measured.get(cell, {})) else "-" for cell in COSTS["cells"]]


def _judged(cls: type[Component], verdict: str) -> Iterator[str]:
    """The costs of a component with their intervals, or why they are missing, and its verdict."""
    measured = COSTS["ratios"].get(cls.role, {}).get(cls.name, {})
    told = []
    for cell in COSTS["cells"]:
        found = measured.get(cell, {})
        if "ratio" in found:
            told.append(f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}] on {cell}")
        else:
            told.append(f"not measured on {cell}" + (f" ({found['skip']})" if "skip" in found else ""))
    yield f"Step cost: {'; '.join(told)}."
    yield ""
    yield f"Dirac-GAN: {verdict}."


def _judge(cls: type[Component]) -> str:
    """What a loss, a regularizer or an update rule with its defaults does to the Dirac-GAN."""
    component = cls()
    if isinstance(component, Loss | Regularizer):
        return verdict(component).replace(" under sgd lr 0.1", "")
    assert isinstance(component, Update)  # the third of the roles that are judged
    try:
        radius = spectral_radius(loss=NonSaturating(), update=component, optimizer=SGD(lr_g=0.1, lr_d=0.1))
    except GanbenchError as error:
        return f"not judged: {error}"
    word = "stays" if abs(radius - 1) < 1e-6 else "converges" if radius < 1 else "diverges"
    period = f" over {component.period} steps" if component.period > 1 else ""
    return f"{word} (radius {radius:.5f}{period})"


def _shared(role: str, registry: Registry) -> set[str]:
    """The names of the fields that the role gives to all its components."""
    cls = registry.get(role, registry.names(role)[0])
    base = next(b for b in reversed(cls.__mro__) if getattr(b, "role", "") == role)
    return {f.name for f in dataclasses.fields(base)}


def _differs(field: Mapping[str, Any], found: list[dict[str, Any]]) -> bool:
    """Whether a component has changed a field of its role."""
    same = [f for facts in found for f in facts["fields"] if f["name"] == field["name"]]
    common = max(same, key=same.count)
    return bool(field != common)


def _fields(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    def row(f: Mapping[str, Any]) -> tuple[str, ...]:
        default = "required" if f["required"] else "none" if f["default"] is None else _code(toml(f["default"]))
        return _code(f["name"]), _code(f["type"]), default, f["range"].replace("<", "&lt;"), f["doc"].replace("``", "`")

    return _table(("field", "type", "default", "range", ""), map(row, found))


def _measure(measure: Mapping[str, Any]) -> tuple[str, ...]:
    return _code(measure["name"]), measure["better"] or "neither", measure["unit"]


# -- hooks ---------------------------------------------------------------------------------------------------------


def hooks() -> Iterator[str]:
    """The run-level hooks, the hook points of a regularizer, and what those get."""
    yield "# Hooks"
    yield "Two kinds: *hooks* are functions of a plugin, called on the host at the boundaries of runs and trials; *hook"
    yield "points* are methods of a regularizer, pure functions of tensors inside the step."
    yield "[write-a-plugin.md](../write-a-plugin.md) shows how to use both."
    yield from ("", "## Run-level hooks", "", "Implement any of them with `@ganbench.hookimpl`.")
    for name, function in vars(hookspecs).items():
        spec = getattr(function, "ganbench_spec", None)
        if spec is None:
            continue
        first = " The first plugin that returns something wins." if spec["firstresult"] else ""
        yield from ("", f"### {name}", "", *_signature(function), "", _prose(function.__doc__) + first)
    yield from ("", "## Hook points of a regularizer", "")
    yield _prose(Regularizer.__doc__)
    yield from ("", "Below, B is the batch size, `Params` is `dict[str, Tensor]` by the dotted names of a network's")
    yield "parameters, and `Slots` is `dict[str, Tensor]` by names of the regularizer's own choosing."
    for name in HOOK_POINTS:
        function = getattr(Regularizer, name)
        yield from ("", f"### {name}", "", *_signature(function), "", _prose(function.__doc__))
    for cls in (DStep, GStep, Batch):
        yield from ("", f"## {cls.__name__}", "", *_text(inspect.cleandoc(cls.__doc__ or "")), "")
        yield from _table(("attribute", "type"), ((_code(f.name), _code(str(f.type))) for f in dataclasses.fields(cls)))
        for name, function in vars(cls).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                yield from ("", *_signature(function), "", _prose(function.__doc__))


def _signature(function: Callable[..., Any]) -> list[str]:
    """``def name(arguments) -> type`` as the source has it: annotations are strings in every module of ours."""
    signature = inspect.signature(function)
    told: list[str] = []
    keywords = False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not keywords:
            told.append("*")
            keywords = True
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        annotated = f"{star}{p.name}" if p.annotation is p.empty else f"{star}{p.name}: {p.annotation}"
        told.append(annotated if p.default is p.empty else f"{annotated} = {p.default!r}")
    return ["```text", f"def {function.__name__}({', '.join(told)}) -> {signature.return_annotation}", "```"]


# -- command line --------------------------------------------------------------------------------------------------


def command_line() -> Iterator[str]:
    """Every command with its arguments."""
    parser, commands = build_parser()
    yield "# Command line"
    yield f"{parser.description} Each command has `--help`."
    yield from ("", *_text(EXIT_CODES), "")
    yield from _table(
        ("command", ""), ((f"[{n}](#ganbench-{n})", str(c.description)) for n, c in commands.choices.items())
    )
    for name, command in commands.choices.items():
        actions = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]  # noqa: SLF001 # argparse has no other way to list them
        positional = [_positional(a) for a in actions if not a.option_strings]
        required = [f"{a.option_strings[0]} {a.metavar}" for a in actions if a.option_strings and a.required]
        optional = "[options]" if any(a.option_strings and not a.required for a in actions) else ""
        usage = " ".join(filter(None, ["ganbench", name, *positional, *required, optional]))
        yield from ("", f"## ganbench {name}", "", str(command.description), "", "```text", usage, "```")
        if actions:
            yield from ("", *_table(("argument", ""), map(_argument, actions)))


def _positional(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest).upper()
    return f"[{word}]" if action.nargs == "?" else word


def _argument(action: argparse.Action) -> tuple[str, str]:
    if not action.option_strings:
        return _code(_positional(action)), action.help or ""
    value = f" {action.metavar or action.dest.upper()}" if action.nargs != 0 else ""
    return _code(f"{action.option_strings[0]}{value}"), action.help or ""


# -- grid keys -----------------------------------------------------------------------------------------------------


def grid_keys() -> Iterator[str]:
    """The keys of a grid file."""
    yield "# Keys of a grid file"
    yield "[grid.md](../grid.md) says what they mean together. `ganbench schema` prints them as a JSON Schema, with the"
    yield "fields of every component."
    yield from ("", "## [run]", "")
    rows: list[tuple[str, ...]] = [("`name`", "`str`", "the file's name", "", "the run's folder under the results")]
    for f in fields(Settings):
        bounds = ", ".join(f"{SIGNS[k]} {v:g}" for k, v in f.metadata.get("bounds", {}).items()).replace("<", "&lt;")
        kind = describe(field_types(Settings)[f.name])
        rows.append(
            (
                _code(f.name),
                _code(kind),
                _code(toml(plain(f.default))),
                bounds,
                f.metadata.get("doc", "") or MORE.get(f.name, ""),
            )
        )
    yield from _table(("key", "type", "default", "range", ""), rows)
    yield from ("", "## [grid] or [[grid]]", "")
    axes = [
        (_code(a), _code(toml(DEFAULTS[a])) if a in DEFAULTS else "required", f"alternatives for the {a}") for a in AXES
    ]
    axes += [
        ("`metrics`", "those of the dataset", "metrics, for every cell of the block"),
        ("`zip`", "none", "groups of axes that go together, entry by entry"),
        ("`steps`, `batch`", "those of `[run]`", "for the cells of this block"),
    ]
    yield from _table(("key", "default", ""), axes)
    yield from ("", "## [[exclude]]", "")
    yield from _table(
        ("key", ""),
        [
            *((_code(a), f"what the cells have for their {a}; anything, where it is left out") for a in AXES),
            ("`because`", "the reason, as tables and plans show it"),
        ],
    )


MORE = {
    "timeout": 'longest time for a trial, such as `"90s"`, `"30m"` or `"2h"`',
    "plugins": "plugin files, relative to the grid file",
    "without": "names of plugins to block",
}
"""Of the settings whose type says most of it."""


def main() -> int:
    """Write the pages, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            REFERENCE.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"stale: docs/reference/{', docs/reference/'.join(stale)}; run `make docs` and commit\n")
        return 1
    for name in stale:
        sys.stdout.write(f"wrote docs/reference/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
