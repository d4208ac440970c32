"""Any payload that Hypothesis makes can travel, and arrives as what it was."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.event import Event
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.registry.payload_schema import registry
from fastapi_events.testing import InlineWorker
from fastapi_events.testing.strategies import events, payloads


class Order(BaseModel):
    __event_name__ = "order-placed"
    number: Annotated[int, Field(ge=1, le=1_000)]
    share: float
    note: str | None = None


@dataclass
class Sent:
    __event_name__ = "sent"
    to: str


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=payloads(Order))
def test_what_is_made_arrives_as_it_was(queue: DramatiqHandler, order: Order) -> None:
    got: list[Order] = []
    if not len(queue.subscriptions):
        queue.register(lambda event: got.append(event.payload), name="f", event_name=Order.__event_name__)

    with InlineWorker(queue) as worker:
        worker.emit(order).assert_ran("f", times=1)


def test_a_field_may_have_a_strategy_of_its_own() -> None:
    assert find(payloads(Order, note=st.just("hello")), lambda order: True).note == "hello"


def test_events_are_those_of_models_or_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(events(Order, Sent), lambda event: event[0] == "sent") == ("sent", Sent(to=""))
    monkeypatch.setattr(registry, "data", {"order-placed": Order})
    name, payload = find(events(), lambda event: True)
    assert (name, type(payload)) == ("order-placed", Order)
    Event(name, payload)


def test_without_a_schema_there_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "data", {})
    with pytest.raises(ConfigurationError, match="No schema is registered"):
        events()


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fastapi_events.testing.strategies")
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(MissingDependencyError, match=r"fastapi-events\[testing\]"):
        __import__("fastapi_events.testing.strategies")


def check_types(order: Order) -> Any:
    strategy: st.SearchStrategy[Order] = payloads(Order)
    return strategy
