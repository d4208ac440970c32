"""What handlers share that forward events to a service in the cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from fastapi_events.checks import counted
from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.event import Event, wire_name
from fastapi_events.lifecycle import Lifecycle, mark_reported, tell

Serializer: TypeAlias = Callable[[Event], str]


def as_json(event: Event) -> str:
    """The event as the JSON array `["name", payload]`; what JSON does not know becomes its `str`."""
    name, payload = event
    return json.dumps([wire_name(name), payload], default=str)


def checked_callable(name: str, given: Any) -> Any:
    """The callable, or nothing.

    Raises:
        ConfigurationError: When it is something else.
    """
    if given is not None and not callable(given):
        raise ConfigurationError(f"{name}={given!r}: expected a function that takes an event.")
    return given


def checked_batch_size(given: int, *, service: str, limit: int) -> int:
    """The batch size, if the service takes that many.

    Raises:
        ConfigurationError: When it does not.
    """
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= limit:
        raise ConfigurationError(f"max_batch_size={given!r}: {service} takes 1 to {limit} messages at once.")
    return given


def report(taken: Sequence[Event], lost: Sequence[tuple[Event, str]], *, handler: str) -> None:
    """Tell what became of a flush.

    Raises:
        NotPublished: When something was lost; reported already.
    """
    if taken:
        tell(Lifecycle.published, taken, handler=handler)
    for event, reason in lost:
        tell(Lifecycle.lost, event, handler=handler, reason=reason)
    if lost:
        error = NotPublished(f"{counted(len(lost), 'event')} not taken; the first: {lost[0][1]}")
        mark_reported(error)
        raise error
