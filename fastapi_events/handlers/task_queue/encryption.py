"""Values of sensitive fields that travel, and are stored, encrypted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from fastapi_events import codec, redaction
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue.settings import Encrypt


class Encryption:
    """Encrypts the values of an event's sensitive fields, and decrypts them for its functions.

    Parameters:
        pair: The first makes ASCII text of anything, the second makes of it what it was; with keys that
            rotate, also of what older keys have encrypted.
    """

    def __init__(self, pair: Encrypt) -> None:
        self._encrypt: Callable[[bytes], bytes] = pair[0]
        self.decrypt: Callable[[bytes], bytes] = pair[1]

    def lock(self, event: Event) -> None:
        """Encrypt what is sensitive in an event's payload, which itself stays as it is.

        Raises:
            ConfigurationError: When `encrypt` gives no ASCII text.
        """
        places = (event._headers or {}).get(redaction.SENSITIVE)  # noqa: SLF001 - our own, not made for this
        if places is None or event.encoded is None:
            return
        locked = event.locked
        if locked is None:
            locked = event.locked = {}
        if id(self) not in locked:
            data = redaction.replaced(codec.decode(event.encoded), redaction.read(places), self._text_of)
            locked[id(self)] = to_json(data).decode()

    def locked(self, event: Event) -> Event:
        """The event as it travels."""
        encoded = (event.locked or {}).get(id(self))
        if encoded is None:
            return event
        headers = {**event.headers, redaction.ENCRYPTED: event.headers[redaction.SENSITIVE]}
        sealed = Event(
            event.name, None, id=event.id, dispatched_at=event.dispatched_at, headers=headers, encoded=encoded
        )
        sealed.ordering_key = event.ordering_key
        return sealed

    def _text_of(self, value: Any) -> str:
        try:
            return self._encrypt(to_json(value)).decode("ascii")
        except (AttributeError, UnicodeDecodeError):
            raise ConfigurationError(
                "encrypt= has to give bytes that are ASCII text, such as Fernet's; encode others as base64."
            ) from None


def unlocked(event: Event, encryption: Encryption | None) -> Event:
    """The event as its functions get it.

    Raises:
        ConfigurationError: When it travels encrypted, and the handler does not know how to decrypt it.
    """
    places = event.headers.get(redaction.ENCRYPTED)
    if places is None:
        return event
    if encryption is None:
        raise ConfigurationError(
            f"Event {wire_name(event.name)!r} ({event.id}) travels encrypted: pass the encrypt= to this "
            "handler that its publisher has."
        )
    clear = event.with_payload(redaction.decrypted(event.payload, redaction.read(places), encryption.decrypt))
    clear.headers.pop(redaction.ENCRYPTED)
    return clear
