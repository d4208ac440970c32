"""Payloads are encoded once, bounded, and get the headers that the application has for all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fastapi_events.errors import ConfigurationError, UnserialisablePayload
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.encoder import Encoder
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings


def encoder(max_bytes: int = 100, headers: Mapping[str, str] | None = None) -> Encoder:
    headers_from = None if headers is None else lambda: headers
    return Encoder(TaskQueueSettings(max_payload_bytes=max_bytes, headers_from=headers_from), None)


def test_a_payload_is_encoded_once() -> None:
    event = Event("cat", {"lives": 9})

    encoder().encode(event)
    first = event.encoded
    encoder().encode(event)

    assert first == '{"lives":9}'
    assert event.encoded is first


def test_a_payload_over_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(UnserialisablePayload, match="100"):
        encoder().encode(Event("cat", "x" * 99))


@pytest.mark.parametrize(
    ("text", "fits"), [("x" * 98, True), ("x" * 99, False), ("ü" * 49, True), ("ü" * 50, False)]
)
def test_what_another_handler_has_encoded_is_measured_in_bytes(text: str, fits: bool) -> None:
    event = Event("cat", text)
    encoder(max_bytes=1_000).encode(event)

    if fits:
        encoder().encode(event)
    else:
        with pytest.raises(
            UnserialisablePayload, match=r"takes 1\d\d bytes as JSON, more than the 100 allowed"
        ):
            encoder().encode(event)


def test_headers_of_the_event_win_over_those_of_the_application() -> None:
    event = Event("cat", headers={"tenant": "own"})

    encoder(headers={"tenant": "all", "locale": "de"}).encode(event)

    assert event.headers == {"tenant": "own", "locale": "de"}


def test_a_header_that_cannot_travel_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Not A Name"):
        encoder(headers={"Not A Name": "x"}).encode(Event("cat"))
