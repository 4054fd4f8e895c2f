"""Writes the reference pages in docs/reference from the code; with ``--check``, says which of them are stale.

Run it as ``make docs`` or ``make docs-check``. The pages do not depend on the Python version: the command line's page
is made from the parser's options, since argparse words its own help differently from version to version.
"""
# ruff: noqa: INP001 # a script, not a package

from __future__ import annotations

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganbench import hookspecs
from ganbench.cli import EXIT_CODES, build_parser
from ganbench.component import describe, field_types, fields, plain
from ganbench.facts import SIGNS, one_component, toml
from ganbench.grid import AXES, DEFAULTS, Settings
from ganbench.registry import Registry
from ganbench.regularizer import HOOK_POINTS, Batch, DStep, GStep, Regularizer

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run `make docs`. -->"


def pages() -> dict[str, str]:
    """The text of every page, by file name."""
    made = {"components.md": components, "hooks.md": hooks, "cli.md": command_line, "grid-keys.md": grid_keys}
    return {name: _page(lines()) for name, lines in made.items()}


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


def components() -> Iterator[str]:
    """Every component that comes with ganbench: formula, fields, hook points or measures, source."""
    registry = Registry.load()
    ours = [c for c in registry.components() if registry.origin(c[2]).where.partition(" ")[0] == "ganbench"]
    roles: dict[str, list[dict[str, Any]]] = {}
    for role, _, cls in ours:
        roles.setdefault(role, []).append(one_component(registry, cls))
    yield "# Components"
    yield "What comes with ganbench, by role. `ganbench list` and `ganbench show ROLE NAME` say the same, and include"
    yield "installed plugins. Fields of the role itself, which all its components have, are listed once."
    yield ""
    for role, found in roles.items():
        links = (f"[{facts['name']}](#{role}-{facts['name']})" for facts in found)
        yield f"- [{role}](#{role}): {', '.join(links)}"
    for role, found in roles.items():
        shared = _shared(role, registry)
        yield from ("", f"## {role}")
        if shared:
            yield from ("", f"Every {role} has:", "")
            every = [f for f in found[0]["fields"] if f["name"] in shared]
            yield from _fields(every)
        for facts in found:
            yield from ("", f"### {role} {facts['name']}", "", *_text(facts["doc"]))
            own = [f for f in facts["fields"] if f["name"] not in shared or _differs(f, found)]
            if own:
                yield from ("", *_fields(own))
            if facts["measures"]:
                yield from ("", *_table(("measure", "better", "unit"), map(_measure, facts["measures"])))
            if facts["hook_points"]:
                yield from ("", f"Hook points: {', '.join(map(_code, facts['hook_points']))}.")
            if facts["source"]:
                yield from ("", f"Source: <{facts['source']}>")


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
    "precision": "the type of weights, data and latents; metrics compute in float64 either way",
    "engine": "how seeds are trained: one after another",
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
