"""Commands that compare what a run measured: table, compare, rank, report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganbench.commands.options import Adder, measure_option, names, run_argument
from ganbench.errors import CheckFailedError, ConfigError, nearest

if TYPE_CHECKING:
    from ganbench.registry import Registry
    from ganbench.table import Table


def add(command: Adder) -> None:
    """Add the commands of this module."""
    table = command("table", _table, "print comparison tables of a run")
    run_argument(table)
    table.add_argument("--by", default="", metavar="ROLE,...", help="one row for each choice of these roles")
    measure_option(table)
    table.add_argument("--baseline", default="none", metavar="LABEL", help="the regularizer to compare with")
    table.add_argument("--pivot", metavar="ROLE", help="the levels of this role as columns, a table for each measure")
    table.add_argument("--diff", action="store_true", help="differences from the baseline, in units and in percent")
    table.add_argument("--pareto", metavar="NAME", help="mark rows that none beats in both this measure and step time")
    table.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, html, csv or json")

    compare = command("compare", _compare, "say what a factor does within a run, or what differs between two")
    run_argument(compare)
    compare.add_argument("other", nargs="?", metavar="RUN2", help="compare this run with the first, cell by cell")
    compare.add_argument("--by", default="regularizer", metavar="ROLE,...", help="the factor; further roles split it")
    measure_option(compare)
    compare.add_argument("--baseline", default="none", metavar="LABEL", help="the level to compare with")
    compare.add_argument(
        "--fail-on", action="append", default=[], metavar="COND", help="exit code 1 at this change: 'fd>5%%'"
    )
    compare.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, html, csv or json")

    rank = command("rank", _rank, "say how the levels of a factor stand over all cells of a run")
    run_argument(rank)
    rank.add_argument("--by", default="regularizer", metavar="ROLE", help="the factor")
    measure_option(rank)
    rank.add_argument("--baseline", default="none", metavar="LABEL", help="the level to compare with")
    rank.add_argument("--profile", action="store_true", help="the share of trials as good as each of some bounds, too")
    rank.add_argument("--format", default="rich", metavar="STYLE", help="rich, md, latex, html, csv or json")

    report = command("report", _report, "write one HTML page about a run", plugins=False)
    run_argument(report)
    report.add_argument("-o", "--output", metavar="FILE", help="the file to write (default: report.html in the run)")
    report.add_argument("--baseline", default="none", metavar="LABEL", help="the regularizer to compare with")


def print_tables(results: Any, args: argparse.Namespace, style: str = "rich", **choices: Any) -> None:
    """Print the tables of ``results`` in a style of ours or of a plugin."""
    from ganbench.registry import VIEW_GROUP, Registry
    from ganbench.tabulate import tables

    registry = Registry.load(args.plugin, groups=[VIEW_GROUP], components=False)
    extra: dict[str, Any] = {}
    for found in registry.manager.hook.ganbench_columns(records=results.records):
        extra |= found
    made = tables(results, columns=extra or None, **choices)
    _render(made, style, registry)


def _print(made: Sequence[Table], args: argparse.Namespace) -> None:
    from ganbench.registry import VIEW_GROUP, Registry

    _render(made, args.format, Registry.load(args.plugin, groups=[VIEW_GROUP], components=False))


def _render(made: Sequence[Table], style: str, registry: Registry) -> None:
    """Print tables in a style of ours, or of a plugin."""
    from ganbench.render import STYLES, render

    if style not in STYLES:
        texts = [registry.manager.hook.ganbench_render(table=t, style=style) for t in made]
        if not made or any(t is None for t in texts):
            raise ConfigError(f"there is no table style {style!r}", place="--format", hint=nearest(style, STYLES))
        print("\n\n".join(texts))
        return
    print(render(made, style), end="")


def _table(args: argparse.Namespace) -> int:
    from ganbench.results import load

    results = load(args.run, args.results)
    measures = names(args.measure)
    by = names(args.by)
    print_tables(
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
    from ganbench import compare, compare_table, gate, versus, versus_table
    from ganbench.results import load

    gates = [gate.Gate.parse(text) for text in args.fail_on]
    measures = names(args.measure)
    results = load(args.run, args.results)
    if args.other is not None:
        pair = versus.versus(results, load(args.other, args.results), show=measures)
        _print(versus_table.tables_of(pair), args)
        outcomes = [gate.check(g, pair.named(g.measure)) for g in gates]
    else:
        by = names(args.by)
        found = compare.comparisons(
            results.records,
            results.measures,
            by=by,
            show=measures,
            baseline=args.baseline,
            times=results.step_times,
        )
        why = compare.left_out(results.records, results.measures, factor=by[0] if by else "regularizer", show=measures)
        _print(compare_table.tables_of(found, run=results.name, left_out=why), args)
        outcomes = [gate.check(g, compare_table.named(found, g.measure)) for g in gates]
    if any(outcome.breaches for outcome in outcomes):
        raise CheckFailedError("; ".join(str(outcome) for outcome in outcomes if outcome.breaches), place="--fail-on")
    return 0


def _rank(args: argparse.Namespace) -> int:
    from ganbench import arrivals_table, overall, overall_table
    from ganbench.results import load

    results = load(args.run, args.results)
    show = names(args.measure)
    found = overall.overall(results.records, results.measures, role=args.by, show=show, baseline=args.baseline)
    why = overall.left_out(results.records, results.measures, show=show)
    made = overall_table.tables_of(found, run=results.name, profiles=args.profile, left_out=why)
    soon = arrivals_table.arrivals(results.records, results.targets, role=args.by)
    _print([*made, *arrivals_table.tables_of(soon, run=results.name, profiles=args.profile)], args)
    return 0


def _report(args: argparse.Namespace) -> int:
    from ganbench.report import write
    from ganbench.results import load

    results = load(args.run, args.results)
    path = Path(args.output) if args.output else results.path / "report.html"
    print(write(results, path, baseline=args.baseline))
    return 0
