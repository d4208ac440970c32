"""The registry of payload schemas: which model the payload of an event has to fit."""

from __future__ import annotations

import logging
from abc import ABC
from collections import UserDict
from collections.abc import Callable
from enum import Enum
from typing import Any, Self, TypeVar, overload

from pydantic import BaseModel

from fastapi_events.errors import MissingEventNameDuringRegistration
from fastapi_events.event import EventName, check_name

logger: logging.Logger = logging.getLogger(__name__)

M = TypeVar("M", bound=type[BaseModel])


class BaseEventPayloadSchemaRegistry(UserDict[EventName, type[BaseModel]], ABC):
    """A mapping of event names to pydantic models, which `dispatch()` and workers validate payloads with.

    An Enum member with a string value and that string are one key.
    """

    @overload
    def register(self, _schema: M, event_name: EventName | None = None) -> M: ...
    @overload
    def register(self, _schema: None = None, event_name: EventName | None = None) -> Callable[[M], M]: ...
    def register(self, _schema: Any = None, event_name: EventName | None = None) -> Any:
        """Let payloads of an event be validated with a model; a decorator, bare or with `event_name=`.

        Parameters:
            event_name: The event's name; the model's `__event_name__` if not given.

        Returns:
            The model, or the decorator that returns it.

        Raises:
            MissingEventNameDuringRegistration: When nothing names the event.
            ConfigurationError: When the name is neither text nor a member of an Enum.
            AssertionError: When the schema is no pydantic model.
        """

        def add(schema: M) -> M:
            if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
                raise AssertionError(f"'schema' must be a subclass of pydantic.BaseModel, not {schema!r}")
            name = event_name or getattr(schema, "__event_name__", None)
            if not name:
                raise MissingEventNameDuringRegistration
            check_name(name, asking="register")
            self[name] = schema
            return schema

        return add if _schema is None else add(_schema)

    def __getitem__(self, name: EventName) -> type[BaseModel]:
        return self.data[_key(name)]

    def __setitem__(self, name: EventName, schema: type[BaseModel]) -> None:
        self.data[_key(name)] = schema

    def __delitem__(self, name: EventName) -> None:
        del self.data[_key(name)]

    def __contains__(self, name: object) -> bool:
        return _key(name) in self.data

    # One signature takes all that the overloads of UserDict take.
    def __ior__(self, others: Any, /) -> Self:  # type: ignore[override, misc]
        self.update(others)  # UserDict would write past __setitem__
        return self

    def get(self, name: EventName, default: Any = None) -> Any:
        """The schema of an event, or a default."""
        return self.data.get(name if type(name) is str else _key(name), default)


def _key(name: Any) -> Any:
    return name.value if isinstance(name, Enum) and isinstance(name.value, str) else name
