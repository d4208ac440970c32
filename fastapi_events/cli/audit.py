"""`fastapi-events audit`: who replayed, discarded, expired or paused what."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from fastapi_events.cli.arguments import add_command, number
from fastapi_events.cli.event import journals_of
from fastapi_events.cli.text import local, say, say_json, shown, table
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.base import moment
from fastapi_events.storage.journal import MAX_ACTIONS


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "audit", _audit, "list who replayed, discarded, expired or paused what, the latest first",
        examples="fastapi-events audit app.events --limit 20",
    )  # fmt: skip
    parser.add_argument("--limit", type=number, default=100, help="how many (100)")


def _audit(arguments: argparse.Namespace) -> int:
    names = {each.name for each in handlers_in(arguments.target)}
    kept = [each for one in journals_of(arguments.target) for each in one.actions(limit=MAX_ACTIONS)]
    found = [each for each in kept if each.handler in names][: arguments.limit]
    if arguments.json:
        for each in found:
            say_json(asdict(each) | {"at": moment(each.at)})
        return 0
    rows = [
        (
            local(moment(each.at)), shown(each.by, 40), shown(each.what), str(each.count),
            shown(each.handler), shown(each.subject, 80),
        )
        for each in found
    ]  # fmt: skip
    say(table(("WHEN", "WHO", "WHAT", "COUNT", "HANDLER", "WHICH"), rows) if rows else "Nobody did anything.")
    return 0
