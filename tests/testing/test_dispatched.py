"""What a test says of dispatched events, and what it is told when it is not so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.registry.payload_schema import registry
from fastapi_events.testing import DispatchedEvents


class OrderPlaced(BaseModel):
    __event_name__ = "order-placed"
    number: int
    note: str = "none"


class Names(Enum):
    PLACED = "order-placed"


def of(name: Any, payload: Any = None, model: Any = None) -> Event:
    event = Event(name, payload)
    event.model = model
    return event


@pytest.fixture
def events() -> DispatchedEvents:
    return DispatchedEvents(
        [
            of("order-placed", {"number": 1}, OrderPlaced(number=1)),
            of("order-cooked", {"number": 1}),
            of("mail.sent", "to the cook"),
        ]
    )


def text_of(failing: pytest.ExceptionInfo[AssertionError]) -> str:
    return str(failing.value)


@pytest.mark.parametrize(
    "target", ["order-placed", "order-*", "*placed", OrderPlaced, Names.PLACED],
    ids=["name", "prefix", "suffix", "model", "enum"],
)  # fmt: skip
def test_an_event_is_found_by_name_pattern_model_and_enum(events: DispatchedEvents, target: Any) -> None:
    assert events.assert_dispatched(target, number=1) is events[0]


def test_fields_are_those_of_the_model_defaults_included(events: DispatchedEvents) -> None:
    events.assert_dispatched(OrderPlaced, note="none")


def test_where_judges_the_event(events: DispatchedEvents) -> None:
    events.assert_dispatched("order-*", where=lambda event: event.payload["number"] == 1)
    with pytest.raises(AssertionError, match="where= says no"):
        events.assert_dispatched("order-placed", where=lambda event: event.payload["number"] == 2)


def test_a_failure_lists_what_was_dispatched_the_closest_first(events: DispatchedEvents) -> None:
    with pytest.raises(AssertionError) as failing:
        events.assert_dispatched("order-placed", number=2)
    assert text_of(failing).splitlines() == [
        "No event 'order-placed' with number=2 was dispatched. What was, closest first:",
        "  order-placed  {'number': 1}   (number is 1, not 2)",
        "  order-cooked  {'number': 1}",
        "  mail.sent     'to the cook'",
    ]


def test_a_field_that_is_not_there_is_named(events: DispatchedEvents) -> None:
    with pytest.raises(AssertionError, match=r"order-cooked  \{'number': 1\}   \(no oven\)"):
        events.assert_dispatched("order-cooked", oven=3)


def test_nothing_dispatched_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"Nothing was dispatched at all\.$"):
        DispatchedEvents().assert_dispatched("order-placed")
    monkeypatch.setenv("FASTAPI_EVENTS_DISABLE_DISPATCH", "1")
    with pytest.raises(AssertionError, match="FASTAPI_EVENTS_DISABLE_DISPATCH is set"):
        DispatchedEvents().assert_dispatched("order-placed")


def test_once_means_once() -> None:
    twice = DispatchedEvents([of("order-placed", {"number": 1}), of("order-placed", {"number": 2})])
    twice.assert_dispatched_once("order-placed", number=2)
    with pytest.raises(AssertionError) as failing:
        twice.assert_dispatched_once("order-placed")
    assert text_of(failing).splitlines() == [
        "2 events 'order-placed' were dispatched, not one:",
        "  order-placed  {'number': 1}",
        "  order-placed  {'number': 2}",
    ]
    with pytest.raises(AssertionError, match="No event 'order-gone' was dispatched"):
        twice.assert_dispatched_once("order-gone")


def test_not_dispatched_lists_what_was(events: DispatchedEvents) -> None:
    events.assert_not_dispatched("order-failed")
    events.assert_not_dispatched("order-placed", number=2)
    with pytest.raises(AssertionError) as failing:
        events.assert_not_dispatched("order-*")
    assert text_of(failing).startswith("2 events 'order-*' were dispatched:\n  order-placed  {'number': 1}")


def test_without_a_name_nothing_at_all_is_meant(events: DispatchedEvents) -> None:
    DispatchedEvents().assert_not_dispatched()
    with pytest.raises(AssertionError, match=r"^3 events were dispatched"):
        events.assert_not_dispatched()


def test_named_gives_pairs(events: DispatchedEvents) -> None:
    assert events.named("order-*") == [("order-placed", {"number": 1}), ("order-cooked", {"number": 1})]
    assert events.named(OrderPlaced) == [("order-placed", {"number": 1})]
    assert events.named("nothing") == []


def test_it_is_a_sequence(events: DispatchedEvents) -> None:
    assert len(events) == 3
    assert events[-1] == ("mail.sent", "to the cook")
    assert events[:1] == [("order-placed", {"number": 1})]
    assert events == [
        ("order-placed", {"number": 1}), ("order-cooked", {"number": 1}), ("mail.sent", "to the cook"),
    ]  # fmt: skip
    assert "('mail.sent', 'to the cook')" in repr(events)
    events.clear()
    assert not events


def test_long_lists_and_payloads_are_cut() -> None:
    many = DispatchedEvents([of("a", "x" * 1_000)] * 20)
    with pytest.raises(AssertionError) as failing:
        many.assert_dispatched("b")
    assert "and 12 more" in text_of(failing)
    assert max(map(len, text_of(failing).splitlines())) < 200


def test_a_field_that_the_model_lacks_is_refused(events: DispatchedEvents) -> None:
    with pytest.raises(ConfigurationError, match="OrderPlaced has no field 'nmber'; did you mean 'number'"):
        events.assert_not_dispatched(OrderPlaced, nmber=1)


def test_a_field_that_the_registered_schema_of_a_name_lacks_is_refused_unless_an_event_has_it(
    events: DispatchedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mail(BaseModel):
        to: str

    monkeypatch.setattr(registry, "data", {})
    registry.register(Mail, event_name="mail.sent")
    registry.register(OrderPlaced)
    with pytest.raises(ConfigurationError, match="Mail has no field 'too'; did you mean 'to'"):
        events.assert_not_dispatched("mail.sent", too="the cook")
    DispatchedEvents([of("mail.sent", {"too": "the cook"})]).assert_dispatched("mail.sent", too="the cook")


@pytest.mark.parametrize(
    "target", [None, 3, "", OrderPlaced(number=1)], ids=["none", "number", "empty", "instance"]
)
def test_what_names_no_event_is_refused(events: DispatchedEvents, target: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected the name of an event"):
        events.assert_dispatched(target)


def test_a_class_without_a_name_is_refused_and_one_that_is_registered_is_not(
    events: DispatchedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cooked(BaseModel):
        number: int

    with pytest.raises(ConfigurationError, match="Cooked names no event"):
        events.assert_dispatched(Cooked)
    monkeypatch.setattr(registry, "data", {})
    registry.register(Cooked, event_name="order-cooked")
    events.assert_dispatched(Cooked, number=1)


def test_fields_of_a_dataclass_are_found() -> None:
    @dataclass
    class Sent:
        to: str

    events = DispatchedEvents([of("sent", Sent("cook"))])
    events.assert_dispatched("sent", to="cook")
