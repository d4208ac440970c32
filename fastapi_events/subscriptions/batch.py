"""Subscriptions that take many events at once: what their function asks for, and the call."""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.annotations import asks_for_event, says_nothing
from fastapi_events.subscriptions.dependencies import (
    Caller,
    Dependencies,
    Dependency,
    Overrides,
    dependency_of,
    find_depends,
)
from fastapi_events.subscriptions.payload import PayloadType, payload_type
from fastapi_events.subscriptions.runner import with_dependencies
from fastapi_events.subscriptions.signature import Parameter, describe, is_async, parameters_of

MAX_BATCH = 1_000
"""The most events that a function may ask for at once."""

_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


class Batch(NamedTuple):
    """How a function takes many events at once.

    Parameters:
        function: What is called.
        is_async: Whether calling it gives a coroutine.
        size: The most events that it gets.
        window: Seconds that the first event of a batch waits for others.
        payload_type: What it gets of each event: its payload as this type, or the event itself if None.
        dependencies: Keyword parameters that get a dependency's value, once a batch.
    """

    function: Callable[..., Any]
    is_async: bool
    size: int
    window: float
    payload_type: PayloadType | None
    dependencies: Dependencies

    def item(self, event: Event) -> Any:
        """What the function gets of an event.

        Raises:
            InvalidPayload: When the payload does not fit the type that it asks for.
        """
        return event if self.payload_type is None else self.payload_type.from_json(event.payload)

    async def call(self, items: Sequence[Any], first: Event, *, caller: Caller, overrides: Overrides) -> None:
        """Call the function with a list of items."""

        async def call(caller: Caller, values: Mapping[str, Any]) -> None:
            how = caller.coro if self.is_async else caller.sync
            await how(self.function, list(items), **values)

        await with_dependencies(self.dependencies, first, call, self.is_async, caller, overrides)


def batch(
    function: Callable[..., Any], *, size: int, window: float | timedelta, model: type | None = None
) -> Batch:
    """Read the parameters of a function that takes a list.

    The first parameter gets the list: of payloads where it is annotated `list[Model]` or a model was
    registered, else of events. Others are dependencies.

    Raises:
        ConfigurationError: When a parameter cannot be filled, or a number is out of range.
    """
    asking = describe(function)
    seconds = window.total_seconds() if isinstance(window, timedelta) else window
    if not isinstance(size, int) or not 2 <= size <= MAX_BATCH:
        raise ConfigurationError(f"{asking}: batch={size!r}: expected a number from 2 to {MAX_BATCH:,}.")
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= 60:
        raise ConfigurationError(f"{asking}: batch_window={window!r}: expected 0 to 60 seconds.")
    listed: Parameter | None = None
    dependencies = []
    for parameter in parameters_of(function):
        depends = find_depends(parameter)
        if depends is not None:
            dependency = dependency_of(parameter, depends, asking=asking)
            if _asks_for_event(dependency):
                raise ConfigurationError(
                    f"{asking}: the dependency {parameter.name!r} asks for the event; a batch has many."
                )
            dependencies.append((parameter.name, dependency))
        elif listed is None and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            listed = parameter
        elif parameter.required and not parameter.wrapped:
            raise ConfigurationError(
                f"{asking}: parameter {parameter.name!r} cannot be filled: with batch= there are a list, "
                "and dependencies."
            )
    if listed is None:
        raise ConfigurationError(f"{asking}: there is no parameter that could get the list of events.")
    item = _item_type(listed, asking)
    kind = None if asks_for_event(item) else model if says_nothing(item) else item
    return Batch(
        function,
        is_async(function),
        size,
        float(seconds),
        payload_type(kind, asking=asking, travels=True) if kind is not None else None,
        tuple(dependencies),
    )


def _item_type(parameter: Parameter, asking: str) -> Any:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return Any
    if typing.get_origin(annotation) in _LISTS:
        return typing.get_args(annotation)[0]
    if annotation in _LISTS:
        return Any
    raise ConfigurationError(
        f"{asking}: with batch= the first parameter gets a list; annotate {parameter.name!r} as "
        "list[Event] or list[Model]."
    )


def _asks_for_event(dependency: Dependency) -> bool:
    return bool(dependency.events) or any(_asks_for_event(needed) for _, needed in dependency.needs)
