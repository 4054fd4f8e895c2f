"""The command line: parse, call, print; the one place that catches GanbenchError."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.errors import CheckFailedError, ConfigError, GanbenchError, PluginError, nearest

if TYPE_CHECKING:
    from ganbench.registry import Registry

EXIT_CODES = """\
exit codes: 0 all done; 1 a comparison or check failed; 2 usage or configuration;
            3 some trials failed; 130 interrupted"""
COMMANDS = (
    "run",
    "plan",
    "table",
    "compare",
    "list",
    "show",
    "status",
    "check",
    "new",
    "schema",
    "doctor",
    "verify",
    "report",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except GanbenchError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(words: list[str]) -> int:
    parser, subparsers = build_parser()
    command = next((w for w in words if not w.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        _add_plugin_commands(command, words, subparsers)
    args, unknown = parser.parse_known_args(words)
    if unknown:  # the parser of the command knows its options
        subparsers.choices.get(command, parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    call: Callable[[argparse.Namespace], int] | None = getattr(args, "call", None)
    if call is None:
        parser.print_help()
        return 2
    return call(args)


def _add_plugin_commands(command: str, words: list[str], subparsers: Any) -> None:
    """Load plugins for a command that is not ours: it may be theirs, and if not, the error names the nearest."""
    from ganbench.registry import Registry

    registry = Registry.load(_given(words, "--plugin"), without=_given(words, "--without"), components=False)
    registry.manager.hook.ganbench_commands(cli=subparsers)
    if command not in subparsers.choices:
        raise ConfigError(f"there is no command {command!r}", hint=nearest(command, subparsers.choices))


def _given(words: Sequence[str], option: str) -> list[str]:
    """The values of a repeatable option, before the parser is complete."""
    return [words[i + 1] for i, w in enumerate(words[:-1]) if w == option] + [
        w.partition("=")[2] for w in words if w.startswith(f"{option}=")
    ]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, with the nearest right word."""

    def error(self, message: str) -> Any:
        hint = f"see {self.prog} --help"
        if message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            known = [o for a in self._actions for o in a.option_strings]
            message, hint = f"there is no option {word!r}", nearest(word.partition("=")[0], known)
        raise ConfigError(message, place=self.prog, hint=hint)


def build_parser() -> tuple[argparse.ArgumentParser, Any]:  # noqa: PLR0915 # one for each option
    """The parser with our commands, and the object that commands are added to."""
    from ganbench import __version__

    parser = _Parser(
        prog="ganbench",
        description="Train every generator x discriminator x loss x regularizer of a grid with paired seeds, and "
        "tabulate what helped.",
        epilog=f"{EXIT_CODES}\n\nPlugins may add commands: `ganbench list commands` names them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ganbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, call: Callable[[argparse.Namespace], int], text: str, *, plugins: bool = True) -> Any:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(call=call)
        if plugins:
            added.add_argument("--plugin", action="append", default=[], metavar="FILE", help="load a plugin file")
            added.add_argument("--without", action="append", default=[], metavar="NAME", help="block a plugin")
        return added

    run = command("run", _run, "run a grid, or go on with it: the same command resumes")
    _grid_options(run)
    run.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0,1 (default: auto)")
    run.add_argument("--workers", type=_whole, default=0, metavar="N", help="processes at a time (default: all cores)")
    run.add_argument("--retry", default="", metavar="STATUS,...", help="run failed trials of these statuses again")
    run.add_argument("--timeout", metavar="T", help="longest time for a trial, such as 90s, 30m or 2h")
    run.add_argument("--smoke", action="store_true", help="two steps of one seed of each cell, into NAME-smoke")

    plan = command("plan", _plan, "show cells, skips with reasons and what is on disk; trains nothing")
    _grid_options(plan)
    plan.add_argument("--json", action="store_true", help="as JSON")

    table = command("table", _table, "print comparison tables of a run")
    _run_argument(table)
    table.add_argument("--by", default="", metavar="ROLE,...", help="one row for each choice of these roles")
    table.add_argument("--measure", action="append", default=[], metavar="NAME,...", help="only these measures")
    table.add_argument("--baseline", default="none", metavar="LABEL", help="the regularizer to compare with")
    table.add_argument("--pivot", metavar="ROLE", help="the levels of this role as columns, a table for each measure")
    table.add_argument("--diff", action="store_true", help="differences from the baseline, in units and in percent")
    table.add_argument("--pareto", metavar="NAME", help="mark rows that none beats in both this measure and step time")
    table.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, csv or json")

    compare = command("compare", _compare, "say what a factor does within a run, or what differs between two")
    _run_argument(compare)
    compare.add_argument("other", nargs="?", metavar="RUN2", help="compare this run with the first, cell by cell")
    compare.add_argument("--by", default="regularizer", metavar="ROLE,...", help="the factor; further roles split it")
    compare.add_argument("--measure", action="append", default=[], metavar="NAME,...", help="only these measures")
    compare.add_argument("--baseline", default="none", metavar="LABEL", help="the level to compare with")
    compare.add_argument(
        "--fail-on", action="append", default=[], metavar="COND", help="exit code 1 at this change: 'fd>5%%'"
    )
    compare.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, csv or json")

    listing = command("list", _list, "list components by role")
    listing.add_argument("role", nargs="?", help="only this role; `plugins` and `commands` list those")
    listing.add_argument("--json", action="store_true", help="as JSON")

    show = command("show", _show, "show one component: formula, fields, hook points, source")
    show.add_argument("role")
    show.add_argument("name")
    show.add_argument("--json", action="store_true", help="as JSON")

    status = command("status", _status, "show how far a run is", plugins=False)
    _run_argument(status)
    status.add_argument("--json", action="store_true", help="as JSON")

    check = command("check", _check, "hold a plugin file or a component to the contract of its role")
    check.add_argument("target", metavar="FILE|NAME")
    check.add_argument("--json", action="store_true", help="as JSON")

    new = command("new", _new, "write a plugin file or a grid to start from", plugins=False)
    new.add_argument("role", help="a role, or grid")
    new.add_argument("name", help="lower-case words joined by hyphens")

    command("schema", _schema, "print the JSON Schema of grid files, for editors")

    doctor = command("doctor", _doctor, "look at this machine and installation, with verdicts")
    doctor.add_argument("--json", action="store_true", help="as JSON")

    verify = command("verify", _verify, "check the files of a run", plugins=False)
    _run_argument(verify)
    verify.add_argument("--json", action="store_true", help="as JSON")

    _report_options(command("report", _report, "write one HTML page about a run", plugins=False))
    return parser, commands


def _grid_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", required=True, metavar="FILE", help="the grid file")
    parser.add_argument("--results", default="results", metavar="DIR", help="the folder of runs (default: results)")
    parser.add_argument("--seeds", type=_seeds, metavar="N|A,B,...", help="seeds instead of the grid's")
    parser.add_argument("--steps", type=_whole, metavar="N", help="steps instead of the grid's")


def _report_options(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: report.html in the run)")
    parser.add_argument("--baseline", default="none", metavar="LABEL", help="the regularizer to compare with")


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, or its name in the folder of runs")
    parser.add_argument("--results", default="results", metavar="DIR", help="the folder of runs (default: results)")


def _whole(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    """``3`` is seeds 0, 1, 2; ``3,`` or ``1,3`` are those seeds."""
    parts = [p for p in text.split(",") if p]
    if not parts or not all(p.isdigit() for p in parts) or text == "0":
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of seeds nor a list such as 0,1,2")
    return tuple(range(int(text))) if "," not in text else tuple(int(p) for p in parts)


# -- commands ------------------------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ganbench import progress
    from ganbench.grid import Grid, parse_duration
    from ganbench.runner import Options, execute

    grid = Grid.load(args.grid)
    options = Options(
        device=args.device,
        workers=args.workers,
        seeds=args.seeds,
        steps=args.steps,
        retry=tuple(filter(None, args.retry.split(","))),
        timeout=None if args.timeout is None else parse_duration(args.timeout, place="--timeout"),
        plugins=tuple(args.plugin),
        without=tuple(args.without),
        smoke=args.smoke,
    )
    console = Console(stderr=True)
    live = console.is_terminal and not console.is_dumb_terminal
    display = progress.Bars(console) if live else progress.Lines(sys.stderr)
    outcome = execute(grid, Path(args.results), options, display)
    _print_tables(outcome.results, args)
    folder = outcome.run.folder
    if outcome.exit_code == 130:
        print(f"\ninterrupted: finished trials are kept in {folder}; the same command goes on", file=sys.stderr)
    else:
        print(f"\nresults: {folder}", file=sys.stderr)
    return outcome.exit_code


def _print_tables(results: Any, args: argparse.Namespace, style: str = "rich", **choices: Any) -> None:
    from ganbench.registry import VIEW_GROUP, Registry
    from ganbench.render import STYLES, render
    from ganbench.tabulate import tables

    registry = Registry.load(args.plugin, groups=[VIEW_GROUP], components=False)
    extra: dict[str, Any] = {}
    for found in registry.manager.hook.ganbench_columns(records=results.records):
        extra |= found
    made = tables(results, columns=extra or None, **choices)
    if style not in STYLES:
        texts = [registry.manager.hook.ganbench_render(table=t, style=style) for t in made]
        if not made or any(t is None for t in texts):
            raise ConfigError(f"there is no table style {style!r}", place="--format", hint=nearest(style, STYLES))
        print("\n\n".join(texts))
        return
    print(render(made, style), end="")


def _plan(args: argparse.Namespace) -> int:
    from ganbench import plan as planning
    from ganbench import views
    from ganbench.grid import Grid

    grid = Grid.load(args.grid)
    registry = _registry(args, grid.plugin_files, grid.settings.without)
    made = planning.make(grid, registry, Path(args.results) / grid.name, seeds=args.seeds, steps=args.steps)
    if args.json:
        _print_json(views.plan_facts(made))
    else:
        views.print_plan(made)
    return 0


def _table(args: argparse.Namespace) -> int:
    from ganbench.results import load

    results = load(args.run, args.results)
    measures = [m for given in args.measure for m in given.split(",") if m]
    by = [r for r in args.by.split(",") if r]
    _print_tables(
        results,
        args,
        args.format,
        by=by,
        measures=measures,
        baseline=args.baseline,
        pivot=args.pivot,
        diff=args.diff,
        pareto=args.pareto,
    )
    return 0


def _compare(args: argparse.Namespace) -> int:
    from ganbench import compare, compare_table, gate, versus
    from ganbench.render import render
    from ganbench.results import load

    gates = [gate.Gate.parse(text) for text in args.fail_on]
    measures = [m for given in args.measure for m in given.split(",") if m]
    results = load(args.run, args.results)
    if args.other is not None:
        pair = versus.versus(results, load(args.other, args.results), show=measures)
        print(render(versus.tables_of(pair), args.format), end="")
        outcomes = [gate.check(g, pair.named(g.measure)) for g in gates]
    else:
        by = [r for r in args.by.split(",") if r]
        found = compare.comparisons(results.records, results.measures, by=by, show=measures, baseline=args.baseline)
        ranks = compare.rankings(results.records, results.measures, role=by[0], show=measures) if len(by) == 1 else []
        print(render(compare_table.tables_of(found, run=results.name, ranks=ranks), args.format), end="")
        outcomes = [gate.check(g, compare_table.named(found, g.measure)) for g in gates]
    if any(outcome.breaches for outcome in outcomes):
        raise CheckFailedError("; ".join(str(outcome) for outcome in outcomes if outcome.breaches), place="--fail-on")
    return 0


def _list(args: argparse.Namespace) -> int:
    from ganbench import views

    registry = _registry(args)
    if args.role == "commands":
        _, subparsers = build_parser()
        registry.manager.hook.ganbench_commands(cli=subparsers)
        found: Any = sorted(subparsers.choices)
        print(json.dumps(found) if args.json else "\n".join(found))
        return 0
    if args.role == "plugins":
        found = [{"name": o.name, "from": o.where} for o in registry.origins.values()]
        if args.json:
            _print_json(found)
        else:
            views.print_pairs("plugins", [(p["name"], p["from"]) for p in found])
        return 0
    if args.role is not None:
        registry.names(args.role)
    facts = views.component_facts(registry, args.role)
    if args.json:
        _print_json(facts)
    else:
        views.print_components(facts)
    return 0


def _show(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.loss import Loss
    from ganbench.regularizer import Regularizer

    registry = _registry(args)
    component = registry.get(args.role, args.name)
    facts = views.one_component(registry, component)
    if issubclass(component, Loss | Regularizer):
        from ganbench.dirac import verdict

        with contextlib.suppress(ConfigError):  # one with a required field has no default to judge
            facts["dirac"] = verdict(component.from_table({}))
    if args.json:
        _print_json(facts)
    else:
        views.print_component(facts)
    return 0


def _status(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.results import load

    facts = views.status_facts(load(args.run, args.results))
    if args.json:
        _print_json(facts)
    else:
        views.print_status(facts)
    return 0


def _check(args: argparse.Namespace) -> int:
    from ganbench import testing, views

    file = args.target.endswith(".py")
    registry = _registry(args, [Path(args.target)] if file else [])
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
        _print_json([{"component": c.title(), "check": f.name, "ok": f.ok, "message": f.message} for c, f in findings])
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

    _print_json(grid_schema(_registry(args)))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from ganbench import doctor, views

    findings = doctor.examine(args.plugin, args.without)
    if args.json:
        _print_json([{"what": f.what, "ok": f.ok, "message": f.message} for f in findings])
    else:
        views.print_verdicts(findings)
    return 0 if all(f.ok for f in findings) else 1


def _verify(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.results import load
    from ganbench.verify import verify

    problems = verify(load(args.run, args.results))
    if args.json:
        _print_json(problems)
    else:
        views.print_problems(problems)
    return 1 if problems else 0


def _report(args: argparse.Namespace) -> int:
    from ganbench.report import write
    from ganbench.results import load

    results = load(args.run, args.results)
    path = Path(args.output) if args.output else results.path / "report.html"
    print(write(results, path, baseline=args.baseline))
    return 0


def _registry(args: argparse.Namespace, files: Sequence[str | Path] = (), without: Sequence[str] = ()) -> Registry:
    from ganbench.registry import Registry

    return Registry.load((*files, *args.plugin), without=(*without, *args.without))


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def _complain(error: GanbenchError) -> None:
    if isinstance(error, PluginError) and error.traceback:
        print(error.traceback, file=sys.stderr)
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = "\033[1;31merror:\033[0m" if colour else "error:"
    print(f"{label} {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
