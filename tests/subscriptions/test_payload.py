"""A payload arrives as plain data, and its subscription gets the type that it asked for."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypeVar,
    Union,
)
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    field_validator,
)
from typing_extensions import TypedDict

from fastapi_events.codec import decode, encode
from fastapi_events.errors import FastapiEventError, InvalidPayload
from fastapi_events.subscriptions.payload import PayloadType

RAW = b"\xff\xfe\x00 raw"
Token = NewType("Token", bytes)
V = TypeVar("V")


class Colour(Enum):
    GINGER = "ginger"


class Marker(Enum):
    START = b"\xff\x00"


class Chip(NamedTuple):
    number: int
    code: bytes


class Photo(BaseModel):
    raw: bytes
    kind: Literal["photo"] = "photo"


class Note(BaseModel):
    raw: str
    kind: Literal["note"] = "note"


@dataclass
class Collar:
    tag: bytes
    bought: date


@pydantic.dataclasses.dataclass
class Bell:
    tone: bytes
    photos: list[Photo] = field(default_factory=list)


class Address(TypedDict):
    street: str
    stamp: NotRequired[bytes]


class Plain(BaseModel):
    at: datetime
    day: date
    hour: time
    wait: timedelta
    id: UUID
    price: Decimal
    colour: Colour
    tags: set[int]
    frozen: frozenset[str]
    pair: tuple[int, date]
    path: Path
    by_id: dict[UUID, int]


class StrictPlain(Plain):
    model_config = ConfigDict(strict=True, extra="forbid")


class WithBytes(Plain):
    raw: bytes
    maybe: Optional[bytes] = None  # noqa: UP045 - people write it, too
    either: str | bytes = ""
    many: list[bytes] = []
    unique: set[bytes] = set()
    by_name: Mapping[str, Sequence[bytes]] = {}
    by_bytes: dict[bytes, int] = {}
    some: tuple[bytes, ...] = ()
    mixed: tuple[str, bytes] = ("", b"")
    photo: Photo | None = None
    photos: Sequence[Photo] = []
    attachment: Union[Note, Photo, None] = None  # noqa: UP007 - people write it, too
    tagged: Annotated[Note | Photo | None, Field(discriminator="kind")] = None
    collar: Collar | None = None
    bell: Bell | None = None
    address: Address | None = None
    token: Token | None = None
    marker: Marker | None = None
    chip: Chip | None = None
    limited: Annotated[bytes, Field(max_length=8)] = b""
    roots: RootModel[list[bytes]] | None = None


class StrictWithBytes(WithBytes):
    model_config = ConfigDict(strict=True, extra="forbid")


class Hexed(BaseModel):
    value: Annotated[
        bytes,
        PlainSerializer(lambda value: value.hex()),
        BeforeValidator(lambda value: bytes.fromhex(value) if isinstance(value, str) else value),
    ]


class Tree(BaseModel):
    leaf: bytes
    branches: list["Tree"] = []


class Box(BaseModel, Generic[V]):
    content: V


PLAIN: dict[str, Any] = {
    "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "hour": time(3, 4),
    "wait": timedelta(hours=1, microseconds=5),
    "id": UUID(int=7),
    "price": Decimal("1.50"),
    "colour": Colour.GINGER,
    "tags": {1, 2},
    "frozen": frozenset({"a"}),
    "pair": (1, date(2026, 1, 2)),
    "path": Path("/etc/cats"),
    "by_id": {UUID(int=8): 1},
}

BYTES: dict[str, Any] = {
    "raw": RAW,
    "maybe": RAW,
    "either": "text",
    "many": [RAW, b""],
    "unique": {RAW},
    "by_name": {"a": [RAW]},
    "by_bytes": {RAW: 1},
    "some": (RAW, RAW),
    "mixed": ("text", RAW),
    "photo": Photo(raw=RAW),
    "photos": [Photo(raw=RAW)],
    "attachment": Photo(raw=RAW),
    "tagged": Photo(raw=RAW),
    "collar": Collar(RAW, date(2026, 1, 2)),
    "bell": Bell(RAW, [Photo(raw=RAW)]),
    "address": {"street": "Fish Lane", "stamp": RAW},
    "token": RAW,
    "marker": Marker.START,
    "chip": Chip(1, RAW),
    "limited": RAW[:8],
    "roots": RootModel[list[bytes]]([RAW]),
}


def arrived(payload: Any) -> Any:
    return decode(encode(payload, event_name="cat-fed"))


@pytest.mark.parametrize(
    "sent",
    [
        Plain(**PLAIN),
        StrictPlain(**PLAIN),
        WithBytes(**PLAIN, **BYTES),
        StrictWithBytes(**PLAIN, **BYTES),
        StrictWithBytes(**PLAIN, raw=b"text"),
        Collar(RAW, date(2026, 1, 2)),
        Bell(RAW),
        Hexed(value=b"\xff\xff"),
        Tree(leaf=RAW, branches=[Tree(leaf=RAW, branches=[Tree(leaf=b"")])]),
        RootModel[dict[str, Photo]]({"a": Photo(raw=RAW)}),
        Box[bytes](content=RAW),
        Box[list[Photo]](content=[Photo(raw=RAW)]),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_every_field_has_its_type_again(sent: Any) -> None:
    data = arrived(sent)
    before = copy.deepcopy(data)

    rebuilt = PayloadType(type(sent)).from_json(data)

    assert rebuilt == sent
    assert type(rebuilt) is type(sent)
    assert data == before, "the data of the message belong to others, too"


def test_a_typed_dict_is_validated_and_stays_a_dict() -> None:
    address = PayloadType(Address)

    assert address.from_json({"street": "Fish Lane", "stamp": "__4="}) == {
        "street": "Fish Lane",
        "stamp": b"\xff\xfe",
    }
    assert address.from_json({"street": "Fish Lane"}) == {"street": "Fish Lane"}
    with pytest.raises(InvalidPayload, match=r"no Address: street: Field required"):
        address.from_json({})


@pytest.mark.parametrize("how", ["utf8", "base64", "hex"])
def test_bytes_come_from_base64_whatever_the_model_says(how: Literal["utf8", "base64", "hex"]) -> None:
    class Letter(BaseModel):
        model_config = ConfigDict(val_json_bytes=how, ser_json_bytes=how)
        raw: bytes
        inner: Photo

    letter = Letter(raw=RAW, inner=Photo(raw=RAW))

    assert PayloadType(Letter).from_json(arrived(letter)) == letter


@given(st.binary())
def test_any_bytes_arrive(raw: bytes) -> None:
    assert PayloadType(Photo).from_json(arrived(Photo(raw=raw))) == Photo(raw=raw)


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cat_id: int = Field(alias="catId")
    raw: bytes = Field(validation_alias=AliasChoices("RAW", "rawBytes"))


@pytest.mark.parametrize(
    "data",
    [
        {"cat_id": 1, "raw": "__4="},
        {"catId": 1, "RAW": "__4="},
        {"cat_id": 1, "rawBytes": "__4="},
    ],
)
def test_fields_come_by_name_or_by_alias(data: dict[str, Any]) -> None:
    rebuilt = PayloadType(Aliased).from_json(data)

    assert (rebuilt.cat_id, rebuilt.raw) == (1, b"\xff\xfe")


class Meal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grams: int

    @computed_field
    def kilos(self) -> float:
        return self.grams / 1000


class Dinner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    meals: list[Meal]


def test_computed_fields_of_a_dump_do_no_harm_to_a_model_that_forbids_extra_ones() -> None:
    dinner = Dinner(meals=[Meal(grams=80)])

    assert PayloadType(Dinner).from_json(arrived(dinner)) == dinner
    assert PayloadType(Dinner).from_python(dinner.model_dump()) == dinner
    with pytest.raises(InvalidPayload, match=r"meals\.0\.salt: Extra inputs"):
        PayloadType(Dinner).from_json({"meals": [{"grams": 80, "salt": 1}]})


def test_a_strict_model_stays_strict_about_json() -> None:
    with pytest.raises(InvalidPayload, match="tags"):
        PayloadType(StrictPlain).from_json({**arrived(Plain(**PLAIN)), "tags": ["1"]})


@pytest.mark.parametrize("text", ["not base64!", "a", "é", "\x00"])
def test_text_that_is_no_base64_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(InvalidPayload, match=r"photos\.0\.raw"):
        PayloadType(Bell).from_json({"tone": "", "photos": [{"raw": text}]})


def test_text_that_looks_like_a_number_may_be_bytes() -> None:
    class Reading(BaseModel):
        value: int | bytes

    raw = PayloadType(Reading).from_json({"value": "1234"}).value

    assert raw == b"\xd7m\xf8"
    assert PayloadType(Reading).from_json({"value": 1234}).value == 1234


def test_an_instance_passes_as_it_is() -> None:
    photo = Photo(raw=RAW)

    assert PayloadType(Photo).from_python(photo) is photo
    assert PayloadType(Annotated[Photo, "metadata"]).from_python(photo) is photo


def test_a_dict_in_this_process_is_validated_with_its_bytes_as_they_are() -> None:
    assert PayloadType(Photo).from_python({"raw": RAW}) == Photo(raw=RAW)
    assert PayloadType(StrictWithBytes).from_python({**PLAIN, "raw": RAW}).raw == RAW


def test_an_instance_of_another_type_is_dumped_first() -> None:
    class Snapshot(BaseModel):
        raw: bytes = RAW
        seen: int = 3

    @dataclass
    class Picture:
        raw: bytes = RAW

    assert PayloadType(Photo).from_python(Snapshot()) == Photo(raw=RAW)
    assert PayloadType(Photo).from_python(Picture()) == Photo(raw=RAW)


@pytest.mark.parametrize("payload", [None, 3, "text", [], {"raw": None}, {}])
def test_what_does_not_fit_is_invalid_in_both_ways(payload: Any) -> None:
    for build in (PayloadType(Photo).from_json, PayloadType(Photo).from_python):
        with pytest.raises(InvalidPayload, match="no Photo") as caught:
            build(payload)
        assert isinstance(caught.value, (FastapiEventError, ValueError))
        assert caught.value.__cause__ is None  # it would show the values


class Login(BaseModel):
    user: int
    age: int
    size: int
    colour: Colour
    word: str = ""

    @field_validator("word")
    @classmethod
    def known(cls, word: str) -> str:
        raise ValueError(f"never heard of {word}")


def test_the_message_names_the_first_errors_and_none_of_the_values() -> None:
    data = {"word": "sesame", "user": "sesame", "age": "sesame", "size": "sesame", "colour": "sesame"}

    for build in (PayloadType(Login).from_json, PayloadType(Login).from_python):
        with pytest.raises(InvalidPayload) as caught:
            build(data)

        assert str(caught.value).startswith("The payload is no Login: user: Input should be a valid integer")
        assert "and 2 more" in str(caught.value)
        assert "sesame" not in str(caught.value)


def test_a_validators_own_words_may_quote_the_input_and_are_left_out() -> None:
    with pytest.raises(InvalidPayload, match=r"word: value_error") as caught:
        PayloadType(Login).from_json({"user": 1, "age": 1, "size": 1, "colour": "ginger", "word": "sesame"})

    assert "sesame" not in str(caught.value)
