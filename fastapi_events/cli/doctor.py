"""`fastapi-events doctor`: is everything set up so that nothing is lost?"""

from __future__ import annotations

import argparse
from typing import Any

from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.text import say, say_json, shown
from fastapi_events.inspection import examine, handlers_in

_SIGNS = {"ok": "ok    ", "advice": "advice", "danger": "DANGER"}


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    add_command(
        commands, "doctor", _run, "look for what would lose events; exits 1 where it finds a danger",
        examples="""
        fastapi-events doctor app.events
        fastapi-events doctor app.events:events --json | jq 'select(.severity == "danger")'
        """,
    )  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    danger = False
    for handler in handlers_in(arguments.target):
        if not arguments.json:
            say(handler.name)
        for finding in examine(handler):
            danger = danger or finding.severity == "danger"
            if arguments.json:
                say_json(
                    {
                        "handler": handler.name, "severity": finding.severity,
                        "subject": finding.subject, "text": finding.text,
                    }
                )  # fmt: skip
            else:
                say(f"  {_SIGNS[finding.severity]}  {finding.subject}: {shown(finding.text)}")
    return 1 if danger else 0
