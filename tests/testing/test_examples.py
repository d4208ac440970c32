"""Payloads that are made of a schema fit it."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from fastapi_events.errors import InvalidPayload
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.testing.examples import Examples


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str = Field(min_length=16, max_length=16)


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"


class Tree(BaseModel):
    left: Tree | None = None
    leaves: list[Tree] = []


class Everything(BaseModel):
    number: Annotated[int, Field(gt=3, multiple_of=5)]
    share: Annotated[float, Field(lt=1.0)]
    price: Decimal
    flag: bool
    nothing: None
    size: Size
    id: UUID
    at: datetime
    day: date
    hour: time
    wait: timedelta
    file: Path
    raw: bytes
    ip: IPv4Address
    tags: set[str]
    pair: tuple[int, str]
    many: Annotated[list[int], Field(min_length=2)]
    by_name: dict[str, int]
    anything: Any
    paid: Annotated[Union[Card, Cash], Field(discriminator="kind")]  # noqa: UP007 - a union is a union
    named: str = Field(examples=["Käthe"])
    note: str | None = None


def fits(kind: Any, example: Any) -> bool:
    try:
        PayloadType(kind).from_json(example)
    except InvalidPayload:
        return False
    return True


@pytest.mark.parametrize("kind", [Everything, Tree, Card, Size, list[int]], ids=str)
def test_they_fit(kind: Any) -> None:
    examples = Examples(TypeAdapter(kind).json_schema(by_alias=False)).all()
    fitting = [each for each in examples if fits(kind, each)]
    assert fitting[0] == examples[0]  # the one with every field
    assert len(examples) - len(fitting) <= 1  # the text of a decimal is a number


def test_each_alternative_comes_once() -> None:
    examples = Examples(Everything.model_json_schema(by_alias=False)).all()
    assert {each["size"] for each in examples} == {"s", "l"}
    assert {each["paid"]["kind"] for each in examples} == {"card", "cash"}
    assert any("note" not in each for each in examples)
    assert any(each.get("note", 1) is None for each in examples)
    assert {each["named"] for each in examples} == {"Käthe"}


def test_they_are_the_same_each_time() -> None:
    schema = Everything.model_json_schema()
    assert Examples(schema).all() == Examples(schema).all()
