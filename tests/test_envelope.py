"""Envelopes: CloudEvents 1.0 in JSON, written and read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_events.envelope import read_batch, seal, unseal, write
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event


class Cat(Enum):
    WOKE = "cat-woke-up"


AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_an_envelope_is_a_cloud_event() -> None:
    event = Event(Cat.WOKE, {"n": 1}, id="7", dispatched_at=AT, headers={"correlationid": "6"})

    assert json.loads(seal(event, source="shop", dataschema="urn:x")) == {
        "specversion": "1.0",
        "id": "7",
        "source": "shop",
        "type": "cat-woke-up",
        "time": "2026-01-02T03:04:05.678000+00:00",
        "datacontenttype": "application/json",
        "dataschema": "urn:x",
        "correlationid": "6",
        "data": {"n": 1},
    }


def test_what_was_encoded_at_dispatch_is_what_travels() -> None:
    assert json.loads(seal(Event("hello", {"n": 2}, encoded='{"n":1}'), source="x"))["data"] == {"n": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
headers = st.dictionaries(st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True), st.text())


@given(st.text(min_size=1), json_values, headers)
def test_every_event_arrives_as_it_was(name: str, payload: Any, extra: dict[str, str]) -> None:
    taken = {"specversion", "id", "source", "type", "time", "datacontenttype", "data"}
    event = Event(name, payload, headers={key: value for key, value in extra.items() if key not in taken})

    arrived = unseal(seal(event, source="shop"))

    assert arrived == event
    assert (arrived.id, arrived.dispatched_at) == (event.id, event.dispatched_at)
    assert arrived.headers == {**event.headers, "source": "shop"}


def test_what_is_not_known_of_an_envelope_is_kept() -> None:
    text = json.dumps({"specversion": "1.7", "id": "1", "source": "s", "type": "t", "future": [1, {"a": 2}]})

    event = unseal(text)

    assert event.headers["future"] == [1, {"a": 2}]
    assert json.loads(seal(event, source="other"))["future"] == [1, {"a": 2}]
    assert json.loads(seal(event, source="other"))["source"] == "s"
    assert json.loads(write(json.loads(text)))["specversion"] == "1.7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.678Z", AT),
        ("2026-01-02T03:04:05.678+00:00", AT),
        ("2026-01-02T05:04:05.678+02:00", AT),
        ("2026-01-02T03:04:05.678", AT),
    ],
)
def test_times_of_every_spelling_are_read(text: str, expected: datetime) -> None:
    event = unseal({"specversion": "1.0", "id": "1", "type": "t", "time": text})
    assert event.dispatched_at == expected
    assert event.dispatched_at.utcoffset() in (timedelta(0), timedelta(hours=2))


def test_binary_data_arrives_as_bytes() -> None:
    assert (
        unseal({"specversion": "1.0", "id": "1", "type": "t", "data_base64": "/wA="}).payload == b"\xff\x00"
    )


@pytest.mark.parametrize(
    ("envelope", "said"),
    [
        ("{", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ('"\ud800"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "not a list"),
        (5, "not a int"),
        ({}, "specversion is None"),
        ({"specversion": "0.3"}, "specversion is '0.3'"),
        ({"specversion": "1.0", "type": "t"}, "id is None"),
        ({"specversion": "1.0", "id": "1", "type": ["<b>"] * 100}, "type is"),
        ({"specversion": "1.0", "id": "1", "type": "t", "time": 5}, "time is 5"),
        ({"specversion": "1.0", "id": "1", "type": "t", "data_base64": 5}, "data_base64"),
    ],
)
def test_what_is_no_envelope_is_refused_with_the_reason(envelope: Any, said: str) -> None:
    with pytest.raises(UnreadableEnvelope) as raised:
        unseal(envelope)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_batch_is_a_list_or_a_single_envelope() -> None:
    one = {"specversion": "1.0"}
    assert read_batch([one, one]) == read_batch(json.dumps([one, one])) == [one, one]
    assert read_batch(one) == read_batch(json.dumps(one)) == [one]
    for wrong in (5, None, '"text"', "null"):
        with pytest.raises(UnreadableEnvelope):
            read_batch(wrong)


def test_an_event_from_elsewhere_keeps_what_its_envelope_said() -> None:
    read = unseal(
        {"specversion": "1.0", "id": "1", "source": "elsewhere", "type": "t", "dataschema": "urn:theirs"}
    )

    assert json.loads(seal(read, source="here"))["source"] == "elsewhere"
    assert json.loads(seal(read, source="here"))["dataschema"] == "urn:theirs"
    assert json.loads(seal(read, source="here", dataschema="urn:ours"))["dataschema"] == "urn:ours"
    assert seal(read, source="here").count('"source"') == 1
    assert json.loads(seal(Event("t"), source="here"))["source"] == "here"


@pytest.mark.parametrize("identity", ["", 'a"b', "\\", "\N{CAT FACE}", "\n", "x" * 100])
def test_any_id_can_be_sealed(identity: str) -> None:
    event = Event("hello", None, id=identity)

    sealed = json.loads(seal(event, source="shop"))

    assert sealed["id"] == event.id
    assert sealed["correlationid"] == event.id
