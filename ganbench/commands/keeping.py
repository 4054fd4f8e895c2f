"""Commands that look after runs and installations: status, verify, doctor."""

from __future__ import annotations

import argparse

from ganbench.commands.options import Adder, json_option, print_json, run_argument
from ganbench.errors import ConfigError


def add(command: Adder) -> None:
    """Add the commands of this module."""
    status = command("status", _status, "show how far a run is, also while it goes on", plugins=False)
    run_argument(status)
    status.add_argument("--watch", action="store_true", help="show it until it ends")
    json_option(status)

    verify = command("verify", _verify, "check the files of a run", plugins=False)
    run_argument(verify)
    json_option(verify)

    doctor = command("doctor", _doctor, "look at this machine and installation, with verdicts")
    json_option(doctor)


def _status(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.results import load

    results = load(args.run, args.results)
    if args.watch:
        from ganbench.watch import watch

        if args.json:
            raise ConfigError("--watch is for people", place="--json", hint="ask for --json as often as you like")
        results = watch(results.path)
    facts = views.status_facts(results)
    if args.json:
        print_json(facts)
    else:
        views.print_status(facts)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from ganbench import views
    from ganbench.results import load
    from ganbench.verify import verify

    problems = verify(load(args.run, args.results))
    if args.json:
        print_json(problems)
    else:
        views.print_problems(problems)
    return 1 if problems else 0


def _doctor(args: argparse.Namespace) -> int:
    from ganbench import doctor, views

    findings = doctor.examine(args.plugin, args.without)
    if args.json:
        print_json([{"what": f.what, "ok": f.ok, "message": f.message} for f in findings])
    else:
        views.print_verdicts(findings)
    return 0 if all(f.ok for f in findings) else 1
