"""The command `fastapi-events`: each module here is one command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastapi_events import __version__
from fastapi_events.cli import dead, doctor, outbox, relay, worker
from fastapi_events.errors import FastapiEventError

_COMMANDS = (worker, dead, outbox, relay, doctor)

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters:
        argv: Its arguments; those of the process if not given.

    Returns:
        The exit code: 0 if it did what it was asked, 1 if not, 2 if it was asked in a wrong way.
    """
    own, passed_on = _split(list(sys.argv[1:] if argv is None else argv))
    commands = parser()
    arguments = commands.parse_args(own, argparse.Namespace(passed_on=passed_on, passes_on=False))
    if passed_on and not arguments.passes_on:
        commands.error("only `worker` passes on what follows --")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `dramatiq` and `celery` do, where the application's modules are
    try:
        return int(arguments.run(arguments))
    except FastapiEventError as error:
        print(f"fastapi-events: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of all commands and their arguments."""
    whole = argparse.ArgumentParser(
        prog="fastapi-events", description="Look after events: dead letters, the outbox, workers."
    )
    whole.add_argument("--version", action="version", version=f"fastapi-events {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return whole


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What is for us, and what follows `--`, which is for the engine."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]
