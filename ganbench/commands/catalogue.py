"""Commands about components: list, show, check, new, schema."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from ganbench.commands.options import Adder, json_option, load_registry, print_json
from ganbench.errors import CheckFailedError, ConfigError, nearest


def add(command: Adder) -> None:
    """Add the commands of this module."""
    listing = command("list", _list, "list components by role")
    listing.add_argument("role", nargs="?", help="only this role; `plugins` and `commands` list those")
    json_option(listing)

    show = command("show", _show, "show one component: formula, fields, hook points, source")
    show.add_argument("role")
    show.add_argument("name")
    json_option(show)

    check = command("check", _check, "hold a plugin file or a component to the contract of its role")
    check.add_argument("target", metavar="FILE|NAME")
    json_option(check)

    new = command("new", _new, "write a plugin file or a grid to start from", plugins=False)
    new.add_argument("role", help="a role, or grid")
    new.add_argument("name", help="lower-case words joined by hyphens")

    command("schema", _schema, "print the JSON Schema of grid files, for editors")


def _list(args: argparse.Namespace) -> int:
    from ganbench import views

    registry = load_registry(args)
    if args.role == "commands":
        subparsers = args.commands
        registry.manager.hook.ganbench_commands(cli=subparsers)
        found: Any = sorted(subparsers.choices)
        print(json.dumps(found) if args.json else "\n".join(found))
        return 0
    if args.role == "plugins":
        from ganbench.registry import optional

        found = [{"name": o.name, "from": o.where} for o in registry.origins.values()]
        on = {plugin["name"] for plugin in found}
        found += [
            {"name": point.name, "from": f"off; --plugin {point.name} switches it on"}
            for point in optional()
            if point.name not in on
        ]
        if args.json:
            print_json(found)
        else:
            views.print_pairs("plugins", [(p["name"], p["from"]) for p in found])
        return 0
    if args.role is not None:
        registry.names(args.role)
    facts = views.component_facts(registry, args.role)
    if args.json:
        print_json(facts)
    else:
        views.print_components(facts)
    return 0


def _show(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.loss import Loss
    from ganbench.regularizer import Regularizer

    registry = load_registry(args)
    component = registry.get(args.role, args.name)
    facts = views.one_component(registry, component)
    if issubclass(component, Loss | Regularizer):
        from ganbench.dirac import verdict

        with contextlib.suppress(ConfigError):  # one with a required field has no default to judge
            facts["dirac"] = verdict(component.from_table({}))
    if args.json:
        print_json(facts)
    else:
        views.print_component(facts)
    return 0


def _check(args: argparse.Namespace) -> int:
    from ganbench import testing, views

    file = args.target.endswith(".py")
    registry = load_registry(args, [Path(args.target)] if file else [])
    if file:
        chosen = [c for _, _, c in registry.components() if registry.origin(c).file == Path(args.target).resolve()]
        if not chosen:
            raise ConfigError("the plugin offers no component", place=args.target, hint="see docs/write-a-plugin.md")
    else:
        chosen = [c for _, name, c in registry.components() if name == args.target]
        if not chosen:
            names = {name for _, name, _ in registry.components()}
            raise ConfigError(f"there is no component {args.target!r}", hint=nearest(args.target, names))
    findings = [(c, f) for c in chosen for f in testing.check(c)]
    if args.json:
        print_json([{"component": c.title(), "check": f.name, "ok": f.ok, "message": f.message} for c, f in findings])
    else:
        views.print_findings(findings)
    failed = sum(not f.ok for _, f in findings)
    if failed and not args.json:
        raise CheckFailedError(f"{failed} of {len(findings)} checks failed")
    return 1 if failed else 0


def _new(args: argparse.Namespace) -> int:
    from ganbench.scaffold import write

    for line in write(args.role, args.name):
        print(line)
    return 0


def _schema(args: argparse.Namespace) -> int:
    from ganbench.schema import grid_schema

    print_json(grid_schema(load_registry(args)))
    return 0
