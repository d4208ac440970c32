"""`fastapi-events doctor`: is everything set up so that nothing is lost?"""

from __future__ import annotations

import argparse
from typing import Any

from fastapi_events.cli.text import shown
from fastapi_events.inspection import examine, handlers_in

_SIGNS = {"ok": "ok    ", "advice": "advice", "danger": "DANGER"}


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    help_ = "look for what would lose events; exits 1 where it finds a danger"
    parser = commands.add_parser("doctor", help=help_, description=help_)
    parser.add_argument("target", help="where the handlers are: app.events, or app.events:events")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    danger = False
    for handler in handlers_in(arguments.target):
        print(handler.name)
        for finding in examine(handler):
            danger = danger or finding.severity == "danger"
            print(f"  {_SIGNS[finding.severity]}  {finding.subject}: {shown(finding.text)}")
    return 1 if danger else 0
