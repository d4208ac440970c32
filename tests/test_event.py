"""The event: a pair that remembers more."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from enum import Enum

import pytest
from pydantic import BaseModel, ValidationError

from fastapi_events.event import Event, names, wire_name


class Cat(Enum):
    WOKE = "cat-woke-up"
    NUMBER = 7


class Text(str, Enum):  # noqa: UP042 - what people's code has; a StrEnum prints another way
    WOKE = "cat-woke-up"


def test_it_is_the_pair_that_it_always_was() -> None:
    event = Event("hello", {"n": 1})
    name, payload = event

    assert (name, payload) == ("hello", {"n": 1}) == event
    assert event[0] == event.name == "hello"
    assert event[1] == event.payload == {"n": 1}
    assert isinstance(event, tuple)
    assert len(event) == 2
    assert hash(Event("hello")) == hash(("hello", None))


def test_two_events_are_never_the_same() -> None:
    assert Event("hello") == Event("hello")
    assert Event("hello").id != Event("hello").id


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda event: pickle.loads(pickle.dumps(event))])
def test_a_copy_remembers_everything(again: object) -> None:
    event = Event("hello", {"n": 1}, headers={"tenant": "acme"})
    twin = again(event)  # type: ignore[operator]

    assert twin == event
    assert (twin.id, twin.dispatched_at, twin.headers) == (event.id, event.dispatched_at, event.headers)


def test_a_plain_pair_becomes_one() -> None:
    event = Event("hello")
    assert Event.of(event) is event
    assert Event.of(("hello", 5)) == ("hello", 5)


def test_the_name_on_the_wire_and_all_its_spellings() -> None:
    assert wire_name("hello") == "hello"
    assert wire_name(Cat.WOKE) == "cat-woke-up"
    assert wire_name(Cat.NUMBER) == "Cat.NUMBER"
    assert names("hello") == ("hello",)
    assert names(Cat.WOKE) == ("cat-woke-up", "Cat.WOKE")
    assert names(Text.WOKE) == ("cat-woke-up", "Text.WOKE")
    assert names(Cat.NUMBER) == ("Cat.NUMBER",)


@pytest.mark.parametrize("at", [0.0, 1_700_000_000.25, 1_700_000_000.9999996, 1_767_225_599.9999999, 1.5e-6])
def test_its_time_on_the_wire_is_that_of_its_dispatch(monkeypatch: pytest.MonkeyPatch, at: float) -> None:
    monkeypatch.setattr("time.time", lambda: at)
    event = Event("hello")

    written = event.time

    assert datetime.fromisoformat(written) == event.dispatched_at == datetime.fromtimestamp(at, UTC)
    assert datetime.fromisoformat(event.time) == event.dispatched_at


# In models


class Logged(BaseModel):
    event: Event
    others: list[Event] = []


def test_a_field_takes_a_pair_or_an_event_and_writes_a_pair() -> None:
    event = Event("fed", 5)
    logged = Logged.model_validate({"event": ("woke", {"cat": 7}), "others": [event, ["slept", None]]})

    assert isinstance(logged.event, Event)
    assert logged.others[0] is event
    assert logged.model_dump() == {"event": ("woke", {"cat": 7}), "others": [("fed", 5), ("slept", None)]}
    assert Logged.model_validate_json(logged.model_dump_json()) == logged
    assert Logged.model_json_schema()["properties"]["event"]["prefixItems"] == [{"type": "string"}, {}]


@pytest.mark.parametrize("wrong", ["woke", ("woke",), ("woke", 1, 2), (5, 1), None])
def test_a_field_takes_nothing_else(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Logged.model_validate({"event": wrong})
