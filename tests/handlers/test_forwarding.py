"""What the handlers of SQS and of Pub/Sub share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import Enum

import pytest

from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.forwarding import as_json, checked_batch_size, checked_callable, report
from tests.recording import Diary


class Cat(Enum):
    WOKE = "cat-woke-up"


def test_an_event_is_a_json_array_and_what_json_does_not_know_a_string() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    assert json.loads(as_json(Event(Cat.WOKE, {"at": at}))) == ["cat-woke-up", {"at": str(at)}]


def test_a_callable_or_nothing_is_taken_and_else_refused_by_its_name() -> None:
    assert checked_callable("serializer", as_json) is as_json
    assert checked_callable("serializer", None) is None
    with pytest.raises(ConfigurationError, match="serializer='json': expected a function"):
        checked_callable("serializer", "json")


@pytest.mark.parametrize("size", [1, 10])
def test_a_batch_that_the_service_takes(size: int) -> None:
    assert checked_batch_size(size, service="SQS", limit=10) == size


@pytest.mark.parametrize("size", [0, -1, 11])
def test_a_batch_that_it_does_not_take_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"max_batch_size={size}: SQS takes 1 to 10 messages"):
        checked_batch_size(size, service="SQS", limit=10)


def test_a_flush_that_was_taken_is_told_as_published(diary: Diary) -> None:
    report([Event("hello")], [], handler="sqs")

    assert [name for name, _ in diary.of("published")] == ["hello"]
    assert diary.of("lost") == []


def test_what_was_not_taken_is_told_as_lost_and_raised_once(diary: Diary) -> None:
    with pytest.raises(NotPublished, match="1 event not taken; the first: too large"):
        report([Event("hello")], [(Event("big"), "too large")], handler="sqs")

    assert [name for name, _ in diary.of("published")] == ["hello"]
    assert [(name, rest["reason"]) for name, rest in diary.of("lost")] == [("big", "too large")]


def test_nothing_is_told_of_an_empty_flush(diary: Diary) -> None:
    report([], [], handler="sqs")

    assert diary.entries == []
