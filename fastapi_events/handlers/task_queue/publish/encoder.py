"""Payloads as they travel: encoded, not too large, with headers, encrypted where they are sensitive."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi_events import codec, redaction
from fastapi_events.dispatch_options import check_header_names
from fastapi_events.errors import UnserialisablePayload
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings
from fastapi_events.registry.payload_schema import registry


class Encoder:
    """Encodes the payloads of a handler's events.

    Parameters:
        settings: The handler's: how large a payload may be, and which headers all events get.
        encryption: For what is sensitive, if it is to be encrypted.
    """

    def __init__(self, settings: TaskQueueSettings, encryption: Encryption | None) -> None:
        self._max_bytes = settings.max_payload_bytes
        self._headers_from = settings.headers_from
        self._encryption = encryption

    def encode(self, event: Event) -> None:
        """Encode an event's payload, unless another handler has, and check its size.

        Raises:
            UnserialisablePayload: When it cannot travel, with the place in the payload.
            ConfigurationError: When `headers_from` gives a header a name that cannot travel, or `encrypt` no
                text.
        """
        if event.encoded is None:
            if self._headers_from is not None:
                self._add_headers(event, self._headers_from())
            self._encode(event)
        else:
            self._check_size(event, event.encoded)
        if self._encryption is not None:
            self._encryption.lock(event)

    def _add_headers(self, event: Event, headers: Mapping[str, str]) -> None:
        check_header_names(headers)
        for name, value in headers.items():
            event.headers.setdefault(name, value)

    def _encode(self, event: Event) -> None:
        name = event[0]
        schema = registry.get(name)
        sensitive = [] if schema is None else list(redaction.places_in(schema))
        event.encoded = codec.encode(
            event.full_payload,
            event_name=name if type(name) is str else wire_name(name),
            max_bytes=self._max_bytes,
            sensitive=sensitive,
        )
        if sensitive:
            event.headers[redaction.SENSITIVE] = redaction.written(dict.fromkeys(sensitive))

    def _check_size(self, event: Event, encoded: str) -> None:
        """Refuse what another handler has encoded, and allowed to be larger."""
        if len(encoded) * 4 <= self._max_bytes:  # a character takes four bytes at most
            return
        size = len(encoded.encode())
        if size > self._max_bytes:
            raise UnserialisablePayload(
                wire_name(event.name),
                "payload",
                f"takes {size:,} bytes as JSON, more than the {self._max_bytes:,} allowed",
            )
