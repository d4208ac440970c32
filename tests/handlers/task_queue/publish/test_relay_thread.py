"""The relay: from the outbox to the broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.leases import Keeper
from fastapi_events.storage.lanes import Due
from fastapi_events.storage.memory import MemoryOutbox
from fastapi_events.storage.outbox import Entry, Outbox
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.handlers.task_queue.broker import ListEngine, ListHandler
from tests.processes import until
from tests.recording import Diary


def entries(handler: ListHandler, *names: str) -> list[Entry]:
    writer = handler._outlet.outbox_writer
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
    breaker = handler._outlet.publisher.breaker
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


@pytest.fixture(params=["memory", "sql"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    if request.param == "memory":
        yield MemoryOutbox()
        return
    store = SqlStore(f"sqlite:///{tmp_path / 'events.db'}")
    store.setup()
    yield store.outbox
    store.close()


LEASE = 1.0


def test_a_relay_holds_its_batch_for_as_long_as_it_takes_to_publish_it(outbox: Outbox) -> None:
    # Given a broker that takes the first batch only once its lease would have ended twice over
    extended = threading.Semaphore(0)
    extend = outbox.extend

    def counted(token: str, entries: Sequence[Entry], *, lease: float) -> int:
        held = extend(token, entries, lease=lease)
        extended.release()
        return held

    outbox.extend = counted  # type: ignore[method-assign]
    found: list[int] = []

    class Slow(ListEngine):
        def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
            for _ in range(9):
                assert extended.acquire(timeout=30)
            found.append(len(outbox.claim("another", destinations=["list:events"], limit=10, lease=LEASE)))
            super().send(messages, timeout=timeout)

    handler = ListHandler(Slow(), outbox=outbox, relay=False)
    outbox.add(entries(handler, "a", "b"))
    relaying = RelayThread(
        handler.name, handler._outlet.publisher, outbox, handler.name,
        resend_after=60, lease=LEASE, leases=Keeper(every=LEASE / 4),
    )  # fmt: skip

    # When another relay looks for work meanwhile, then it finds nothing
    assert relaying.step() == 2
    assert found == [0]
    assert sent(handler) == ["a", "b"]
    assert outbox.list() == []


class Way:
    """The way of entries with an ordering key, some of which it refuses."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.put: list[str] = []
        self.rung = 0

    def put_entries(self, entries: Sequence[Entry]) -> tuple[Sequence[Due], Mapping[str, str]]:
        refused = {
            each.id: self.refused[key] for each in entries if (key := str(each.ordering_key)) in self.refused
        }
        self.put += [each.id for each in entries if each.id not in refused]
        return (), refused

    def ring(self, due: Sequence[Due]) -> None:
        self.rung += 1


def in_order(handler: ListHandler, outbox: Outbox, way: Way, *, lease: float = 30.0) -> RelayThread:
    return RelayThread(
        handler.name, handler._outlet.publisher, outbox, handler.name, resend_after=60, lease=lease, order=way
    )


def entries_of_keys(handler: ListHandler, *keys: str) -> list[Entry]:
    made = entries(handler, *(f"event-{number}" for number in range(len(keys))))
    return [replace(entry, ordering_key=key) for entry, key in zip(made, keys, strict=True)]


def test_what_its_lane_refuses_waits_with_all_behind_it_and_the_other_keys_go_on(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    # Given entries of two keys, one of which has a full lane
    handler, way = ListHandler(outbox=outbox, relay=False), Way()
    relaying = in_order(handler, outbox, way)
    first, other, second = kept = entries_of_keys(handler, "full", "free", "full")
    outbox.add(kept)
    way.refused = {"full": "the lane of 'full' is full"}

    # When they are relayed, then the other key's entry is put, and theirs stay, to be tried again in a while
    assert relaying.step() == 1
    assert (way.put, way.rung) == ([other.id], 1)
    assert relaying.step() == 0
    assert way.put == [other.id]
    left = outbox.list()
    assert [each.id for each in left] == [first.id, second.id]
    assert f"Event {first.id} waits in the outbox, with those of its key: the lane of 'full'" in caplog.text
    assert second.id not in caplog.text  # once for a key

    # When the time has come and the lane has room, then they go in their order
    outbox.reschedule([replace(each, due=None) for each in left])
    way.refused = {}
    assert relaying.step() == 2
    assert way.put == [other.id, first.id, second.id]
    assert outbox.list() == []


def test_a_relay_whose_lanes_refuse_everything_says_why(outbox: Outbox) -> None:
    handler, way = ListHandler(outbox=outbox, relay=False), Way()
    outbox.add(entries_of_keys(handler, "k"))
    way.refused = {"k": "StorageError: away"}

    with pytest.raises(StorageError, match="away"):
        in_order(handler, outbox, way).step()

    assert len(outbox.list()) == 1


def test_a_relay_that_was_frozen_puts_nothing_behind_what_another_has_put(outbox: Outbox) -> None:
    # Given a relay that stands still between its claim and its look at it, until another has its entries
    handler, way, another = ListHandler(outbox=outbox, relay=False), Way(), Way()
    outbox.add(entries_of_keys(handler, "k"))
    claim = outbox.claim

    def claim_and_freeze(*args: Any, **kwargs: Any) -> Sequence[Entry]:
        found = claim(*args, **kwargs)
        if found:
            outbox.claim = claim  # type: ignore[method-assign]
            relaying = in_order(handler, outbox, another)
            until(lambda: relaying.step() == 1, "the other relay has taken over")
        return found

    outbox.claim = claim_and_freeze  # type: ignore[method-assign]

    # When it goes on, then it puts nothing
    assert in_order(handler, outbox, way, lease=0.05).step() == 0
    assert way.put == []
    assert len(another.put) == 1
