"""Subscriptions that take many events at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import Depends
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import BatchFailed, ConfigurationError
from fastapi_events.event import Event
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryInbox
from tests.handlers.task_queue.broker import ListHandler
from tests.places import QueuePlace
from tests.recording import Diary


class Row(BaseModel):
    n: int


def flush(handler: Any, *payloads: Any) -> None:
    with collect_events([handler]):
        for payload in payloads:
            dispatch("row", payload)


def test_a_flush_becomes_one_call(queue_place: QueuePlace) -> None:
    batches: list[list[int]] = []

    @queue_place.handler.register(event_name="row", name="insert", batch=100, batch_window=0.01)
    def insert(events: list[Event]) -> None:
        batches.append([event.payload["n"] for event in events])

    async def request() -> None:
        async with collect_events([queue_place.handler]):
            for n in range(10):
                dispatch("row", {"n": n})

    asyncio.run(request())
    queue_place.settle()

    assert batches == [list(range(10))]


def test_it_never_gets_more_than_it_asked_for() -> None:
    handler = ListHandler()
    batches: list[int] = []
    handler.register(lambda events: batches.append(len(events)), name="insert", batch=4, batch_window=0.0)

    flush(handler, *range(10))
    handler.run()

    assert batches == [4, 4, 2]


def test_payloads_are_rebuilt_as_the_model_that_is_asked_for() -> None:
    handler = ListHandler()
    seen: list[Row] = []

    @handler.register(event_name="row", batch=10, batch_window=0.0)
    async def insert(rows: list[Row]) -> None:
        seen.extend(rows)

    flush(handler, {"n": 1}, {"n": 2})
    handler.run()

    assert seen == [Row(n=1), Row(n=2)]


def test_dependencies_are_solved_once_a_batch() -> None:
    handler = ListHandler()
    opened: list[str] = []

    def session() -> Iterator[str]:
        opened.append("open")
        yield "session"
        opened.append("closed")

    @handler.register(event_name="row", batch=10, batch_window=0.0)
    def insert(rows: Sequence[Row], db: Annotated[str, Depends(session)]) -> None:
        assert db == "session"

    flush(handler, {"n": 1}, {"n": 2})
    handler.run()

    assert opened == ["open", "closed"]


def test_when_it_fails_each_event_is_tried_alone_from_then_on(queue_place: QueuePlace, diary: Diary) -> None:
    calls: list[list[int]] = []

    @queue_place.handler.register(event_name="row", name="insert", batch=10, batch_window=0.01)
    def insert(events: list[Event]) -> None:
        numbers = [event.payload["n"] for event in events]
        calls.append(numbers)
        if 2 in numbers:
            raise ValueError("no two")

    async def request() -> None:
        async with collect_events([queue_place.handler]):
            for n in (1, 2, 3):
                dispatch("row", {"n": n})

    asyncio.run(request())
    queue_place.settle()

    assert calls[0] == [1, 2, 3]
    assert sorted(calls[1:]) == [[1], [2], [2], [3]]  # the attempt with the others counts
    [dead] = queue_place.dead()
    assert json.loads(dead.arguments[0])["data"] == {"n": 2}
    assert len(diary.of("failed")) == 3 + 2


def test_only_the_named_events_are_tried_again() -> None:
    handler = ListHandler(retry=RetryPolicy(min_backoff=0.0, max_backoff=0.0))
    calls: list[list[int]] = []

    @handler.register(event_name="row", name="insert", batch=10, batch_window=0.0)
    def insert(events: list[Event]) -> None:
        calls.append([event.payload for event in events])
        if len(events) > 1:
            raise BatchFailed({event.id: ValueError("odd") for event in events if event.payload % 2})

    flush(handler, 1, 2, 3)
    handler.run()

    assert calls == [[1, 2, 3], [1], [3]]


def test_a_payload_that_does_not_fit_costs_no_neighbour(diary: Diary) -> None:
    handler = ListHandler()
    seen: list[int] = []

    @handler.register(event_name="row", name="insert", batch=10, batch_window=0.0)
    def insert(rows: list[Row]) -> None:
        seen.extend(row.n for row in rows)

    flush(handler, {"n": 1}, {"n": "many"}, {"n": 3})
    handler.worker.fan_out(handler.sent.pop().argument)
    handler.worker.perform(handler.subscriptions.named("insert"), handler.sent.pop().argument)  # type: ignore[arg-type]

    assert seen == [1, 3]
    # Then it is given up at once, and told of as any other
    assert handler.sent == []
    [letter] = handler.engine.kept
    assert json.loads(letter.argument)["data"] == {"n": "many"}
    assert [hook for hook, *_ in diary.entries if hook in ("failed", "retried", "dead")] == ["failed", "dead"]


def test_with_once_what_was_completed_is_left_out() -> None:
    handler = ListHandler(inbox=MemoryInbox())
    seen: list[Any] = []

    @handler.register(event_name="row", name="insert", batch=10, batch_window=0.0, once=True)
    def insert(events: list[Event]) -> None:
        seen.append([event.payload for event in events])
        if len(seen) == 1:
            raise BatchFailed({events[0].id: ValueError("not this one")})

    flush(handler, 1, 2)
    handler.worker.fan_out(handler.sent.pop().argument)
    [message] = handler.sent
    handler.run()
    handler.sent.append(message)  # delivered once more
    handler.run()

    assert seen == [[1, 2], [1]]


def test_messages_of_several_threads_run_together() -> None:
    handler = ListHandler()
    batches: list[int] = []

    @handler.register(event_name="row", name="insert", batch=3, batch_window=60.0)
    def insert(events: list[Event]) -> None:
        batches.append(len(events))

    for n in range(3):
        flush(handler, n)
        handler.worker.fan_out(handler.sent.pop(0).argument)
    subscription = handler.subscriptions.named("insert")
    assert subscription is not None
    threads = [
        threading.Thread(target=handler.worker.perform, args=(subscription, message.argument))
        for message in handler.sent
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert batches == [3]


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (lambda events: None, {"batch": 1}, "expected a number from 2 to 1,000"),
        (lambda events: None, {"batch": 10, "batch_window": timedelta(hours=1)}, "expected 0 to 60 seconds"),
        (lambda: None, {"batch": 10}, "no parameter that could get the list"),
        (lambda events, other: None, {"batch": 10}, "parameter 'other' cannot be filled"),
    ],
)
def test_what_cannot_work_is_refused(function: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        ListHandler().register(function, name="insert", **options)


def test_a_parameter_for_one_event_is_refused() -> None:
    def one(event: Event) -> None: ...

    with pytest.raises(ConfigurationError, match=r"annotate 'event' as list\[Event\]"):
        ListHandler().register(one, batch=10)


def test_a_dependency_that_asks_for_the_event_is_refused() -> None:
    def needs(event: Event) -> str:
        return str(event.name)

    def insert(events: list[Event], name: Annotated[str, Depends(needs)]) -> None: ...

    with pytest.raises(ConfigurationError, match="asks for the event; a batch has many"):
        ListHandler().register(insert, batch=10)
