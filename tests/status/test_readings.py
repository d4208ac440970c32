"""A status as values of gauges."""

from __future__ import annotations

from typing import Any

from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.measures import GAUGES
from fastapi_events.status import LanesDepth, OutboxDepth, QueueStatus, Status, SubscriptionStatus
from fastapi_events.status.readings import readings_of
from fastapi_events.storage.catalogue import Relay, Worker

WORKER = Worker(id="w", host="h", pid=1, engine="list", queues=("events",), subscriptions=("feed",))


def status(depth: QueueDepth, **changes: Any) -> Status:
    whole: dict[str, Any] = {
        "handler": "list:events", "at": 0.0, "workers": (WORKER,), "dead_letters": 4, "problems": ("p",),
        "queues": (QueueStatus(depth=depth, workers=(WORKER,)),),
        "subscriptions": (
            SubscriptionStatus(name="feed", patterns=("*",), queue="events", workers=1, state="running"),
        ),
        "outbox": OutboxDepth(waiting=5, claimed=1, unconfirmed=2, oldest=3.0, overdue=0),
        "relays": (Relay(id="r", host="here", pid=2),), "lanes": LanesDepth(lanes=2, oldest=9.0),
    }  # fmt: skip
    return Status(**{**whole, **changes})


def test_each_gauge_has_a_value_where_all_is_known() -> None:
    depth = QueueDepth(queue="events", ready=3, in_hand=2, delayed=1, dead=0, oldest=7.0, consumers=1)

    found = {each.gauge: (each.value, each.labels) for each in readings_of(status(depth))}

    assert found.keys() == GAUGES.keys()
    assert all(len(labels) == len(GAUGES[gauge][1]) for gauge, (_, labels) in found.items())
    assert found["queue.ready"] == (3, ("list:events", "events"))
    assert found["queue.oldest"] == (7.0, ("list:events", "events"))
    assert found["subscription.workers"] == (1, ("list:events", "events", "feed"))
    assert found["outbox.waiting"] == (6, ("list:events",))
    assert found["problems"] == (1, ("list:events",))


def test_what_nobody_can_tell_is_left_out() -> None:
    unknown = status(
        QueueDepth(queue="events"), workers=None, outbox=None, relays=None, lanes=None, dead_letters=None
    )

    found = {each.gauge for each in readings_of(unknown)}

    assert found == {"queue.workers", "subscription.workers", "problems"}


def test_nothing_is_old_in_an_empty_queue() -> None:
    found = {each.gauge: each.value for each in readings_of(status(QueueDepth(queue="events", ready=0)))}

    assert found["queue.oldest"] == 0.0
