"""What follows from what brokers, catalogue and stores have answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """What the code has that asks, unlike what workers have announced at some time.

    Parameters:
        functions: The names of its subscriptions.
        queues: Those of its handler, and of its subscriptions.
    """

    functions: Collection[str]
    queues: Collection[str]


def unserved(
    queues: Sequence[QueueStatus],
    subscriptions: Sequence[SubscriptionStatus],
    snapshot: Snapshot | None,
    registered: Registered,
) -> tuple[Sequence[str], Sequence[str]]:
    """What no worker serves.

    It needs a person where this code has it, or something waits for it. Else a deploy has removed it, and
    the catalogue still has it.

    Returns:
        What needs a person, and what is only worth knowing.
    """
    problems, notes = list[str](), list[str]()
    announced = () if snapshot is None else [each.name for each in snapshot.listings]
    waiting = {each.depth.queue: _waiting(each.depth) for each in queues}
    deserted = {each.depth.queue: each.depth.ready for each in queues if each.is_consumed is False}
    for queue, ready in deserted.items():
        if queue in registered.queues or waiting[queue] != 0:
            said = "" if ready is None else f", in which {counted(ready, 'message')} wait{_s(ready)}"
            problems.append(f"Nobody consumes queue {queue!r}{said}.")
        else:
            notes.append(
                f"Nobody consumes queue {queue!r}, in which nothing waits; a function is announced for it."
            )
    for each in subscriptions:
        if each.state != "nobody" or each.queue in deserted:
            continue
        alone, count = f"No live worker runs {each.name!r}", waiting.get(each.queue)
        if count:
            problems.append(f"{alone}; {counted(count, 'message')} in queue {each.queue!r} may be for it.")
        elif each.name not in announced:
            problems.append(f"{alone}, and none has announced it, so that it gets no events.")
        elif each.name in registered.functions:
            problems.append(f"{alone}, whose events would wait in queue {each.queue!r}.")
        else:
            notes.append(
                f"{alone}, which is announced; nothing is known to wait for it in queue {each.queue!r}."
            )
    return problems, notes


def _waiting(depth: QueueDepth) -> int | None:
    """How many messages no worker has, as far as the broker tells."""
    known = [each for each in (depth.ready, depth.delayed) if each is not None]
    return sum(known) if known else None


def problems_of(
    queues: Sequence[QueueStatus],
    outbox: OutboxDepth | None,
    relays: Sequence[Relay] | None,
    letters: int | None,
) -> Iterator[str]:
    """What else needs a person, in sentences."""
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
