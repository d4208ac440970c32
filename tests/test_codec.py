"""What may travel to a queue, how it looks there, and where what may not travel is found."""

from __future__ import annotations

import gc
import json
import socket
import tracemalloc
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple, NoReturn
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, RootModel, SecretStr, field_serializer

from fastapi_events.codec import MAX_DEPTH, decode, encode
from fastapi_events.constants import MAX_PAYLOAD_BYTES
from fastapi_events.errors import FastapiEventError, UnserialisablePayload


class Colour(StrEnum):
    GINGER = "ginger"


class Size(IntEnum):
    SMALL = 1


class Mood(Enum):
    HUNGRY = ("very", "hungry")


class Fish(BaseModel):
    name: str = Field("cod", alias="fishName")
    photo: bytes = b"\xff\xfe"

    model_config = ConfigDict(populate_by_name=True)


@dataclass
class Bowl:
    fish: list[Fish]
    label: bytes = b"\x00\xff"


@dataclass(slots=True)
class Kitchen:
    bowls: dict[str, Bowl] = field(default_factory=dict)


@pydantic.dataclasses.dataclass
class Order:
    fish: Fish
    at: datetime


class Point(NamedTuple):
    x: int
    y: int


def travel(payload: Any) -> Any:
    return decode(encode(payload, event_name="cat-fed"))


def refused(payload: Any, **limits: int) -> UnserialisablePayload:
    with pytest.raises(UnserialisablePayload) as caught:
        encode(payload, event_name="cat-fed", **limits)
    assert caught.value.event_name == "cat-fed"
    return caught.value


def nested(levels: int, *, within: Callable[[Any], Any] = lambda value: [value]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = within(value)
    return value


@pytest.mark.parametrize(
    ("payload", "arrives"),
    [
        (None, None),
        (
            {"cat_id": 1, "name": "Mia", "fed": True, "kg": 3.5},
            {"cat_id": 1, "name": "Mia", "fed": True, "kg": 3.5},
        ),
        (2**64 + 1, 2**64 + 1),
        (10**4299, 10**4299),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(hours=1, seconds=1.5), "PT1H1.5S"),
        (Decimal("1.50"), "1.50"),
        ([Colour.GINGER, Size.SMALL, Mood.HUNGRY], ["ginger", 1, ["very", "hungry"]]),
        (b"\xff\xfe\xfd", "__79"),
        (bytearray(b"\xff"), "_w=="),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset({b"\xff"}), ["_w=="]),
        (deque([1]), [1]),
        (Point(1, 2), [1, 2]),
        (PurePosixPath("/etc/cats"), "/etc/cats"),
        (OrderedDict(a=1), {"a": 1}),
        ("NaN and -Infinity are words", "NaN and -Infinity are words"),
        ("9" * 5000, "9" * 5000),
        (pydantic.AnyUrl("https://cats.example/"), "https://cats.example/"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_travels_and_how_it_arrives(payload: Any, arrives: Any) -> None:
    assert travel(payload) == arrives
    assert travel({"deep": [payload]}) == {"deep": [arrives]}


def test_models_and_dataclasses_travel_by_field_name_and_bytes_always_as_base64() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    fish = {"name": "cod", "photo": "__4="}

    assert travel(Fish()) == fish
    assert travel({"bowl": Bowl([Fish()])}) == {"bowl": {"fish": [fish], "label": "AP8="}}
    assert travel(Kitchen({"blue": Bowl([])})) == {"bowls": {"blue": {"fish": [], "label": "AP8="}}}
    assert travel([Order(Fish(), at)]) == [{"fish": fish, "at": "2026-01-02T00:00:00Z"}]
    assert travel(RootModel[list[Fish]]([Fish()])) == [fish]


def test_bytes_in_a_model_that_are_text_travel_as_base64_too() -> None:
    assert travel(Fish(photo=b"text")) == {"name": "cod", "photo": "dGV4dA=="}


def test_keys_become_text_as_json_writes_them() -> None:
    payload = {
        Colour.GINGER: 1, Size.SMALL: 2, UUID(int=7): 3, date(2026, 1, 2): 4, None: 5, False: 6, 2.5: 7,
        b"\xff": 8,
    }  # fmt: skip

    assert travel(payload) == {
        "ginger": 1, "1": 2, "00000000-0000-0000-0000-000000000007": 3, "2026-01-02": 4, "null": 5,
        "false": 6, "2.5": 7, "_w==": 8,
    }  # fmt: skip


class Whisker:
    def __init__(self, length: int) -> None:
        self.length = length


class Portrait(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    whiskers: list[Annotated[Any, PlainSerializer(lambda whisker: whisker.length, when_used="json")]]
    raw: bytes = b"\xff"


def test_a_serialiser_for_json_only_is_used_where_nothing_else_can_write_the_value() -> None:
    portraits = {3: [Portrait(whiskers=[Whisker(5), Whisker(6)])]}

    assert travel(portraits) == {"3": [{"whiskers": [5, 6], "raw": "_w=="}]}


class Login(BaseModel):
    password: SecretStr


class RevealedLogin(Login):
    @field_serializer("password", when_used="json")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


def test_a_secret_is_refused_rather_than_sent_masked() -> None:
    assert refused(Login(password=SecretStr("tuna"))).path == "payload.password"
    assert refused([SecretStr("tuna")]).path == "payload[0]"


def test_a_secret_travels_where_its_model_says_how() -> None:
    assert travel(RevealedLogin(password=SecretStr("tuna"))) == {"password": "tuna"}


class Broken(BaseModel):
    cat: int = 1

    @field_serializer("cat")
    def purr(self, cat: int) -> str:
        raise RuntimeError("no purring")


def loop() -> list[Any]:
    items: list[Any] = []
    items.append({"again": items})
    return items


ENDLESS: Any = {"name": float("inf")}


@pytest.mark.parametrize(
    ("payload", "path", "reason"),
    [
        ({"items": [1, 2, 3, {"price": float("nan")}]}, "payload.items[3].price", "nan"),
        ({"strange key": float("inf")}, "payload['strange key']", "inf"),
        ([Decimal("NaN")], "payload[0]", "NaN"),
        ([Decimal("sNaN")], "payload[0]", "NaN"),
        ([Decimal("-Infinity")], "payload[0]", "Infinity"),
        ({"text": ["\ud800"]}, "payload.text[0]", "surrogate"),
        ({"\udfff": 1}, r"payload['\udfff']", "surrogate"),
        ({"path": PurePosixPath("\udcff")}, "payload.path", "surrogate"),
        ({"call": lambda: None}, "payload.call", "function"),
        ({"error": ValueError("x")}, "payload.error", "ValueError"),
        ({"kind": int}, "payload.kind", "type"),
        ({"model": Fish}, "payload.model", "ModelMetaclass"),
        ({"numbers": (n for n in [1])}, "payload.numbers", "iterator"),
        ({"numbers": map(str, [1])}, "payload.numbers", "iterator"),
        (loop(), "payload[0].again", "contains itself"),
        ({"n": 10**5000}, "payload.n", "4300 digits"),
        ({"n": -(10**4300)}, "payload.n", "4300 digits"),
        ({"map": {(1, 2): 3}}, "payload.map", "tuple"),
        ({"map": {frozenset(): 3}}, "payload.map", "frozenset"),
        ({"map": {1: "a", "1": "b"}}, "payload.map", "two keys"),
        ({"map": {float("nan"): "a"}}, "payload.map[nan]", "nan"),
        ([Bowl([Fish(), Fish.model_construct(**ENDLESS)])], "payload[0].fish[1].name", "inf"),
        ({"broken": [Broken()]}, "payload.broken[0]", "no purring"),
        (Portrait(whiskers=[object()]), "payload.whiskers[0]", "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_travel_is_named_with_its_path(payload: Any, path: str, reason: str) -> None:
    error = refused(payload)

    assert error.path == path
    assert reason in error.reason
    assert str(error).startswith("Event 'cat-fed' cannot be sent: payload")
    assert isinstance(error, (FastapiEventError, ValueError))


def test_a_socket_cannot_travel() -> None:
    with socket.socket() as open_socket:
        assert refused({"connection": open_socket}).path == "payload.connection"


def test_a_refused_generator_has_not_been_used_up() -> None:
    numbers = (n for n in [1, 2])

    refused({"numbers": numbers})

    assert list(numbers) == [1, 2]


def test_the_same_object_twice_is_no_circle() -> None:
    bowl = Bowl([])

    assert travel([bowl, bowl, {"bowl": bowl}])[2] == {"bowl": {"fish": [], "label": "AP8="}}


@pytest.mark.parametrize(
    "within", [lambda value: [value], lambda value: {"a": value}, lambda value: (value,)]
)
def test_nesting_has_a_limit(within: Callable[[Any], Any]) -> None:
    assert encode(nested(MAX_DEPTH, within=within), event_name="cat-fed")
    for levels in (MAX_DEPTH + 1, 10_000):
        assert "levels deep" in refused(nested(levels, within=within)).reason


def test_nesting_of_what_is_not_plain_has_the_same_limit() -> None:
    within: Callable[[Any], Any] = lambda value: {1: value}  # noqa: E731 - as in the parameters above

    assert encode(nested(MAX_DEPTH, within=within), event_name="cat-fed")
    assert "levels deep" in refused(nested(MAX_DEPTH + 1, within=within)).reason


def test_a_deepest_payload_still_fits_into_what_is_put_around_it() -> None:
    encoded = encode(nested(MAX_DEPTH), event_name="cat-fed")

    assert decode(f'{{"args": [[{{"data": {encoded}}}]]}}')


def test_a_payload_over_the_limit_names_both_sizes() -> None:
    error = refused({"text": "é" * 200_000})

    assert error.path == "payload"
    assert "400,011" in error.reason
    assert f"{MAX_PAYLOAD_BYTES:,}" in error.reason


def test_the_limit_counts_bytes_and_includes_itself() -> None:
    assert encode("é", event_name="cat-fed", max_bytes=4) == '"é"'
    assert "4 bytes" in refused("é", max_bytes=3).reason


def test_the_payload_stays_as_it_is() -> None:
    inner = {1: {2, 3}, "bytes": b"\xff", "fish": Fish()}
    payload = {"inner": inner, "tuple": (1, 2)}

    encode(payload, event_name="cat-fed")

    assert payload == {"inner": {1: {2, 3}, "bytes": b"\xff", "fish": Fish()}, "tuple": (1, 2)}
    assert payload["inner"] is inner


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "", "{", '{"a": 1,}', r'"\ud800"', b"\xff"])
def test_what_is_not_strict_json_is_not_read(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1|utf-8"):
        decode(text)


def test_text_and_bytes_are_read_alike() -> None:
    assert decode('{"a": [1]}') == decode(b'{"a": [1]}') == {"a": [1]}


def no_such_constant(name: str) -> NoReturn:
    raise AssertionError(name)


texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)
keys = st.text() | st.integers() | st.floats() | st.none()
anything = st.recursive(
    keys | st.booleans() | st.binary() | st.decimals() | st.datetimes()
    | st.timedeltas() | st.uuids() | st.sampled_from([Colour.GINGER, Size.SMALL, Mood.HUNGRY]),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.lists(inner).map(tuple)
    | st.builds(Kitchen, inner),
)  # fmt: skip


@given(json_values)
def test_every_json_value_arrives_as_it_was(payload: Any) -> None:
    assert travel(payload) == payload


@given(json_values)
def test_the_slow_way_writes_the_same_text(payload: Any) -> None:
    marked = encode([payload, deque()], event_name="cat-fed")

    assert marked == encode([payload, []], event_name="cat-fed")


@given(anything)
def test_whatever_is_accepted_is_strict_json(payload: Any) -> None:
    try:
        encoded = encode(payload, event_name="cat-fed")
    except UnserialisablePayload:
        return
    assert json.loads(encoded, parse_constant=no_such_constant) == decode(encoded)


def test_what_was_read_is_not_remembered() -> None:
    def read(texts: Sequence[str]) -> int:
        for each in texts:
            decode(each)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    first, second = ([json.dumps({"id": str(uuid.uuid4())}) for _ in range(2_000)] for _ in range(2))
    tracemalloc.start(1)
    try:
        before = read(first)
        assert read(second) - before < 100_000  # of a hundred times two thousand, and what a tracer notes
    finally:
        tracemalloc.stop()
