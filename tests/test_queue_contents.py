"""An event is looked for in brokers, and what nobody can see is said."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi_events.handlers.task_queue.dead_queues import QueuedLetter
from fastapi_events.handlers.task_queue.queue_search import QueuedEvent, QueueSearch
from fastapi_events.lives import life_of
from fastapi_events.queue_contents import QueueContents, in_queues, places_now
from fastapi_events.storage.memory import MemoryJournal
from fastapi_events.whereabouts import Found, Place
from tests.cli.conftest import letter
from tests.cli.test_event import record
from tests.handlers.task_queue.broker import ListEngine, ListHandler

TEXT = '{"specversion":"1.0","id":"ab","type":"order","data":{"pin":"1"},"sensitive":["pin"]}'


class ShownEngine(ListEngine):
    """An engine whose queues hold what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.events: list[QueuedEvent] = []
        self.letters: list[Any] = []
        self.error: Exception | None = None

    def search(self, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
        self.asked = sorted(queues)
        if self.error is not None:
            raise self.error
        return QueueSearch(self.events, ["one thing"])

    @contextmanager
    def dead_queues(self, *_: Any, **__: Any) -> Iterator[Any]:
        if self.error is not None:
            raise self.error
        yield [QueuedLetter(each, None) for each in self.letters]


def queued(state: str, task: str = "cook", **more: Any) -> QueuedEvent:
    return QueuedEvent(id="ab", envelope=TEXT, queue="kitchen", task=task, state=state, **more)


def test_each_place_is_told_in_a_sentence() -> None:
    engine = ShownEngine()
    handler = ListHandler(engine)
    engine.events = [
        queued("ready", "fastapi_events.fan_out", ahead=0), queued("ready", ahead=1_200), queued("in hand"),
        queued("delayed", due=4_000_000_000.0),
    ]  # fmt: skip
    engine.letters = [letter(1, event_id="ab"), letter(2, event_id="b"), letter(3, event_id=None)]

    contents = in_queues([handler], "a")

    assert [(each.place.where, each.place.text.partition(" 2096-")[0]) for each in contents.found] == [
        ("queue", "in the queue kitchen, as the next, for its functions"),
        ("queue", "in the queue kitchen, 1,200 messages before it, for cook"),
        ("worker", "with a worker, which has taken it from the queue kitchen, for cook"),
        ("queue", "in the queue kitchen, for cook, to be handled at"),
        ("dead letters", "dead letter letter-1 of shop.cook, kept by list itself: ValueError: no fish"),
    ]
    assert {each.name for each in contents.found} == {"order", "cat-requested-a-fish"}
    assert contents.unseen == ["one thing"]


def test_all_queues_of_the_handler_are_asked() -> None:
    engine = ShownEngine()
    handler = ListHandler(engine)
    handler.register(lambda event: None, name="cook", queue="kitchen")

    in_queues([handler], "a")

    assert engine.asked == ["events", "kitchen"]


def test_a_broker_that_is_away_is_told_once() -> None:
    engine = ShownEngine()
    engine.error = OSError("refused")

    contents = in_queues([ListHandler(engine)], "a")

    assert contents.found == []
    assert contents.unseen == ["list:events: its broker cannot be asked: OSError: refused"]


def found(where: str) -> Found:
    return Found("ab", "order", Place(where, f"found in {where}"), TEXT)


def test_what_is_found_counts_more_than_what_the_journal_supposes() -> None:
    journal = MemoryJournal()
    journal.write(
        [
            record("ab"), record("ab", "published", handler="list:events"),
            record("ab", "fanned_out", handler="list:events", to=("cook", "mail")),
            record("ab", "started", subscription="cook"),
        ]
    )  # fmt: skip
    life, now = life_of(journal, journal.find("ab")[0]), time.time()

    def places(held: list[Found], contents: QueueContents | None) -> list[str]:
        return [each.text for each in places_now(life, held, contents, now)]

    at_work, waits = "cook runs in web:1", "in a queue, for mail"
    assert places([], None) == [at_work, waits]
    assert places([found("outbox")], None) == ["found in outbox"]
    assert places([found("queue"), found("worker")], QueueContents()) == [at_work, "found in queue"]
    assert places([], QueueContents(unseen=["RabbitMQ"])) == [at_work, waits]
    doubted = places([], QueueContents())
    assert doubted[0] == at_work
    assert doubted[1].startswith(f"{waits}: so the journal says, but it is in no queue; a worker may have")
