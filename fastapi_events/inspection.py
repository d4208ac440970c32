"""Looking at handlers from outside: where they are, and whether they are set up so that nothing is lost."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from fastapi_events.errors import ConfigurationError, StorageError
from fastapi_events.handlers.task_queue import TaskQueueHandler

logger = logging.getLogger(__name__)

Severity = Literal["ok", "advice", "danger"]


def handlers_in(target: str) -> list[TaskQueueHandler]:
    """The queue handlers that a target names.

    Parameters:
        target: `package.module`, for all handlers in it, or `package.module:attribute` for one.

    Raises:
        ConfigurationError: When there is no such module or attribute, or no queue handler there.
    """
    name, _, attribute = target.partition(":")
    if not name or name.startswith("."):
        raise ConfigurationError(f"{target!r} names no module; write app.events, or app.events:events.")
    module = _module(name)
    if attribute:
        found: Any = module
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise ConfigurationError(f"{target}: {name} has no {attribute!r}.")
            found = getattr(found, part)
        if not isinstance(found, TaskQueueHandler):
            kind = type(found).__name__
            raise ConfigurationError(f"{target} is a {kind}; expected a DramatiqHandler or CeleryHandler.")
        return [found]
    handlers = {id(each): each for each in vars(module).values() if isinstance(each, TaskQueueHandler)}
    if not handlers:
        raise ConfigurationError(
            f"{name} holds no DramatiqHandler or CeleryHandler; name the module where it is made, such as "
            "app.events, or the handler itself: app.events:events."
        )
    return list(handlers.values())


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"There is no module {name!r} here; run this where your application can be imported."
            ) from error
        raise


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `doctor` has to say about a handler.

    Parameters:
        severity: `"danger"`: events can be lost, and nobody would notice in time.
        subject: What it is about.
        text: What is the matter, and what to do about it.
    """

    severity: Severity
    subject: str
    text: str


def examine(handler: TaskQueueHandler) -> Iterator[Finding]:
    """Look for what would lose events, or keep them where nobody looks."""
    yield from _outbox(handler)
    yield from _dead_letters(handler)
    yield from _turns(handler)
    for severity, subject, text in handler.diagnose():
        yield Finding(severity, subject, text)


def _outbox(handler: TaskQueueHandler) -> Iterator[Finding]:
    if handler.outbox is None:
        yield Finding(
            "danger", "outbox",
            "none: events that the broker does not take within the deadline are reported lost; pass outbox=.",
        )  # fmt: skip
        return
    try:
        handler.outbox.check()
        status = handler.outbox.status()
    except StorageError as error:
        yield Finding("danger", "outbox", str(error))
        return
    yield Finding("ok", "outbox", f"{status.waiting} waiting, {status.unconfirmed} without all receipts")
    if not handler.persists_before_response:
        yield Finding(
            "advice", "durability",
            "until their flush events live in memory; with durability='response' they survive the process.",
        )  # fmt: skip


def _dead_letters(handler: TaskQueueHandler) -> Iterator[Finding]:
    if handler.dead_letters is None:
        yield Finding(
            "advice", "dead letters",
            "left to the engine, where `fastapi-events dead` cannot list or replay them; pass dead_letters=.",
        )  # fmt: skip
        return
    try:
        handler.dead_letters.check()
        count = handler.dead_letters.count()
    except StorageError as error:
        yield Finding("danger", "dead letters", str(error))
    else:
        yield Finding("ok" if not count else "advice", "dead letters", f"{count} kept")


def _turns(handler: TaskQueueHandler) -> Iterator[Finding]:
    for subject, store in (("inbox", handler.inbox), ("lanes", handler.lanes)):
        if store is not None:
            try:
                store.check()
            except StorageError as error:
                yield Finding("danger", subject, str(error))
