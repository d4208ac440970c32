"""`fastapi-events relay`: a relay as a process of its own."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import Any

from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.json_lines import JsonLines
from fastapi_events.inspection import handlers_in
from fastapi_events.relay import Relay


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "relay", _run,
        "publish what waits in the outbox, until SIGTERM or Ctrl-C; several may run at once",
        examples="""
        fastapi-events relay app.events
        fastapi-events relay app.events --json
        """,
        json=False,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="log one JSON object a line")


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments.json:
        for each in logging.getLogger().handlers:
            each.setFormatter(JsonLines())
    handlers = handlers_in(arguments.target)
    relay = Relay(handlers)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: relay.stop())
    logging.getLogger(__name__).info("Relaying for %s", ", ".join(each.name for each in handlers))
    relay.run()
    return 0
