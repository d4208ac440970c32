"""Checks a payload against the schema that is registered for its event's name."""

from __future__ import annotations

from functools import lru_cache

from fastapi_events.event import Event
from fastapi_events.registry.payload_schema import registry
from fastapi_events.subscriptions.payload import PayloadType


def validate(event: Event) -> None:
    """Check an event that came from the wire.

    Raises:
        InvalidPayload: When its payload does not fit the schema of its name.
    """
    schema = registry.get(event.name)
    if schema is not None:
        _payload_type(schema).from_json(event.payload if event.payload is not None else {})


@lru_cache(maxsize=1_024)
def _payload_type(schema: type) -> PayloadType:
    return PayloadType(schema)
