"""What annotations ask for."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Generic, NamedTuple, NewType, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, RootModel
from typing_extensions import TypeAliasType, TypedDict

from fastapi_events.event import Event
from fastapi_events.subscriptions.annotations import (
    asks_for_event,
    is_payload_type,
    is_structured,
    says_nothing,
    spelled,
)

T = TypeVar("T")


class Card(BaseModel):
    number: int


class Box(BaseModel, Generic[T]):
    item: T


@dataclasses.dataclass
class Cash:
    amount: int


class Note(TypedDict):
    worth: int


class Coin(NamedTuple):
    worth: int


Pair = NewType("Pair", tuple)
Either = TypeAliasType("Either", Card | Cash)
Maybe = TypeAliasType("Maybe", Event | None)


@pytest.mark.parametrize(
    "annotation",
    [
        Event,
        tuple,
        tuple[str, Any],
        Event | None,
        tuple[str, dict] | None,
        Annotated[Event, "x"],
        Pair,
        Maybe,
    ],
)
def test_the_event_is_asked_for_by_its_class_by_a_pair_and_where_it_may_be_missing(annotation: Any) -> None:
    assert asks_for_event(annotation)


@pytest.mark.parametrize(
    "annotation", [inspect.Parameter.empty, Any, object, T, Any | None, Annotated[Any, 1]]
)
def test_what_allows_anything_says_nothing(annotation: Any) -> None:
    assert says_nothing(annotation)
    assert not asks_for_event(annotation)


STRUCTURED = [
    Card, Box[int], Cash, Note, Coin, RootModel[int], Card | Cash, Card | None, Either,
    list[Card], dict, dict[str, int], Sequence[int], set[int], Annotated[Card, "x"],
]  # fmt: skip
SCALARS = [int, str, bytes, UUID, date, int | str, None]


@pytest.mark.parametrize("annotation", STRUCTURED + SCALARS)
def test_everything_else_is_the_payload(annotation: Any) -> None:
    assert not asks_for_event(annotation)
    assert not says_nothing(annotation)
    assert is_structured(annotation) is (annotation in STRUCTURED)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Card, True),
        (Box[int], True),
        (Cash, True),
        (Note, True),
        (Coin, True),
        (Annotated[Card, "x"], True),
        (dict[str, Card], False),
        (Card | None, False),
        (int, False),
        (None, False),
        ("Card", False),
        (Cash(3), False),
    ],
)
def test_a_payload_type_is_a_class_with_fields(annotation: Any, expected: bool) -> None:
    assert is_payload_type(annotation) is expected


def test_annotations_are_spelled_as_people_write_them() -> None:
    assert spelled(Card) == "Card"
    assert spelled(list[int]) == "list[int]"
