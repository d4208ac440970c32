"""Where an event is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from fastapi_events.lives import life_of
from fastapi_events.storage.journal import Record
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.memory import MemoryJournal, MemoryStore
from fastapi_events.storage.outbox import Entry
from fastapi_events.whereabouts import held, journals, places_of
from tests.cli.conftest import letter
from tests.handlers.task_queue.broker import ListHandler
from tests.test_lives import life, record

NOW = 2_000.0


def places(*records: Record) -> list[tuple[str, str]]:
    return [(each.where, each.text) for each in places_of(life(*records), NOW)]


def test_it_tells_where_an_event_is_before_somebody_runs() -> None:
    assert places() == [("worker", "with the process here:1, which has not published it yet")]
    assert places(record("published", 1_001.0, handler="h")) == [
        ("queue", "in the queue of h, or with a worker")
    ]
    assert places(record("stored", 1_001.0, handler="h", error="refused")) == [
        ("queue", "it was in the outbox of h, and a relay has published it")
    ]
    assert places(record("lost", 1_001.0, handler="h", error="no broker")) == [
        ("lost", "h has lost it: no broker")
    ]
    assert places(record("unmatched", 1_001.0, handler="h")) == [
        ("nobody listens", "nobody listens to 'order' in h")
    ]
    assert places(record("discarded", 1_001.0))[0][0] == "discarded"
    unheard = record("unmatched", 1_001.0, handler="h"), record("published", 1_001.1, handler="h")
    assert [where for where, _ in places(*unheard)] == ["nobody listens"]


def test_it_tells_until_when_an_event_is_delayed() -> None:
    journal = MemoryJournal()
    journal.write([record("dispatched", wait=3_600.0), record("published", 1_001.0, handler="h")])
    [event] = journal.find("a")

    [place] = places_of(life_of(journal, event), NOW)
    assert place.text.startswith("in the queue of h, or with a worker, to be handled at 1970-01-01 ")
    [late] = places_of(life_of(journal, event), 5_000.0)
    assert late.text == "in the queue of h, or with a worker"


def test_it_tells_what_each_subscription_waits_for() -> None:
    fanned = record("fanned_out", 1_001.0, to=("cook",))
    started = record("started", 1_002.0, subscription="cook", queue="kitchen")
    failed = record("failed", 1_003.0, subscription="cook", queue="kitchen", error="E")

    assert places(fanned) == [("queue", "in a queue, for cook")]
    assert places(fanned, started) == [("worker", "cook runs in here:1")]
    [(where, text)] = places(
        fanned, started, failed, record("retried", 1_003.0, subscription="cook", attempt=1, wait=60.0)
    )
    assert where == "queue"
    assert text.startswith("cook has failed, and tries again at 1970-01-01 ")
    assert places(fanned, started, record("replayed", 1_004.0, subscription="cook", queue="kitchen")) == [
        ("queue", "in the queue kitchen, for cook")
    ]
    assert places(fanned, started, record("succeeded", 1_003.0, subscription="cook")) == []


def test_outboxes_and_dead_letters_are_asked() -> None:
    store = MemoryStore()
    handler = ListHandler(store=store, relay=False)
    other = ListHandler(queue="other", store=store, relay=False)
    due = datetime.now(UTC) + timedelta(hours=1)
    text = json.dumps({"specversion": "1.0", "id": "ab", "type": "order"})
    store.outbox.add([Entry(id="ab", destination="list:events", envelope=text, due=due)])
    store.outbox.add([Entry(id="ac", destination="list:other", envelope="?")])
    store.dead_letters.add(letter(1, event_id="ab"))
    store.dead_letters.add(letter(2, event_id=None))

    waiting, dead = held([handler], "ab")

    assert (waiting.id, waiting.name, waiting.place.where) == ("ab", "order", "outbox")
    assert waiting.place.text.startswith("in the outbox, for list:events, due at ")
    assert (dead.id, dead.place.where) == ("ab", "dead letters")
    assert dead.place.text == "dead letter letter-1 of shop.cook: ValueError: no fish"
    lane = Lane("list:events", "cook", "cat-7")
    store.lanes.put({lane: [Item("xx", "{}", "events"), Item("ad", text, "events")]})
    [in_lane] = held([handler], "ad")
    assert (in_lane.name, in_lane.place.where) == ("order", "lane")
    assert in_lane.place.text == "in the lane of 'cat-7', 1 before it, for cook"
    assert [(each.id, each.name) for each in held([handler, other], "ac")] == [("ac", None)]
    assert list(held([handler, ListHandler(queue="bare")], "b")) == []
    assert journals([handler, other, ListHandler(queue="bare")]) == [store.journal]
