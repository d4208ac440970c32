"""The types that people write in annotations."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi_events.event import Event, EventName
from fastapi_events.redaction import Sensitive

__all__ = [
    "ASGIApp",
    "Event",
    "EventName",
    "Message",
    "Payload",
    "PydanticModel",
    "Receive",
    "Scope",
    "Send",
    "Sensitive",
]

PydanticModel: TypeAlias = Any
Payload: TypeAlias = Any

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
