"""`fastapi-events doctor`: is everything set up so that nothing is lost?"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from fastapi_events.cli.arguments import add_command
from fastapi_events.cli.text import say, say_json, shown
from fastapi_events.handlers.task_queue.diagnosis import Finding
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
        findings = list(examine(handler))
        danger = danger or any(each.severity == "danger" for each in findings)
        if arguments.json:
            for each in findings:
                say_json(
                    {
                        "handler": handler.name, "severity": each.severity, "subject": each.subject,
                        "text": each.text,
                    }
                )  # fmt: skip
            continue
        say(handler.name)
        for (severity, text), subjects in _by_text(findings).items():
            say(f"  {_SIGNS[severity]}  {', '.join(subjects)}: {shown(text)}")
    return 1 if danger else 0


def _by_text(findings: Iterable[Finding]) -> dict[tuple[str, str], list[str]]:
    """What each text is about: a database without tables is one thing to mend, not four."""
    together: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        together.setdefault((each.severity, each.text), []).append(each.subject)
    return together
