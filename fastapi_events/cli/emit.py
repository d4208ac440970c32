"""`fastapi-events emit`: dispatch an event by hand."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from fastapi_events.checks import guess
from fastapi_events.cli.arguments import add_command, age, some_text
from fastapi_events.cli.text import say, say_json, shown
from fastapi_events.emission import emit
from fastapi_events.errors import ConfigurationError, DelayTooLong, UnserialisablePayload
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in


def add_parser(commands: Any) -> None:
    """Add the command to those of `fastapi-events`."""
    parser = add_command(
        commands, "emit", _emit, "dispatch an event, whose payload has to fit the schema of its name",
        examples="""
        fastapi-events emit app.events order-paid '{"order": 7}'
        fastapi-events emit app.events order-paid - --key customer-3 --delay 10m < order.json
        """,
    )  # fmt: skip
    parser.add_argument("name", help="the event's name")
    parser.add_argument(
        "payload",
        nargs="?",
        default="null",
        metavar="JSON",
        help="its payload; - reads it from standard input",
    )
    parser.add_argument("--key", type=some_text, help="its ordering key")
    parser.add_argument("--delay", type=age, metavar="TIME", help="handle it in so long, such as 10m")


def _emit(arguments: argparse.Namespace) -> int:
    handlers = handlers_in(arguments.target)
    payload = _payload(arguments.payload)
    if not arguments.name:
        raise ConfigurationError("The event has no name: write for example order-paid.")
    try:
        event = emit(handlers, arguments.name, payload, delay=arguments.delay, ordering_key=arguments.key)
    except (UnserialisablePayload, DelayTooLong) as error:
        raise ConfigurationError(str(error)) from None
    names = [each.name for each in handlers]
    unheard = [each for each in handlers if not each.listens(arguments.name)]
    if arguments.json:
        say_json(
            {
                "id": event.id, "name": arguments.name, "handlers": names,
                "unheard": [each.name for each in unheard],
            }
        )  # fmt: skip
    else:
        say(f"{event.id} dispatched to {shown(', '.join(names))}")
    for handler in unheard:
        say(f"fastapi-events: {_warning(handler, arguments.name)}", to=sys.stderr)
    return 0


def _warning(handler: TaskQueueHandler, name: str) -> str:
    """The warning that nobody listens, with the pattern that may have been meant."""
    what, where = shown(repr(name)), shown(handler.name)
    if handler.catalogue is None:
        return (
            f"Nobody listens to {what} in {where}, as far as this process knows: "
            "there is no catalogue of what workers have."
        )
    if hint := guess(name, handler.listens_to()):
        return f"Nobody listens to {what} in {where}; {shown(hint)}"
    return f"Nobody listens to {what} in {where}: no worker has announced a function for it."


def _payload(text: str) -> Any:
    given = sys.stdin.read() if text == "-" else text
    try:
        return json.loads(given)
    except ValueError as error:
        what = shown(given, 60) if given.strip() else "'' (nothing)"
        raise ConfigurationError(
            f"The payload {what} is no JSON: {error}. A text needs its quotes, '\"like this\"'."
        ) from None
