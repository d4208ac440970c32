"""The command `fastapi-events`: each module here is one command, or what commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from fastapi_events import __version__
from fastapi_events.cli.arguments import PrintCompletion, examples_of
from fastapi_events.cli.text import block, flush, say
from fastapi_events.errors import ConfigurationError, FastapiEventError, NotPublished

_MODULES = {
    "worker": "worker", "probe": "probe", "status": "status", "subscriptions": "subscriptions",
    "pause": "pause", "resume": "pause", "paused": "pause", "event": "event", "emit": "emit", "dead": "dead",
    "outbox": "outbox", "relay": "relay", "catalogue": "catalogue", "audit": "audit",
    "doctor": "doctor", "console": "console",
}  # fmt: skip
"""The module of each command."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters:
        argv: Its arguments; those of the process if not given.

    Returns:
        The exit code: 0 if it did what it was asked, 1 if not, 2 if it was asked in a wrong way.
    """
    own, passed_on = _split(list(sys.argv[1:] if argv is None else argv))
    commands = parser(own[0] if own else None)
    try:
        arguments, unknown = commands.parse_known_args(
            own, argparse.Namespace(passed_on=passed_on, passes_on=False)
        )
        if unknown:
            _refuse(arguments, unknown)
        if passed_on and not arguments.passes_on:
            commands.error("only `worker` passes on what follows --")
        if os.getcwd() not in sys.path:
            sys.path.insert(
                0, os.getcwd()
            )  # as `dramatiq` and `celery` do, where the application's modules are
        return int(arguments.run(arguments))
    except ConfigurationError as error:
        return _failed(error, EXIT_USAGE)
    except NotPublished as error:
        reason = str(error).rstrip(".")
        said = (
            f"The broker has not taken it: {reason}. `fastapi-events doctor` shows whether it is reachable."
        )
        return _failed(said, EXIT_FAILED)
    except FastapiEventError as error:
        return _failed(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        flush()


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands and their arguments.

    Parameters:
        command: The only one whose module is imported, where there is one of this name: some have to be
            quick.
    """
    whole = argparse.ArgumentParser(
        prog="fastapi-events",
        description="Look after events: what became of them, dead letters, the outbox, workers.",
        epilog=examples_of(
            """
            fastapi-events doctor app.events
            fastapi-events worker app.handlers --reload
            fastapi-events event show app.events 0b6f2a5e
            fastapi-events dead list app.events
            """
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    whole.add_argument("--version", action="version", version=f"fastapi-events {__version__}")
    whole.add_argument(
        "--print-completion", action=PrintCompletion, choices=("bash", "zsh", "tcsh"), metavar="SHELL",
        help="print a script that completes these commands in bash, zsh or tcsh",
    )  # fmt: skip
    # With `prog`, lest argparse formats the usage to find it out, which takes longer than a quick command.
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND", prog=whole.prog)
    modules = [_MODULES[command]] if command in _MODULES else dict.fromkeys(_MODULES.values())
    for name in modules:
        import_module(f"fastapi_events.cli.{name}").add_parser(commands)
    return whole


def _refuse(arguments: argparse.Namespace, unknown: Sequence[str]) -> NoReturn:
    """End with the usage of the command that was meant, and not of all commands."""
    command: argparse.ArgumentParser = arguments.parser
    typed = " ".join(unknown)
    hint = ""
    if arguments.passes_on:
        hint = f"; what dramatiq or celery is to get follows --: {command.prog} {arguments.target} -- {typed}"
    command.error(f"unrecognized arguments: {typed}{hint}")


def _failed(error: FastapiEventError | str, code: int) -> int:
    say(f"fastapi-events: {block(str(error))}", to=sys.stderr)
    return code


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split arguments into ours and those after `--`, which go to the engine."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]
