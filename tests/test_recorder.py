"""What happens to events in a process comes into its journal, and nothing waits for that."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastapi_events import lifecycle
from fastapi_events.context import event_store
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.recorder import recorder_of
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryJournal, MemoryStore
from fastapi_events.storage.sqlalchemy import SqlStore
from fastapi_events.whereabouts import journals
from tests.handlers.task_queue.broker import ListHandler
from tests.processes import until


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def handler(journal: MemoryJournal) -> Iterator[ListHandler]:
    yield ListHandler(journal=journal)
    recorder_of(journal).flush(5.0)


def happened(journal: MemoryJournal, event_id: str) -> list[str]:
    recorder_of(journal).flush(5.0)
    return [each.what for each in journal.records(event_id)]


def dispatched(handler: ListHandler, *names: str, **options: Any) -> list[Event]:
    events: list[Event] = []
    with collect_events([handler]):
        for name in names:
            dispatch(name, {"cat": 1}, **options)
        events += event_store.get()
    return events


def test_the_life_of_an_event_is_recorded(journal: MemoryJournal, handler: ListHandler) -> None:
    handler.register(lambda event: None, name="cook", queue="kitchen")

    [event] = dispatched(handler, "order")
    handler.run()

    assert happened(journal, event.id) == ["dispatched", "published", "fanned_out", "started", "succeeded"]
    first, published, fanned, started, done = journal.records(event.id)
    assert first.process == started.process
    assert first.process.endswith(f":{os.getpid()}")
    assert published.handler == fanned.handler == "list:events"
    assert fanned.to == ("cook",)
    assert (started.subscription, started.queue) == ("cook", "kitchen")
    assert started.age is not None
    assert done.duration is not None
    assert 0 <= done.duration <= started.age + done.at - started.at
    assert first.correlation == event.id
    assert first.payload is None


def test_of_two_functions_of_one_name_it_is_that_of_the_handler_whose_worker_this_is(
    journal: MemoryJournal,
) -> None:
    web, worker = ListHandler(journal=journal, queue="web"), ListHandler(journal=journal, queue="worker")
    for handler in (web, worker):
        handler.register(lambda event: None, name="cook")
    worker.fleet.boot(["worker"], engine="list")
    try:
        event = Event("order-placed", {})
        tell(Lifecycle.started, event, subscription="cook")
        assert happened(journal, event.id) == ["started"]
    finally:
        worker.fleet.leave()

    [started] = journal.records(event.id)
    assert (started.handler, started.queue) == (worker.name, "worker")


def test_of_a_chain_causes_are_recorded(journal: MemoryJournal, handler: ListHandler) -> None:
    handler.register(lambda event: dispatch("second"), event_name="first", name="cook")

    [event] = dispatched(handler, "first")
    handler.run()

    recorder_of(journal).flush(5.0)
    first, second = journal.chain(event.id)
    assert (first.id, first.name, first.cause) == (event.id, "first", None)
    assert (second.name, second.cause, second.correlation) == ("second", event.id, event.id)


def test_failures_have_their_error_and_what_followed(journal: MemoryJournal, handler: ListHandler) -> None:
    def fail(event: Event) -> None:
        raise ValueError("no fish")

    handler.register(fail, name="cook", retry=RetryPolicy(max_retries=0))
    [event] = dispatched(handler, "order")
    error = ValueError("no fish")
    tell(Lifecycle.started, event, subscription="cook")
    tell(Lifecycle.failed, [event], handler=handler.name, subscription="cook", error=error)
    tell(Lifecycle.retried, event, subscription="cook", error=error, attempt=1, wait=2.5)
    tell(Lifecycle.dead, event, subscription="cook", reason="ValueError: no fish", attempts=2)
    tell(Lifecycle.dead, None, subscription="cook", reason="unreadable", attempts=0)
    tell(Lifecycle.replayed, event, subscription="cook")

    assert happened(journal, event.id)[2:] == ["started", "failed", "retried", "dead", "replayed"]
    failed, retried, dead = journal.records(event.id)[3:6]
    assert failed.error == dead.error == "ValueError: no fish"
    assert failed.duration is not None
    assert (retried.attempt, retried.wait) == (1, 2.5)
    assert dead.attempt == 2


def test_what_becomes_of_an_event_elsewhere_is_recorded_with_the_reason(
    journal: MemoryJournal, handler: ListHandler
) -> None:
    event = Event("order", {})
    tell(Lifecycle.stored, [event], handler=handler.name, reason="refused")
    tell(Lifecycle.lost, event, handler=handler.name, reason="the broker is away")
    tell(Lifecycle.unmatched, event, handler=handler.name)
    tell(Lifecycle.skipped, event, subscription="cook")
    tell(Lifecycle.discarded, event)

    assert happened(journal, event.id) == ["stored", "lost", "unmatched", "skipped", "discarded"]
    assert [each.error for each in journal.records(event.id)[:2]] == ["refused", "the broker is away"]


def test_an_event_for_later_says_when(journal: MemoryJournal) -> None:
    handler = ListHandler(store=MemoryStore(), journal=journal, relay=False)

    [event] = dispatched(handler, "order", delay=3_600)

    assert happened(journal, event.id) == ["dispatched", "stored"]
    wait = journal.records(event.id)[0].wait
    assert wait is not None
    assert 3_500 < wait <= 3_600


def test_it_writes_by_itself(journal: MemoryJournal, handler: ListHandler) -> None:
    [event] = dispatched(handler, "order")

    until(lambda: journal.records(event.id), "the journal is written")


def test_payloads_are_recorded_where_they_are_asked_for(journal: MemoryJournal) -> None:
    handler = ListHandler(journal=journal, journal_payloads=True)

    [event] = dispatched(handler, "order")

    assert happened(journal, event.id)
    assert journal.events()[0].payload == '{"cat":1}'


def test_payloads_without_a_journal_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="journal_payloads=True needs a journal"):
        ListHandler(journal_payloads=True)


def test_handlers_with_one_journal_share_a_recorder(journal: MemoryJournal) -> None:
    one, other = ListHandler(journal=journal), ListHandler(queue="other", journal=journal)

    [event] = dispatched(one, "order")

    assert happened(journal, event.id) == ["dispatched", "published"]
    assert other.journal is journal


def test_a_collected_handler_is_recorded_no_more(journal: MemoryJournal) -> None:
    handler = ListHandler(journal=journal)
    tell(Lifecycle.dispatched, Event("order"))  # to publish it would start a thread, which keeps the handler
    before = len(lifecycle.listeners(Lifecycle.dispatched))
    del handler
    gc.collect()

    assert len(lifecycle.listeners(Lifecycle.dispatched)) < before
    until(lambda: journal.events(), "what was told before is written all the same")


def test_without_a_journal_nothing_is_recorded() -> None:
    before = lifecycle.listeners(Lifecycle.dispatched)
    handler = ListHandler(store=MemoryStore(), journal=None, relay=False)

    assert handler.journal is None
    # Those of other tests go when they are collected, which may be now.
    assert [each for each in lifecycle.listeners(Lifecycle.dispatched) if each not in before] == []


def test_a_store_brings_its_journal() -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, relay=False)

    assert handler.journal is store.journal
    assert ListHandler().journal is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_its_own_and_nothing_of_its_parent(
    handler: ListHandler, journal: MemoryJournal
) -> None:
    dispatched(handler, "order")
    began = threading.active_count()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            [event] = dispatched(handler, "child")
            until(lambda: journal.records(event.id), "the child's thread writes")
            names = sorted({each.name for each in journal.events()} - {"order"})
            os.write(writer, ",".join(names).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)

    assert os.read(reader, 100) == b"child"
    assert began >= 1


def test_two_stores_of_one_address_have_one_recorder(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    stores = [SqlStore(url), SqlStore(url)]
    stores[0].setup()
    handlers = [ListHandler(store=each, relay=False, queue=f"queue{at}") for at, each in enumerate(stores)]
    event = Event("cat")

    tell(Lifecycle.dispatched, event)
    for each in stores:
        recorder_of(each.journal).flush(5.0)

    assert [each.what for each in stores[1].journal.records(event.id)] == ["dispatched"]
    assert len(journals(handlers)) == 1
    assert SqlStore(f"{url}x").journal.place != stores[0].journal.place
    handlers.clear()
    gc.collect()  # whose recorder would open the store again with the next event
    for each in stores:
        each.close()
