"""`fastapi-events relay`: a relay as a process of its own."""

from __future__ import annotations

import argparse
import logging
import signal
from typing import Any

from fastapi_events.inspection import handlers_in
from fastapi_events.relay import Relay


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    help_ = "publish what waits in the outbox, until SIGTERM or Ctrl-C; several may run at once"
    parser = commands.add_parser("relay", help=help_, description=help_)
    parser.add_argument("target", help="where the handlers are: app.events, or app.events:events")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    handlers = handlers_in(arguments.target)
    relay = Relay(handlers)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: relay.stop())
    logging.getLogger(__name__).info("Relaying for %s", ", ".join(each.name for each in handlers))
    relay.run()
    return 0
