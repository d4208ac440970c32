"""Receipts reach the outbox that waits for them, and no other."""

from __future__ import annotations

from typing import Any

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import RECEIPT_TO
from fastapi_events.handlers.task_queue.worker.receipts import Receipts


class Calls:
    """An outbox that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def receipt(self, *arguments: Any) -> None:
        self.told.append(("receipt", *arguments))

    def expect(self, *arguments: Any) -> None:
        self.told.append(("expect", *arguments))


def awaited() -> Event:
    return Event("cat", id="1", headers={RECEIPT_TO: "dramatiq:events"})


def test_a_subscription_gives_its_receipt_to_where_the_event_came_from() -> None:
    outbox: Any = Calls()

    Receipts(outbox).give("cook", awaited())

    assert outbox.told == [("receipt", "1", "dramatiq:events", "cook")]


def test_when_nobody_will_listen_any_more_nobody_is_expected() -> None:
    outbox: Any = Calls()

    Receipts(outbox).end(awaited())

    assert outbox.told == [("expect", "1", "dramatiq:events", ())]


def test_an_event_that_no_outbox_waits_for_needs_none() -> None:
    outbox: Any = Calls()
    receipts = Receipts(outbox)

    receipts.give("cook", Event("cat"))
    receipts.end(Event("cat"))

    assert outbox.told == []


def test_without_an_outbox_there_is_nobody_to_give_them_to() -> None:
    receipts = Receipts(None)
    receipts.give("cook", awaited())
    receipts.end(awaited())
