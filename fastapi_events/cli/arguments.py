"""What the parsers of all commands share: the target, `--json`, and an example at the end of `--help`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

Run = Callable[[argparse.Namespace], int]

_AGE = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

TARGET = "where the handlers are: app.events, or app.events:events"


def add_command(
    commands: Any,
    name: str,
    run: Run,
    summary: str,
    *,
    examples: str,
    target: str = TARGET,
    metavar: str | None = None,
    json: bool = True,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command that looks at the handlers of a target.

    Parameters:
        commands: What `add_subparsers` gave.
        run: Called with the arguments; returns the exit code.
        summary: What it does, in a sentence that is imperative.
        examples: Command lines, one a line, for the end of `--help`.
        target: What `--help` says of the first argument.
        metavar: What `--help` calls it.
        json: Whether the command can answer as JSON.
        usage: Where argparse's own would be wrong.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, usage=usage, epilog=examples_of(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("target", help=target, metavar=metavar)
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_group(commands: Any, name: str, summary: str, *, examples: str) -> Any:
    """Add a command that has actions, and return what takes them."""
    parser = commands.add_parser(
        name, help=summary, description=summary, epilog=examples_of(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    return parser.add_subparsers(title="actions", required=True, metavar="ACTION")


def examples_of(lines: str) -> str:
    """The end of a `--help`."""
    return "Examples:\n" + "\n".join(f"  {line.strip()}" for line in lines.strip().splitlines())


def age(text: str) -> timedelta:
    """A length of time, as people type it: 30d, 12h, 45m, 10s."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time; write for example 30d, 12h or 45m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def some_text(given: str) -> str:
    """A text that is not empty, as the variable of a shell is that has not been set.

    An empty filter would choose nothing, or all.
    """
    if not given.strip():
        raise argparse.ArgumentTypeError(f"{given!r} is empty; is a variable not set?")
    return given


def number(text: str) -> int:
    """How many, as people type it: 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


class PrintCompletion(argparse.Action):
    """`--print-completion SHELL`: print a script for the shell, and end."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print the script; raises `MissingDependencyError` where shtab is not installed."""
        from fastapi_events.cli.completion import script  # an extra, which no other command needs
        from fastapi_events.cli.text import say

        say(script(parser, str(values)))
        parser.exit()
