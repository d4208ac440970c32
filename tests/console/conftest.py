"""A shop of two engines with a store in memory, its console, and a browser without a window."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from fastapi_events.console import Visitor, console
from fastapi_events.console.reads import Reads
from fastapi_events.console.state import State
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.handlers.task_queue.listing import listing_of
from fastapi_events.storage.catalogue import Worker
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.journal import Count, Record
from fastapi_events.storage.memory import MemoryStore
from tests.handlers.task_queue.broker import ListEngine, ListHandler


class Engine(ListEngine):
    """Tells how much waits in its queues; or fails, where a test says so."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.failing: Exception | None = None

    def depths(self, queues: Sequence[str], *, timeout: float) -> Sequence[QueueDepth]:
        if self.failing is not None:
            raise self.failing
        return [QueueDepth(queue=each, ready=7, in_hand=2, delayed=3, dead=0, oldest=75.0) for each in queues]


class Shop:
    """What a test looks at: two handlers with one store, and one without any."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.engine = Engine("dramatiq")
        self.events = self._handler(self.engine, "events")
        self.mail = self._handler(Engine("celery"), "mail")
        self.bare = ListHandler(queue="bare")
        self.events.register(cook, event_name="order-*", name="shop.cook", queue="kitchen")
        self.events.register(lonely, event_name="nothing-like-it", name="shop.lonely")
        self.mail.register(welcome, event_name="user-registered", name="shop.welcome")
        for handler in (self.events, self.mail):
            listings = [
                listing_of(each, engine=handler.engine.name, version="1.4.2")
                for each in handler.subscriptions
            ]
            worker = Worker(
                id=f"{handler.name}-1", host="worker-1", pid=4001, engine=handler.engine.name,
                queues=tuple(handler.queues), modules=("shop",), version="1.4.2",
                subscriptions=tuple(each.name for each in listings),
            )  # fmt: skip
            self.store.catalogue.announce(handler.name, worker, listings)

    def _handler(self, engine: Engine, queue: str) -> ListHandler:
        return ListHandler(engine, queue=queue, store=self.store, catalogue=self.store.catalogue, relay=False)

    @property
    def handlers(self) -> list[ListHandler]:
        return [self.events, self.mail]

    def record(self, event_id: str, what: Any = "dispatched", ago: float = 60.0, **more: Any) -> Record:
        values = {"event_name": "order-placed", "correlation": event_id, "process": "web-1:211", **more}
        return Record(event_id=event_id, what=what, at=time.time() - ago, **values)

    def write(self, *records: Record) -> None:
        """Write records, and count them as the recorder does."""
        counts = [
            Count(
                minute=int(each.at // 60) * 60, event_name=each.event_name,
                handler=self._owner(each), subscription=each.subscription or "", measure=each.what, count=1,
            )
            for each in records
        ]  # fmt: skip
        self.store.journal.write(records, counts)

    def _owner(self, record: Record) -> str:
        if record.subscription is None:
            return record.handler or ""
        owners = (each.name for each in self.handlers if each.subscriptions.named(record.subscription))
        return record.handler or next(owners, "")

    def live(self, event_id: str, **more: Any) -> None:
        """The life of an event that `shop.cook` has failed at once, and then handled."""
        at = {"subscription": "shop.cook", "queue": "kitchen", **more}
        self.write(
            self.record(event_id, "dispatched", 60.0, payload='{"fish":2}', **more),
            self.record(event_id, "fanned_out", 59.5, handler="dramatiq:events", to=("shop.cook",), **more),
            self.record(event_id, "started", 59.0, **at),
            self.record(event_id, "failed", 58.5, duration=0.5, error="ValueError: no fish", **at),
            self.record(event_id, "retried", 58.5, wait=2.0, attempt=1, error="ValueError: no fish", **at),
            self.record(event_id, "started", 56.0, **at),
            self.record(event_id, "succeeded", 55.8, duration=0.2, **at),
        )

    def letter(self, number: int = 1, **changes: Any) -> DeadLetter:
        at = datetime.now(UTC) - timedelta(minutes=number)
        values: dict[str, Any] = {
            "id": f"letter-{number}", "handler": "dramatiq:events", "subscription": "shop.cook",
            "queue": "kitchen", "event_id": f"event-{number}", "event_name": "order-placed",
            "argument": (
                f'{{"specversion":"1.0","id":"event-{number}","type":"order-placed",'
                '"data":{"order_id":7,"card":"4111"},"sensitive":"card"}'
            ),
            "reason": "ValueError: no fish", "attempts": 6, "first_at": at, "last_at": at,
            "traceback": 'Traceback\n  File "/srv/shop/kitchen.py", line 3, in cook\nValueError: no fish\n',
            **changes,
        }  # fmt: skip
        letter = DeadLetter(**values)
        self.store.dead_letters.add(letter)
        return letter


def cook(event: Any) -> None:
    """Listens to orders."""


def lonely(event: Any) -> None:
    """Listens to what never happens."""


def welcome(event: Any) -> None:
    """Listens to users."""


def reader(request: Any) -> Visitor:
    """Lets everybody look, and do nothing."""
    return Visitor("reader", frozenset({"see_payloads"}))


class Page:
    """A page as a person reads it."""

    def __init__(self, status: int, source: str) -> None:
        self.status, self.source = status, source
        main = source.partition("<main")[2].partition("</main>")[0]
        self.text = _words(f"<main{main}")
        self.head = _words(source.partition("<header")[2].partition("</header>")[0])
        self.links = [html.unescape(each) for each in re.findall(r'href="([^"]+)"', source)]

    def rows(self) -> list[str]:
        """The rows of all tables."""
        return [_words(each) for each in re.findall(r"<tr>(.*?)</tr>", self.source, re.DOTALL)]


def _words(source: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", source.replace("<wbr>", ""))).split())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers have time enough on a machine that is busy with others."""
    monkeypatch.setitem(Reads.__init__.__kwdefaults__, "deadline", 60.0)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def state(shop: Shop) -> State:
    return State(shop.handlers)


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    with TestClient(console(shop.handlers, auth=reader)) as client:
        yield client


@pytest.fixture
def look(client: TestClient) -> Callable[[str], Page]:
    """Open a page."""

    def open_page(path: str) -> Page:
        answer = client.get(path)
        return Page(answer.status_code, answer.text)

    return open_page


@pytest.fixture
def look_at_one(shop: Shop) -> Iterator[Callable[[str], Page]]:
    """Open a page of a console of one of the two handlers, which share all stores."""
    with TestClient(console([shop.events], auth=reader)) as client:

        def open_page(path: str) -> Page:
            answer = client.get(path)
            return Page(answer.status_code, answer.text)

        yield open_page


@pytest.fixture
def look_without_stores(shop: Shop) -> Iterator[Callable[[str], Page]]:
    """Open a page of a console whose only handler has no store."""
    with TestClient(console([shop.bare], auth=reader)) as client:

        def open_page(path: str) -> Page:
            answer = client.get(path)
            return Page(answer.status_code, answer.text)

        yield open_page
