"""Functions that take many events at once: what they ask for, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic import BaseModel

from fastapi_events.errors import ConfigurationError, InvalidPayload
from fastapi_events.event import Event
from fastapi_events.subscriptions.batch import MAX_BATCH, batch


class Order(BaseModel):
    number: int


def of_events(events: list[Event]) -> None: ...


def of_anything(events) -> None: ...  # type: ignore[no-untyped-def]


def of_a_bare_list(events: list) -> None: ...  # type: ignore[type-arg]


def of_models(orders: Sequence[Order]) -> None: ...


async def of_coroutines(orders: list[Order]) -> None: ...


@pytest.mark.parametrize("function", [of_events, of_anything, of_a_bare_list])
def test_a_list_of_events_is_what_it_gets_unless_it_asks_for_more(function: Callable[..., Any]) -> None:
    event = Event("order", {"number": 7})

    assert batch(function, size=10, window=1.0).item(event) is event


@pytest.mark.parametrize("function", [of_models, of_coroutines])
def test_a_list_of_models_gets_each_payload_as_one(function: Callable[..., Any]) -> None:
    made = batch(function, size=10, window=1.0)

    assert made.item(Event("order", {"number": 7})) == Order(number=7)
    with pytest.raises(InvalidPayload):
        made.item(Event("order", {"number": "many"}))


def test_a_model_that_was_registered_is_what_a_list_of_anything_gets() -> None:
    made = batch(of_anything, size=10, window=1.0, model=Order)

    assert made.item(Event("order", {"number": 7})) == Order(number=7)


def test_whether_it_is_a_coroutine_function_and_how_long_it_waits_is_remembered() -> None:
    assert batch(of_coroutines, size=2, window=timedelta(minutes=1)).is_async
    made = batch(of_events, size=MAX_BATCH, window=timedelta(milliseconds=200))
    assert (made.is_async, made.size, made.window) == (False, MAX_BATCH, 0.2)


@pytest.mark.parametrize("size", [0, 1, MAX_BATCH + 1, "ten", None])
def test_a_size_out_of_range_is_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="batch="):
        batch(of_events, size=size, window=1.0)


@pytest.mark.parametrize("window", [-0.1, 61, timedelta(hours=1), "1s"])
def test_a_window_out_of_range_is_refused(window: Any) -> None:
    with pytest.raises(ConfigurationError, match="batch_window="):
        batch(of_events, size=10, window=window)


def session() -> str:
    return "session"


def about(event: Event) -> str:
    return event.name


def test_other_parameters_are_dependencies() -> None:
    def function(events: list[Event], db: Annotated[str, Depends(session)], limit: int = 3) -> None: ...

    assert [name for name, _ in batch(function, size=10, window=1.0).dependencies] == ["db"]


def test_a_dependency_that_asks_for_the_event_is_refused() -> None:
    def function(events: list[Event], db: Annotated[str, Depends(about)]) -> None: ...

    with pytest.raises(ConfigurationError, match="'db' asks for the event; a batch has many"):
        batch(function, size=10, window=1.0)


def test_a_parameter_that_nothing_fills_is_refused() -> None:
    def function(events: list[Event], other: int) -> None: ...

    with pytest.raises(ConfigurationError, match="'other' cannot be filled"):
        batch(function, size=10, window=1.0)


def test_a_function_that_takes_no_list_is_refused() -> None:
    def nothing() -> None: ...

    def one(order: Order) -> None: ...

    with pytest.raises(ConfigurationError, match="could get the list"):
        batch(nothing, size=10, window=1.0)
    with pytest.raises(ConfigurationError, match="gets a list; annotate 'order' as"):
        batch(one, size=10, window=1.0)
