"""`fastapi-events pause`, `resume` and `paused`: functions that start nothing for a while."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi_events.cli.arguments import add_command, age
from fastapi_events.cli.text import local, say, say_json, shown, table
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import handlers_in
from fastapi_events.storage.catalogue import Pause


def add_parser(commands: Any) -> None:
    """Add the commands to those of `fastapi-events`."""
    pausing = add_command(
        commands, "pause", _pause, "let a function start nothing new, on all workers, within two seconds",
        examples="""
        fastapi-events pause app.events app.handlers.bill
        fastapi-events pause app.events app.handlers.bill --for 10m
        """,
    )  # fmt: skip
    pausing.add_argument(
        "--for", dest="duration", type=age, metavar="TIME",
        help="until it goes on by itself, such as 10m; without it until it is resumed",
    )  # fmt: skip
    resuming = add_command(
        commands, "resume", _resume, "let a function go on that is paused",
        examples="fastapi-events resume app.events app.handlers.bill",
    )  # fmt: skip
    for each in (pausing, resuming):
        each.add_argument("subscription", help="its name; `fastapi-events subscriptions` shows all")
    add_command(
        commands, "paused", _paused, "show which functions are paused",
        examples="fastapi-events paused app.events --json",
    )  # fmt: skip


def _pause(arguments: argparse.Namespace) -> int:
    handler, made = _of_one(
        arguments.target, lambda each: each.pause(arguments.subscription, duration=arguments.duration)
    )
    if arguments.json:
        say_json(_described(handler, made))
    else:
        until = "it is resumed" if made.until is None else local(_time(made.until))
        say(f"{shown(made.subscription)} paused until {until}")
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    name = arguments.subscription
    handler, was_paused = _of_one(arguments.target, lambda each: each.resume(name))
    if arguments.json:
        say_json({"handler": handler.name, "subscription": name, "done": "resumed" if was_paused else None})
    elif was_paused:
        say(f"{shown(name)} resumed")
    else:
        say(f"fastapi-events: {shown(name)} is not paused.", to=sys.stderr)
    return 0 if was_paused else 1


def _paused(arguments: argparse.Namespace) -> int:
    rows = []
    for handler in handlers_in(arguments.target):
        for each in handler.paused():
            if arguments.json:
                say_json(_described(handler, each))
                continue
            until = "resumed" if each.until is None else local(_time(each.until))
            until += ", then one is tried" if each.half_open else ""
            rows.append((shown(each.subscription, 60), local(_time(each.since)), until, shown(each.by, 60)))
    if not arguments.json:
        say(table(("SUBSCRIPTION", "SINCE", "UNTIL", "BY"), rows) if rows else "Nothing is paused.")
    return 0


def _of_one(target: str, act: Callable[[TaskQueueHandler], Any]) -> tuple[TaskQueueHandler, Any]:
    """Act on the one handler of a target that has the subscription."""
    refused: ConfigurationError | None = None
    for handler in handlers_in(target):
        try:
            return handler, act(handler)
        except ConfigurationError as error:
            refused = error
    assert refused is not None  # noqa: S101 - a target without handlers is refused before
    raise refused


def _described(handler: TaskQueueHandler, pause: Pause) -> dict[str, Any]:
    until = None if pause.until is None else _time(pause.until)
    return {
        "handler": handler.name, "subscription": pause.subscription, "since": _time(pause.since),
        "until": until, "by": pause.by, "half_open": pause.half_open,
    }  # fmt: skip


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
