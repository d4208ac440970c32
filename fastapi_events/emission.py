"""Dispatching an event by hand, where somebody waits for what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from fastapi_events.context import event_store
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.scope import collect_events


def emit(
    handlers: Sequence[BaseEventHandler],
    name: str,
    payload: Any,
    *,
    headers: Mapping[str, str] | None = None,
    delay: float | timedelta | None = None,
    ordering_key: str | None = None,
) -> Event:
    """Dispatch an event, and wait until a broker or an outbox has it.

    Parameters:
        payload: As JSON values.

    Raises:
        ConfigurationError: When it does not fit the schema of its name, or an option cannot be what it is.
        NotPublished: When neither has taken it; so is every other error of a handler raised.
    """
    try:
        with collect_events(handlers, raise_errors=True):
            dispatch(name, payload, headers=headers, delay=delay, ordering_key=ordering_key)
            return Event.of(event_store.get()[-1])
    except ValidationError as error:
        # Without the values, which nobody may be meant to see.
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        )
        raise ConfigurationError(f"The payload does not fit the schema of {name!r}: {faults}") from None
