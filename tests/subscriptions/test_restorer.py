"""Restoring: which changes a type needs, found from its annotations, and what they do to data."""

from __future__ import annotations

import base64
import copy
import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,  # pydantic wants it from here before Python 3.12
    TypeVar,
)

import pydantic.dataclasses
import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    Field,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    computed_field,
)
from typing_extensions import TypedDict

from fastapi_events.model_dumps import BY_EITHER_NAME
from fastapi_events.subscriptions.restorer import Restorer

T = TypeVar("T")

RAW = b"\xff\xfe"
TEXT = base64.urlsafe_b64encode(RAW).decode()


class Photo(BaseModel):
    raw: bytes
    title: str = ""


class Tree(BaseModel):
    raw: bytes
    children: list[Tree] = []


class Plain(BaseModel):
    n: int


class Leafless(BaseModel):
    name: str
    children: list[Leafless] = []


class Aliased(BaseModel):
    raw: bytes = Field(alias="rawBytes")
    more: bytes = Field(validation_alias=AliasChoices("MORE", AliasPath("deep", "more")))


class Own(BaseModel):
    raw: Annotated[bytes, PlainSerializer(lambda raw: raw.hex())]


class Computed(BaseModel):
    grams: int

    @computed_field
    def kilos(self) -> float:
        return self.grams / 1000


class Photos(RootModel[list[Photo]]): ...


@dataclasses.dataclass
class Note:
    raw: bytes
    text: str = ""


@pydantic.dataclasses.dataclass
class Checked:
    raw: bytes


@dataclasses.dataclass
class Boxed(Generic[T]):
    item: T
    raw: bytes


class Entry(TypedDict):
    raw: bytes
    more: NotRequired[bytes]


class Pair(NamedTuple):
    n: int
    raw: bytes


class Seal(Enum):
    WAX = b"\xff\xfe"


class Word(Enum):
    WAX = "wax"


class Raw(bytes): ...


Key = NewType("Key", bytes)


def change(annotation: Any, data: Any, *, with_bytes: bool = True) -> Any:
    changing = Restorer(from_json=with_bytes).change_for(annotation)
    return data if changing is None else changing(data)


# Bytes, wherever they are


@pytest.mark.parametrize(
    ("annotation", "data", "expected"),
    [
        (bytes, TEXT, RAW),
        (Raw, TEXT, RAW),
        (Key, TEXT, RAW),
        (Seal, TEXT, Seal.WAX),
        (Annotated[bytes, "a note"], TEXT, RAW),
        (Final[bytes], TEXT, RAW),
        (list[bytes], [TEXT, TEXT], [RAW, RAW]),
        (Sequence[bytes], [TEXT], [RAW]),
        (set[bytes], [TEXT], [RAW]),
        (dict[str, bytes], {TEXT: TEXT}, {TEXT: RAW}),
        (dict[bytes, str], {TEXT: TEXT}, {RAW: TEXT}),
        (Mapping[str, list[bytes]], {"a": [TEXT]}, {"a": [RAW]}),
        (tuple[bytes, ...], [TEXT, TEXT, TEXT], [RAW, RAW, RAW]),
        (tuple[str, bytes], [TEXT, TEXT], [TEXT, RAW]),
        (bytes | None, TEXT, RAW),
        (bytes | None, None, None),
        (Photo, {"raw": TEXT, "title": TEXT}, {"raw": RAW, "title": TEXT}),
        (list[Photo | None], [{"raw": TEXT}, None], [{"raw": RAW}, None]),
        (Photos, [{"raw": TEXT}], [{"raw": RAW}]),
        (Note, {"raw": TEXT, "text": TEXT}, {"raw": RAW, "text": TEXT}),
        (Checked, {"raw": TEXT}, {"raw": RAW}),
        (Boxed[int], {"item": 1, "raw": TEXT}, {"item": 1, "raw": RAW}),
        (Entry, {"raw": TEXT, "more": TEXT}, {"raw": RAW, "more": RAW}),
        (Pair, [1, TEXT], [1, RAW]),
    ],
    ids=str,
)
def test_bytes_become_bytes_wherever_they_are(annotation: Any, data: Any, expected: Any) -> None:
    before = copy.deepcopy(data)

    assert change(annotation, data) == expected

    assert data == before  # in a copy


@pytest.mark.parametrize("annotation", [bytes, list[bytes], Photo, Entry, Pair, Seal], ids=str)
def test_what_does_not_come_from_json_holds_its_bytes_already(annotation: Any) -> None:
    restorer = Restorer(from_json=False)

    assert restorer.change_for(annotation) is None
    assert not restorer.leaves_json


@pytest.mark.parametrize(
    "annotation",
    [int, str, Any, None, list, list[int], dict[str, int], tuple[int, str], int | str, Plain, Word, Own, T],
    ids=str,
)
def test_what_needs_nothing_costs_nothing(annotation: Any) -> None:
    restorer = Restorer(from_json=True)

    assert restorer.change_for(annotation) is None
    assert not restorer.leaves_json


@pytest.mark.parametrize("annotation", [bytes, list[Photo], Tree, Note | None], ids=str)
def test_who_asks_is_told_that_there_are_bytes(annotation: Any) -> None:
    restorer = Restorer(from_json=True)

    restorer.change_for(annotation)

    assert restorer.leaves_json


def test_a_type_that_holds_itself_is_changed_all_the_way_down() -> None:
    data = {"raw": TEXT, "children": [{"raw": TEXT, "children": [{"raw": TEXT}]}]}

    assert change(Tree, data) == {"raw": RAW, "children": [{"raw": RAW, "children": [{"raw": RAW}]}]}


def test_a_type_that_holds_itself_and_no_bytes_is_left_as_it_is() -> None:
    data = {"name": "a", "children": [{"name": "b"}]}

    assert change(Leafless, data) == data


def test_a_field_may_come_by_each_of_its_names() -> None:
    data = {"raw": TEXT, "rawBytes": TEXT, "more": TEXT, "MORE": TEXT, "deep": TEXT}

    changed = change(Aliased, data)
    assert changed == (
        {"raw": RAW, "rawBytes": RAW, "more": RAW, "MORE": RAW, "deep": TEXT}
        if BY_EITHER_NAME
        else {"rawBytes": RAW, "MORE": RAW, "deep": TEXT}  # those by which pydantic reads it
    )


# Which of several


@pytest.mark.parametrize(
    ("annotation", "data", "expected"),
    [
        (Photo | Plain, {"raw": TEXT}, {"raw": RAW}),
        (Photo | Plain, {"n": 1}, {"n": 1}),
        (Plain | Photo | None, {"raw": TEXT}, {"raw": RAW}),
        (Plain | Photo | None, None, None),
        (int | bytes, TEXT, RAW),
        (int | bytes, 7, 7),
        (int | bytes, "1234", base64.b64decode("1234")),  # strictly: text is no number
        (str | bytes, TEXT, TEXT),  # in the order in which they are written
        (bytes | str, TEXT, RAW),
        (bytes | str, "no base64!", "no base64!"),
        (Photo | Plain, "neither", "neither"),
    ],
    ids=str,
)
def test_of_several_types_the_first_that_validates_counts(annotation: Any, data: Any, expected: Any) -> None:
    assert change(annotation, data) == expected


# What does not fit


@pytest.mark.parametrize("data", [7, None, [TEXT], {"raw": TEXT}], ids=str)
def test_what_is_no_text_is_no_bytes(data: Any) -> None:
    assert change(bytes, data) == data


@pytest.mark.parametrize("text", ["no base64!", "a", "é", "\x00"])
def test_text_that_is_no_base64_fits_no_type(text: str) -> None:
    changed = change(bytes, text)

    assert not isinstance(changed, (str, bytes))
    with pytest.raises(ValueError, match="bytes"):
        TypeAdapter(bytes).validate_python(changed)


@pytest.mark.parametrize(
    ("annotation", "data"),
    [
        (Photo, "text"),
        (Photo, [TEXT]),
        (list[bytes], "text"),
        (list[bytes], {"a": 1}),
        (dict[str, bytes], [TEXT]),
        (tuple[str, bytes], [TEXT]),
        (tuple[str, bytes], [TEXT, TEXT, TEXT]),
        (Pair, {"n": 1, "raw": TEXT}),
    ],
    ids=str,
)
def test_what_does_not_fit_stays_for_pydantic_to_say_so(annotation: Any, data: Any) -> None:
    assert change(annotation, data) == data


# Computed fields


@pytest.mark.parametrize("with_bytes", [True, False])
def test_computed_fields_are_left_out_and_what_nobody_knows_is_not(with_bytes: bool) -> None:
    data = [{"grams": 80, "kilos": 0.08, "salt": 1}]

    assert change(list[Computed], data, with_bytes=with_bytes) == [{"grams": 80, "salt": 1}]
