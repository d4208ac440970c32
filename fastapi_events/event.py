"""The event: a name and a payload, with what it remembers of its way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi_events import redaction
from fastapi_events.errors import ConfigurationError
from fastapi_events.ids import random_id

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

EventName: TypeAlias = str | Enum

_new_tuple = tuple.__new__


class Event(tuple[EventName, Any]):
    """A name and a payload. Unpacks and compares as the 2-tuple `(name, payload)`.

    Parameters:
        name: What happened. An Enum member stands for its string value on the wire.
        payload: Anything; what leaves the process has to be plain data (see `codec`).
        id: Identifies the event wherever it goes; a UUID made at dispatch.
        dispatched_at: When, with a time zone.
        headers: What travels beside the payload: `traceparent`, `tracestate`, `correlationid`,
            `causationid`, and attributes that this version does not know.
    """

    encoded: str | None = None
    """The payload as JSON text, once a queue handler has encoded it."""

    model: Any = None
    """The model that was dispatched, or as which a dict was validated; the payload is its dump."""

    due: datetime | None = None
    """Not to be handled before; None for at once."""

    ordering_key: str | None = None
    """Queue handlers with lanes handle events with the same key one after the other, in order of dispatch."""

    locked: dict[int, str] | None = None
    """The payload as each handler sends it that encrypts a part of it, once one has."""

    committed: bool = False
    """Whether a transaction has been committed on which it depended, so that it is not to be discarded."""

    # Most events are handled where they were dispatched, by functions that look at nothing but the pair. What
    # they do not look at is not made.
    _id: str | None = None
    _headers: dict[str, Any] | None = None
    _at: float | datetime

    def __new__(
        cls,
        name: EventName,
        payload: Any = None,
        *,
        id: str | None = None,  # noqa: A002 - the attribute's name in CloudEvents
        dispatched_at: datetime | None = None,
        headers: Mapping[str, Any] | None = None,
        encoded: str | None = None,
    ) -> Event:
        self = _new_tuple(cls, (name, payload))
        self._at = time.time() if dispatched_at is None else dispatched_at
        if id is not None:
            self._id = id
        if headers is not None:
            self._headers = dict(headers)
        if encoded is not None:
            self.encoded = encoded
        return self

    @property
    def id(self) -> str:
        """Identifies the event wherever it goes; a UUID."""
        # setdefault is atomic: two threads that ask at once get the same answer.
        return self._id or self.__dict__.setdefault("_id", random_id())

    @property
    def headers(self) -> dict[str, Any]:
        """What travels beside the payload; may be written to until the event has been flushed."""
        headers = self._headers
        if headers is None:
            headers = self.__dict__.setdefault("_headers", {"correlationid": self.id})
        return headers

    @property
    def dispatched_at(self) -> datetime:
        """When, with a time zone."""
        if isinstance(self._at, float):
            self._at = datetime.fromtimestamp(self._at, UTC)
        return self._at

    @property
    def timestamp(self) -> float:
        """`dispatched_at` in seconds since 1970."""
        at = self._at
        return at if isinstance(at, float) else at.timestamp()

    @property
    def time(self) -> str:
        """`dispatched_at` as it travels: RFC 3339."""
        at = self._at
        if not isinstance(at, float):
            return at.isoformat()
        seconds = int(at)
        fraction = f"{at - seconds:.6f}"
        if fraction[0] == "1":
            seconds += 1
        return f"{_second(seconds)}{fraction[1:]}+00:00"

    @classmethod
    def of(cls, event: tuple[EventName, Any]) -> Event:
        """The event itself, or one made of a plain pair that someone passed to a handler."""
        return event if isinstance(event, cls) else cls(*event)

    @property
    def name(self) -> EventName:
        return self[0]

    @property
    def payload(self) -> Any:
        return self[1]

    @property
    def full_payload(self) -> Any:
        """What travels, and what a function gets that asks for a type: the model rather than its dict."""
        return self[1] if self.model is None else self.model

    def with_payload(self, payload: Any) -> Event:
        """A copy of the event whose payload has been rebuilt as another type."""
        rebuilt = Event(
            self.name, payload, id=self.id, dispatched_at=self.dispatched_at, headers=self.headers,
            encoded=self.encoded,
        )  # fmt: skip
        if self.ordering_key is not None:
            rebuilt.ordering_key = self.ordering_key
        return rebuilt

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """In a model it is a pair: one is taken for an event, and written as a pair again."""
        # Not at the top: to import the event must not take as long as to import pydantic.
        from pydantic_core import core_schema

        member = core_schema.is_instance_schema(Enum)
        name = core_schema.json_or_python_schema(
            core_schema.str_schema(), core_schema.union_schema([member, core_schema.str_schema(strict=True)])
        )
        pair = core_schema.tuple_schema([name, core_schema.any_schema()])
        return core_schema.no_info_wrap_validator_function(
            lambda given, validate: given if isinstance(given, cls) else cls(*validate(given)),
            pair,
            serialization=core_schema.plain_serializer_function_ser_schema(tuple),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "array", "prefixItems": [{"type": "string"}, {}], "minItems": 2, "maxItems": 2}

    def __getnewargs__(self) -> tuple[EventName, Any]:
        return self[0], self[1]

    def __getstate__(self) -> dict[str, Any]:
        self.id, self.headers  # noqa: B018 - made now, lest a copy make others
        return self.__dict__

    def __repr__(self) -> str:
        payload = self.payload
        if redaction.hides(self):
            payload = redaction.shown_of(self, payload)
        return f"Event({self.name!r}, {payload!r}, id={self.id!r})"


def new_event(name: EventName, payload: Any) -> Event:
    """`Event(name, payload)` at half its cost, which is of note where each request makes many."""
    event = _new_tuple(Event, (name, payload))
    event._at = time.time()  # noqa: SLF001 - our own
    return event


@lru_cache(maxsize=16)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def wire_name(name: EventName) -> str:
    """The name as it travels: an Enum member's string value, else `Class.MEMBER`."""
    if isinstance(name, Enum):
        return name.value if isinstance(name.value, str) else str(name)
    return name


def check_name(name: object, *, asking: str) -> None:
    """Refuse what cannot be an event's name.

    Parameters:
        asking: The function that was given it, for the error.

    Raises:
        ConfigurationError: When it is neither text nor a member of an Enum.
    """
    if not isinstance(name, (str, Enum)):
        raise ConfigurationError(f"{asking}(event_name={name!r}): expected a string or an Enum member.")


def names(name: EventName) -> tuple[str, ...]:
    """Every spelling under which the event is found, the one on the wire first."""
    if not isinstance(name, Enum):
        return (name,)
    if isinstance(name.value, str):
        spelled = f"{type(name).__name__}.{name.name}"
        return (name.value,) if name.value == spelled else (name.value, spelled)
    return (wire_name(name),)
