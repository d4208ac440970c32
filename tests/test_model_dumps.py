"""The data from which a model can be rebuilt."""

from __future__ import annotations

from typing import Any

import pydantic.dataclasses
from pydantic import BaseModel, Field, Json, computed_field

from fastapi_events.model_dumps import dump, dump_dataclass, is_whole, members_of, obstacle


class Card(BaseModel):
    number: int = Field(alias="numberAlias")
    raw: Json[Any] = "1"
    kept: int = Field(default=1, exclude=True)

    @computed_field  # type: ignore[prop-decorator]  # mypy does not know this order
    @property
    def double(self) -> int:
        return self.number * 2


class Hidden(BaseModel):
    pin: int = Field(exclude=True)


@pydantic.dataclasses.dataclass
class Cash:
    amount: int = Field(alias="amountAlias")


def test_a_dump_has_the_fields_by_name_and_json_as_text() -> None:
    assert dump(Card(numberAlias=1, raw="[2]")) == {"number": 1, "raw": "[2]"}
    assert dump_dataclass(Cash(amountAlias=2)) == {"amount": 2}


def test_what_keeps_a_model_from_being_rebuilt_is_named() -> None:
    assert obstacle(Card(numberAlias=1)) is None
    assert "Card that lacks number" in str(obstacle(Card.model_construct()))
    assert "required field 'pin' is excluded" in str(obstacle(Hidden(pin=1)))


def test_a_value_is_whole_where_all_the_models_inside_are() -> None:
    assert is_whole({"a": [Card(numberAlias=1)], "b": (1, "x", None)})
    assert not is_whole({"a": [(Hidden(pin=1),)]})
    assert is_whole(object())


def test_members_are_found_with_their_places() -> None:
    assert list(members_of(["a"])) == [(0, "a")]
    assert dict(members_of(Hidden(pin=1))) == {"pin": 1}
    assert list(members_of(3)) == []
