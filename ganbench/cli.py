"""The command line: parse, call, print; the one place that catches GanbenchError."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ganbench.commands import add_all
from ganbench.errors import ConfigError, GanbenchError, PluginError, nearest

EXIT_CODES = """\
exit codes: 0 all done; 1 a comparison or check failed; 2 usage or configuration;
            3 some trials failed; 130 interrupted"""


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
    if command is not None and command not in subparsers.choices:
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


def build_parser() -> tuple[argparse.ArgumentParser, Any]:
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
        added.set_defaults(call=call, commands=commands)
        if plugins:
            added.add_argument(
                "--plugin",
                action="append",
                default=[],
                metavar="FILE|NAME",
                help="load a plugin file, or switch on an installed plugin",
            )
            added.add_argument("--without", action="append", default=[], metavar="NAME", help="block a plugin")
        return added

    add_all(command)
    return parser, commands


def _complain(error: GanbenchError) -> None:
    if isinstance(error, PluginError) and error.traceback:
        print(error.traceback, file=sys.stderr)
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = "\033[1;31merror:\033[0m" if colour else "error:"
    print(f"{label} {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
