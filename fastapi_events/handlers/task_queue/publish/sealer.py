"""Envelopes of the events that a handler publishes or keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi_events import envelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.registry.payload_schema import registry


class Sealer:
    """Makes envelopes, with the attributes that all those of a handler have.

    Parameters:
        source: The `source` of the envelopes.
        extensions: Attributes beside those of the event.
        encryption: Of the values of sensitive fields.
    """

    def __init__(
        self, source: str, extensions: Mapping[str, str], encryption: Encryption | None = None
    ) -> None:
        self._source = source
        self._encryption = encryption
        self._extensions = extensions

    def seal(self, events: Sequence[Event]) -> list[str]:
        """The envelopes of events, as JSON text."""
        texts = []
        seal, source, extensions = envelope.seal, self._source, self._extensions
        for event in events:
            schema = registry.get(event[0])
            uri = None if schema is None else f"urn:fastapi-events:{schema.__module__}.{schema.__qualname__}"
            if self._encryption is not None and event.locked is not None:
                event = self._encryption.locked(event)
            texts.append(seal(event, source=source, dataschema=uri, extensions=extensions))
        return texts
