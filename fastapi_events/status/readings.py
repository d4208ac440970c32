"""A status as values of gauges."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi_events.measures import Reading
from fastapi_events.status.values import Status


def readings_of(status: Status) -> Iterator[Reading]:
    """The value of each gauge; what nobody can tell is left out."""
    found = (
        (gauge, value, labels)
        for source in (_of_queues, _of_subscriptions, _of_stores)
        for gauge, value, labels in source(status)
    )
    yield from (Reading(gauge, value, labels) for gauge, value, labels in found if value is not None)


Values = Iterator[tuple[str, float | None, tuple[str, ...]]]


def _of_queues(status: Status) -> Values:
    for each in status.queues:
        depth, labels = each.depth, (status.handler, each.depth.queue)
        yield "queue.ready", depth.ready, labels
        yield "queue.in_hand", depth.in_hand, labels
        yield "queue.delayed", depth.delayed, labels
        yield "queue.dead", depth.dead, labels
        yield "queue.oldest", 0.0 if depth.ready == 0 else depth.oldest, labels
        yield "queue.consumers", depth.consumers, labels
        yield "queue.workers", None if each.workers is None else len(each.workers), labels


def _of_subscriptions(status: Status) -> Values:
    for each in status.subscriptions:
        yield "subscription.workers", each.workers, (status.handler, each.queue, each.name)


def _of_stores(status: Status) -> Values:
    labels, outbox = (status.handler,), status.outbox
    yield "workers", None if status.workers is None else len(status.workers), labels
    if outbox is not None:
        yield "outbox.waiting", outbox.waiting + outbox.claimed, labels
        yield "outbox.unconfirmed", outbox.unconfirmed, labels
        yield "outbox.oldest", outbox.oldest or 0.0, labels
    if status.lanes is not None:
        yield "lanes", status.lanes.lanes, labels
        yield "lanes.oldest", status.lanes.oldest or 0.0, labels
    yield "relays", None if outbox is None or status.relays is None else len(status.relays), labels
    yield "dead_letters", status.dead_letters, labels
    yield "problems", len(status.problems), labels
