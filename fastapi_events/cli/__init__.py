"""The command `fastapi-events`: each module here is one command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from fastapi_events import __version__
from fastapi_events.cli import dead, doctor, outbox, relay
from fastapi_events.errors import FastapiEventError

_COMMANDS = (dead, outbox, relay, doctor)

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters:
        argv: Its arguments; those of the process if not given.

    Returns:
        The exit code: 0 if it did what it was asked, 1 if not, 2 if it was asked in a wrong way.
    """
    parser = argparse.ArgumentParser(
        prog="fastapi-events", description="Look after events: dead letters, the outbox, workers."
    )
    parser.add_argument("--version", action="version", version=f"fastapi-events {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    arguments = parser.parse_args(argv)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `dramatiq` and `celery` do, where the application's modules are
    try:
        return int(arguments.run(arguments))
    except FastapiEventError as error:
        print(f"fastapi-events: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
