"""The event as it travels: a CloudEvents 1.0 object in JSON.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from fastapi_events import codec
from fastapi_events.dispatch_options import ATTRIBUTES
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event, wire_name

Envelope: TypeAlias = Mapping[str, Any]

_COMMON = frozenset(("specversion", "source", "type", "datacontenttype", "dataschema"))

ORDERING_KEY = "partitionkey"  # of the extension for partitioning
"""https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/partitioning.md"""

_datetime = TypeAdapter(datetime)

_needs_no_escape = re.compile("[0-9A-Za-z-]{1,64}").fullmatch


def seal(
    event: Event, *, source: str, dataschema: str | None = None, extensions: Mapping[str, str] | None = None
) -> str:
    """The event's envelope, as JSON text.

    Parameters:
        source: Which service the event comes from; a URI reference.
        dataschema: Identifies the schema that the payload was validated against; a URI.
        extensions: More attributes.
    """
    name = event[0]
    if type(name) is not str:
        name = wire_name(name)
    encoded = event.encoded
    if encoded is None:
        encoded = codec.encode(event.full_payload, event_name=name)
    # Most events have nothing of their own but an id and a time, and writing those takes no encoder.
    if (
        event._headers is None  # noqa: SLF001 - our own; asked by their names they would be made
        and event.ordering_key is None
        and not extensions
        and (event._id is None or _needs_no_escape(event._id))  # noqa: SLF001
    ):
        event_id = event.id
        own = f'"id":"{event_id}","time":"{event.time}","correlationid":"{event_id}"'
        return f'{{{_common(source, name, dataschema)},{own},"data":{encoded}}}'
    attributes = {"id": event.id, "time": event.time, **event.headers}
    if event.ordering_key is not None:
        attributes[ORDERING_KEY] = event.ordering_key
    if extensions:
        attributes.update(extensions)
    if _COMMON.isdisjoint(attributes):
        common = _common(source, name, dataschema)
    else:  # the event came from an envelope: its own attributes win over ours
        said = {each: attributes.pop(each) for each in _COMMON & attributes.keys()}
        common = _members(_attributes(source, name, dataschema, said))
    # The payload is JSON already; encoding the attributes around it saves encoding it twice.
    return f'{{{common},{_members(attributes)},"data":{encoded}}}'


@lru_cache(maxsize=1_024)
def _common(source: str, name: str, dataschema: str | None) -> str:
    """The attributes that an event has in common with others of its name."""
    return _members(_attributes(source, name, dataschema, {}))


def _attributes(source: str, name: str, dataschema: str | None, own: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        "specversion": "1.0", "source": source, "type": name, "datacontenttype": "application/json", **own,
    }  # fmt: skip
    if dataschema is not None:
        attributes["dataschema"] = dataschema
    return attributes


def _members(attributes: Mapping[str, Any]) -> str:
    """What stands between the braces of a JSON object."""
    return to_json(attributes).decode()[1:-1]


def unseal(envelope: Any) -> Event:
    """The event in an envelope, given as a JSON value or as its text. Unknown attributes become headers.

    Raises:
        UnreadableEnvelope: When it is no CloudEvents 1.x object, with the reason.
    """
    value = _parsed(envelope)
    if not isinstance(value, Mapping):
        raise UnreadableEnvelope(f"an envelope is a JSON object, not a {type(value).__name__}")
    if not str(value.get("specversion")).startswith("1."):
        raise UnreadableEnvelope(f"specversion is {_shown(value.get('specversion'))}, expected '1.0'")
    for attribute in ("id", "type"):
        if not isinstance(value.get(attribute), str) or not value[attribute]:
            raise UnreadableEnvelope(f"{attribute} is {_shown(value.get(attribute))}, expected a string")
    event = Event(
        value["type"],
        _data(value),
        id=value["id"],
        dispatched_at=_time(value.get("time")),
        headers={
            name: header for name, header in value.items() if name == "source" or name not in ATTRIBUTES
        },
    )
    if ORDERING_KEY in value:
        event.ordering_key = str(value[ORDERING_KEY])
    return event


def read_batch(batch: Any) -> list[Any]:
    """The envelopes of a batch, given as a JSON value or as its text; a single envelope is a batch of one.

    Raises:
        UnreadableEnvelope: When there is no list to take apart.
    """
    value = _parsed(batch)
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise UnreadableEnvelope(f"a batch is a JSON array of envelopes, not a {type(value).__name__}")
    return list(value)


def write(envelope: Envelope) -> str:
    """An envelope that has been read, as text again; what we do not know about it is kept."""
    try:
        return to_json(envelope).decode()
    except (ValueError, RecursionError) as error:
        raise UnreadableEnvelope(f"the envelope cannot be written again: {error}") from error


def _parsed(value: Any) -> Any:
    if not isinstance(value, (str, bytes, bytearray)):
        return value
    try:
        return codec.decode(value if isinstance(value, str) else bytes(value))
    except (ValueError, RecursionError) as error:
        raise UnreadableEnvelope(f"not JSON: {error}") from error


def _data(envelope: Envelope) -> Any:
    if "data_base64" not in envelope:
        return envelope.get("data")
    try:
        return base64.b64decode(envelope["data_base64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise UnreadableEnvelope(f"data_base64 is not base64: {error}") from error


def _time(value: Any) -> datetime:
    if value is None:  # optional in CloudEvents
        return datetime.now(UTC)
    try:
        # Before Python 3.11, datetime.fromisoformat reads only a part of RFC 3339.
        time = _datetime.validate_python(value if isinstance(value, str) else None)
    except ValidationError as error:
        raise UnreadableEnvelope(f"time is {_shown(value)}, expected RFC 3339") from error
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}…"
