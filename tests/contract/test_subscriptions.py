"""What holds wherever a subscription runs: in this process or in a worker, on any broker.

Moving a function from one place to the other changes one decorator and nothing that is tested here.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import pathlib
import threading
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic import BaseModel
from typing_extensions import TypedDict

from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from tests.places import Place, QueuePlace
from tests.recording import Diary


class Kind(enum.Enum):
    COD = "cod"


class Fish(BaseModel):
    __event_name__ = "fish"

    id: uuid.UUID
    caught_at: datetime.datetime
    price: decimal.Decimal
    kind: Kind
    raw: bytes
    tags: set[str]
    path: pathlib.Path


A_FISH = Fish(
    id=uuid.UUID(int=1),
    caught_at=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    price=decimal.Decimal("12.50"),
    kind=Kind.COD,
    raw=b"\xff\x00fish",
    tags={"fresh"},
    path=pathlib.Path("/sea"),
)


@dataclasses.dataclass
class Bone:
    length: int


class Milk(TypedDict):
    litres: float


def test_an_event_arrives_with_name_payload_and_identity(place: Place) -> None:
    heard: list[Event] = []
    place.handler.register(heard.append, event_name="hello")

    place.dispatch("hello", {"n": 1, "text": "größe", "list": [1, None, True]})

    [event] = heard
    name, payload = event
    assert (name, payload) == ("hello", {"n": 1, "text": "größe", "list": [1, None, True]})
    assert uuid.UUID(event.id)
    assert event.dispatched_at.tzinfo is not None
    assert event.headers["correlationid"] == event.id


def test_every_function_whose_pattern_matches_hears_it(place: Place) -> None:
    heard: set[str] = set()
    for pattern in ("cat*", "*fish", "cat-wants-fish", "dog*", "cat-[vwx]ants-????"):
        place.handler.register(
            lambda event, pattern=pattern: heard.add(pattern),
            event_name=pattern,
            **({} if hasattr(place.handler, "_registry") else {"name": pattern}),
        )

    place.dispatch("cat-wants-fish")

    assert heard == {"cat*", "*fish", "cat-wants-fish", "cat-[vwx]ants-????"}


def test_sync_and_async_functions_run(place: Place) -> None:
    heard: list[str] = []

    @place.handler.register
    def sync(event: Event) -> None:
        heard.append("sync")

    @place.handler.register
    async def coroutine(event: Event) -> None:
        heard.append("async")

    place.dispatch("hello")

    assert sorted(heard) == ["async", "sync"]


def test_a_failing_function_harms_no_other(place: Place, diary: Diary) -> None:
    heard: list[str] = []

    @place.handler.register
    def fails(event: Event) -> None:
        raise ValueError("no")

    @place.handler.register
    def works(event: Event) -> None:
        heard.append(event.name)  # type: ignore[arg-type]

    place.dispatch("hello")

    assert heard == ["hello"]
    assert {rest["subscription"].rpartition(".")[2] for _, rest in diary.of("failed")} == {"fails"}
    assert len(list(diary.of("succeeded"))) == 1


def test_a_model_is_rebuilt_with_every_type_where_it_is_asked_for(place: Place) -> None:
    heard: list[Any] = []

    @place.handler.register(Fish)
    def by_registration(fish: Fish) -> None:
        heard.append(fish)

    @place.handler.register(event_name="fish")
    def by_annotation(event: Event, fish: Fish) -> None:
        heard.append(fish)

    place.dispatch(A_FISH)

    assert heard == [A_FISH, A_FISH]


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [(Bone, {"length": 3}, Bone(3)), (Milk, {"litres": 1.5}, {"litres": 1.5})],
)
def test_so_are_dataclasses_and_typed_dicts(place: Place, kind: Any, payload: Any, expected: Any) -> None:
    heard: list[Any] = []

    @place.handler.register(kind, event_name="thing")
    def work(given: Any) -> None:
        heard.append(given)

    place.dispatch("thing", payload)

    assert heard == [expected]


def test_dependencies_are_injected_and_torn_down(place: Place) -> None:
    log: list[str] = []

    def session() -> Iterator[str]:
        log.append("open")
        yield "session"
        log.append("close")

    @place.handler.register
    async def work(event: Event, db: Annotated[str, Depends(session)]) -> None:
        log.append(db)

    place.dispatch("hello")

    assert log == ["open", "session", "close"]


def test_dependencies_can_be_replaced(place: Place) -> None:
    log: list[str] = []

    def session() -> str:
        raise AssertionError("the real one")

    @place.handler.register
    def work(event: Event, db: Annotated[str, Depends(session)]) -> None:
        log.append(db)

    place.handler.dependency_overrides[session] = lambda: "fake"
    place.dispatch("hello")

    assert log == ["fake"]


def test_what_a_function_dispatches_is_heard_and_knows_its_cause(place: Place) -> None:
    heard: list[Event] = []
    done = threading.Event()

    @place.handler.register(event_name="one")
    def first(event: Event) -> None:
        heard.append(event)
        dispatch("two")

    @place.handler.register(event_name="two")
    async def second(event: Event) -> None:
        heard.append(event)
        dispatch("three", {"end": True})

    @place.handler.register(event_name="three")
    def third(event: Event) -> None:
        heard.append(event)
        done.set()

    place.dispatch("one")
    if isinstance(place, QueuePlace):
        assert done.wait(30)

    assert [event.name for event in heard][:1] == ["one"]
    assert done.is_set() or not isinstance(place, QueuePlace)
    for cause, effect in itertools.pairwise(heard):
        assert effect.headers["causationid"] == cause.id
        assert effect.headers["correlationid"] == heard[0].id


def test_an_event_that_nobody_hears_is_no_error(place: Place, diary: Diary) -> None:
    place.handler.register(lambda event: None, event_name="something-else")

    place.dispatch("hello")

    assert diary.of("failed") == diary.of("lost") == []


def test_names_full_of_special_characters_are_only_names(place: Place) -> None:
    heard: list[Any] = []
    place.handler.register(lambda event: heard.append(event.name), event_name="plain")
    place.handler.register(lambda event: heard.append(event.name), event_name="[[]*",
                           **({} if hasattr(place.handler, "_registry") else {"name": "other"}))  # fmt: skip

    for name in ("*", "p*", "plai?", "[a-z]*", "plain\n", "<b>plain</b>", "'; DROP TABLE events; --"):
        place.dispatch(name)

    assert heard == ["[a-z]*"]
