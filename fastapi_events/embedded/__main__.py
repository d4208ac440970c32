"""`python -m fastapi_events.embedded`: the server in the foreground, alone or around a command."""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

from fastapi_events.constants import BROKER_URL_ENV_VAR
from fastapi_events.embedded.server import EmbeddedServer
from fastapi_events.embedded.signals import SignalInbox
from fastapi_events.errors import ConfigurationError

_NOT_FOUND = 127
_KILLED_BY = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or Ctrl-C; or, with a command, for as long as that runs.

    Returns:
        The command's exit code, or 128 and the number of the signal that ended it; without a command 0, or
        1 if the server could not be started or ended by itself.
    """
    own, command = _split(list(sys.argv[1:] if arguments is None else arguments))
    options = parser().parse_args(own)
    try:
        server = EmbeddedServer(options.dir, port=options.port)
        return _run_around(command, server) if command else _run_alone(server)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def parser() -> argparse.ArgumentParser:
    """The parser of the arguments before `--`."""
    whole = argparse.ArgumentParser(
        prog="python -m fastapi_events.embedded",
        usage="%(prog)s [--dir DIR] [--port PORT] [-- COMMAND ...]",
        description="Run a Valkey server that keeps its data and ends with this process.",
        allow_abbrev=False,
        epilog=f"A COMMAND gets the server's URL in {BROKER_URL_ENV_VAR}, and its exit code becomes ours.",
    )
    whole.add_argument("--dir", default=".valkey", help="where the data is kept (default: %(default)s)")
    whole.add_argument("--port", type=int, default=0, help="of 127.0.0.1 (default: a free one)")
    return whole


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


def _run_alone(server: EmbeddedServer) -> int:
    with SignalInbox() as inbox, server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        select.select([server.fileno(), inbox.fileno()], [], [])
        exit_code = server.wait(0.0)
        if exit_code is None:
            return 0
        sys.stderr.write(f"The server ended with the exit code {exit_code}.\n{server.log_tail()}\n")
        return 1


def _run_around(command: Sequence[str], server: EmbeddedServer) -> int:
    with SignalInbox() as inbox, server:
        try:
            # In our process group, with our terminal: Ctrl-C reaches it without our help.
            process = subprocess.Popen(  # noqa: S603 - running the caller's command is the point
                command, env={**os.environ, BROKER_URL_ENV_VAR: server.url}
            )
        except OSError as error:
            sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
            return _NOT_FOUND
        signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        if signal.SIGTERM in inbox.take():  # it came before there was a process to send it to
            process.terminate()
        exit_code = process.wait()
        if server.wait(0.0) is not None:
            sys.stderr.write(f"The server ended before {command[0]} did.\n{server.log_tail()}\n")
        return exit_code if exit_code >= 0 else _KILLED_BY - exit_code


if __name__ == "__main__":
    sys.exit(main())
