"""The relay: from the outbox to the broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.storage.memory import MemoryOutbox
from fastapi_events.storage.outbox import Entry
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.processes import until
from tests.recording import Diary


def entries(handler: ListHandler, *names: str) -> list[Entry]:
    writer = handler._outbox_writer
    assert writer is not None
    return writer.entries([Event(name) for name in names])


@pytest.fixture
def handler() -> ListHandler:
    return ListHandler(outbox=MemoryOutbox(), relay=False)


def sent(handler: ListHandler) -> list[str]:
    return [each["type"] for message in handler.sent for each in json.loads(message.argument)]


def test_entries_go_out_in_their_order_in_one_message(handler: ListHandler, diary: Diary) -> None:
    handler.outbox.add(entries(handler, "a", "b", "c"))  # type: ignore[union-attr]

    assert handler.relay_thread().step() == 3

    assert len(handler.sent) == 1
    assert sent(handler) == ["a", "b", "c"]
    assert [rest["count"] for _, rest in diary.of("relayed")] == [3]
    assert handler.outbox.list() == []  # type: ignore[union-attr]


def test_entries_of_other_handlers_are_left_to_them() -> None:
    outbox = MemoryOutbox()
    one, other = (ListHandler(queue=queue, outbox=outbox, relay=False) for queue in ("one", "other"))
    outbox.add(entries(one, "a"))

    assert other.relay_thread().step() == 0
    assert one.relay_thread().step() == 1


def test_a_broker_that_is_away_costs_no_entry(handler: ListHandler) -> None:
    handler.outbox.add(entries(handler, "a", "b"))  # type: ignore[union-attr]
    handler.refusing = ConnectionError("away")

    with pytest.raises(ConnectionError):
        handler.relay_thread().step()

    handler.refusing = None
    assert handler.relay_thread().step() == 2  # another relay need not wait for the lease of the first
    assert sent(handler) == ["a", "b"]


def test_one_entry_that_is_refused_does_not_stop_its_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(ListEngine):
        def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
            if any('"type":"poison"' in each.argument for each in messages):
                raise ValueError("too large")
            super().send(messages, timeout=timeout)

    handler = ListHandler(Picky(), outbox=MemoryOutbox(), relay=False)
    handler.outbox.add(entries(handler, "poison", "a", "b"))  # type: ignore[union-attr]

    assert handler.relay_thread().step() == 2

    assert sent(handler) == ["a", "b"]
    [left] = handler.outbox.list()  # type: ignore[union-attr]
    assert f"The broker refuses event {left.id}, which stays in the outbox: too large" in caplog.text


def test_success_tells_the_flushes_that_the_broker_is_back(handler: ListHandler) -> None:
    breaker = handler._publisher.breaker
    breaker.failed()
    handler.outbox.add(entries(handler, "a"))  # type: ignore[union-attr]

    handler.relay_thread().step()

    assert not breaker.is_open


def test_the_thread_relays_what_comes_and_ends_when_told(handler: ListHandler) -> None:
    relaying = handler.relay_thread()
    relaying.start()
    relaying.start()  # it runs already

    handler.outbox.add(entries(handler, "a"))  # type: ignore[union-attr]
    until(lambda: sent(handler) == ["a"], "the entry was relayed")
    relaying.stop(timeout=10)

    names = [thread.name for thread in threading.enumerate()]
    assert "fastapi-events-relay-list:events" not in names


def test_an_outbox_that_fails_does_not_end_the_thread(handler: ListHandler) -> None:
    failures = threading.Semaphore(0)
    claim = handler.outbox.claim  # type: ignore[union-attr]
    failing = True

    def unreliable(*args: object, **kwargs: object) -> list[Entry]:
        if failing:
            failures.release()
            raise ConnectionError("the database is away")
        return claim(*args, **kwargs)  # type: ignore[arg-type]

    handler.outbox.claim = unreliable  # type: ignore[union-attr,method-assign,assignment]
    relaying = handler.relay_thread()
    relaying.start()
    failures.acquire()
    failures.acquire()
    failing = False

    handler.outbox.add(entries(handler, "a"))  # type: ignore[union-attr]
    until(lambda: sent(handler) == ["a"], "the entry was relayed")
    relaying.stop(timeout=10)


def test_a_handler_without_an_outbox_has_nothing_to_relay() -> None:
    with pytest.raises(ConfigurationError, match="list:events has no outbox"):
        ListHandler().relay_thread()
