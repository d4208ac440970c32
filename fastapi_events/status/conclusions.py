"""What follows from what brokers, catalogue and stores have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from fastapi_events.checks import counted
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.status.values import OutboxDepth, QueueStatus, State, SubscriptionStatus
from fastapi_events.storage.catalogue import Listing, Relay, Snapshot

LOOKED_AT = 100
"""Entries of an outbox that are looked at."""


def queue_statuses(
    queues: Collection[str], depths: Sequence[QueueDepth], snapshot: Snapshot | None
) -> Iterator[QueueStatus]:
    """Each queue, and who consumes it."""
    known = {each.queue: each for each in depths}
    for queue in sorted(queues):
        workers = None
        if snapshot is not None:
            workers = tuple(each for each in snapshot.workers if queue in each.queues)
        yield QueueStatus(depth=known.get(queue, QueueDepth(queue=queue)), workers=workers)


def subscription_statuses(
    listings: Sequence[Listing], snapshot: Snapshot | None, counts: Counter[tuple[str, str]] | None
) -> Iterator[SubscriptionStatus]:
    """Each subscription of the fleet, and whether it is run."""
    paused = frozenset() if snapshot is None else {each.subscription for each in snapshot.paused}
    for each in listings:
        workers = None if snapshot is None else len(snapshot.workers_of(each.name))
        succeeded = None if counts is None else counts[each.name, "succeeded"]
        failed = None if counts is None else counts[each.name, "failed"]
        state: State = "running"
        if workers is None:
            state = "unknown"
        elif not workers:
            state = "nobody"
        elif each.name in paused:
            state = "paused"
        if state in ("running", "unknown") and (failed or 0) > (succeeded or 0):
            state = "failing"
        yield SubscriptionStatus(
            name=each.name, patterns=each.patterns, queue=each.queue, workers=workers, state=state,
            succeeded=succeeded, failed=failed,
        )  # fmt: skip


def problems_of(
    queues: Sequence[QueueStatus],
    subscriptions: Sequence[SubscriptionStatus],
    outbox: OutboxDepth | None,
    relays: Sequence[Relay] | None,
    letters: int | None,
) -> Iterator[str]:
    """What needs a person, in sentences."""
    deserted = {each.depth.queue: each.depth.ready for each in queues if each.is_consumed is False}
    for queue, ready in deserted.items():
        waiting = "" if ready is None else f", in which {counted(ready, 'message')} wait{_s(ready)}"
        yield f"Nobody consumes queue {queue!r}{waiting}."
    for each in subscriptions:
        if each.state == "nobody" and each.queue not in deserted:
            yield f"No live worker runs {each.name!r}, whose messages wait in queue {each.queue!r}."
    if outbox is not None and outbox.overdue:
        most = " at least" if outbox.overdue >= LOOKED_AT else ""
        why = "no relay runs, or the broker does not take them"
        if relays is not None:
            why = "the broker does not take them" if relays else "no relay runs"
        yield f"{counted(outbox.overdue, 'event')}{most} should have left the outbox a minute ago: {why}."
    if letters:
        yield f"{counted(letters, 'dead letter')} wait{_s(letters)} for somebody to decide."
    for depth in (each.depth for each in queues):
        if depth.dead:
            yield f"{counted(depth.dead, 'message')} of queue {depth.queue!r} given up, kept by the engine."


def _s(number: int) -> str:
    """The end of a verb."""
    return "s" if number == 1 else ""
