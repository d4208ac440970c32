"""Asks brokers, catalogue and stores how a handler and its fleet are."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import TypeVar

from fastapi_events import clock
from fastapi_events.bounded_call import Answer, BoundedCall
from fastapi_events.envelope import unseal
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.measures import Reading
from fastapi_events.status.conclusions import (
    LOOKED_AT,
    Registered,
    problems_of,
    queue_statuses,
    subscription_statuses,
    unserved,
)
from fastapi_events.status.listings import listings_of
from fastapi_events.status.readings import readings_of
from fastapi_events.status.values import LanesDepth, OutboxDepth, Status
from fastapi_events.storage.catalogue import Snapshot
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.outbox import Entry, Outbox

TIMEOUT_SECONDS = 5.0
"""How long brokers and stores have for their answers, unless it is said otherwise."""

OVERDUE_SECONDS = 60.0
"""What has waited for so long in the outbox after it was due is named."""

FAILING_WINDOW = timedelta(minutes=5)
"""Where there is a journal, a subscription is failing that has failed more often than not in this time."""

T = TypeVar("T")


class StatusReader:
    """Asks the broker, the catalogue and the stores of a handler, each in its thread, and changes nothing.

    An answer is good for a second, however many ask. Every process may ask: what runs the workers, what
    publishes, or a script.

    Parameters:
        handler: Whose status it is.
    """

    def __init__(self, handler: TaskQueueHandler) -> None:
        self._handler = handler
        self._queues: Collection[str] = handler.queues
        self._timeout = TIMEOUT_SECONDS
        self._lock = threading.Lock()
        self._fleet = BoundedCall(lambda: _fleet_of(handler))
        self._depths = BoundedCall(lambda: handler.engine.depths(sorted(self._queues), timeout=self._timeout))
        outbox, letters, journal = handler.outbox, handler.dead_letters, handler.journal
        self._outbox = None if outbox is None else BoundedCall(lambda: _depth_of(outbox, handler.name))
        lanes = handler.lanes
        self._lanes = None if lanes is None else BoundedCall(lambda: _lanes_of(lanes, handler.name))
        self._letters = None if letters is None else BoundedCall(lambda: letters.count(handler=handler.name))
        self._counts = None if journal is None else BoundedCall(lambda: _counts(journal, handler.name))

    def read(self, *, timeout: float = TIMEOUT_SECONDS) -> Status:
        """Ask, and wait for the answers; in a coroutine, by `asyncio.to_thread(reader.read)`.

        Parameters:
            timeout: Seconds for all of it. What has no answer by then is a problem of the status.
        """
        with self._lock:
            self._timeout = timeout
            return self._read(time.monotonic() + timeout)

    def readings(self) -> list[Reading]:
        """The status as values of gauges, without what is unknown."""
        return list(readings_of(self.read()))

    def _read(self, deadline: float) -> Status:
        handler, problems, refused = self._handler, list[str](), dict[str, list[str]]()
        # All are asked now, and looked for below: what another one takes its time for does not make them old.
        of_outbox, of_lanes = _begun(self._outbox), _begun(self._lanes)
        of_letters, of_journal = _begun(self._letters), _begun(self._counts)
        snapshot = _answer(
            self._fleet.begin(), deadline - self._timeout / 2, "the catalogue", problems, refused
        )
        listings = listings_of(handler, snapshot)
        self._queues = {*handler.queues, *(each.queue for each in listings)}
        depths = _answer(self._depths.begin(), deadline, "the broker", problems, refused)
        outbox = _answer(of_outbox, deadline, "the outbox", problems, refused)
        lanes = _answer(of_lanes, deadline, "the store of lanes", problems, refused)
        letters = _answer(of_letters, deadline, "the store of dead letters", problems, refused)
        counts = _answer(of_journal, deadline, "the journal", problems, refused)
        problems += [f"{_listed(those)} cannot be asked: {reason}" for reason, those in refused.items()]
        queues = tuple(queue_statuses(self._queues, depths or (), snapshot))
        subscriptions = tuple(subscription_statuses(listings, snapshot, counts))
        relays = None if snapshot is None else snapshot.relays
        own = Registered(functions={each.name for each in handler.subscriptions}, queues=handler.queues)
        needed, notes = unserved(queues, subscriptions, snapshot, own)
        problems += [*needed, *problems_of(queues, outbox, relays, letters)]
        return Status(
            handler=handler.name, at=clock.timestamp(), queues=queues, subscriptions=subscriptions,
            workers=None if snapshot is None else snapshot.workers, outbox=outbox, relays=relays, lanes=lanes,
            dead_letters=letters, problems=tuple(problems), notes=tuple(notes),
        )  # fmt: skip


def _begun(call: BoundedCall[T] | None) -> Future[Answer[T]] | None:
    return None if call is None else call.begin()


def _answer(
    asked: Future[Answer[T]] | None,
    deadline: float,
    what: str,
    problems: list[str],
    refused: dict[str, list[str]],
) -> T | None:
    """What has been answered by the deadline; if nothing, it is a problem, or was refused for a reason."""
    if asked is None:
        return None
    try:
        answer = asked.result(max(deadline - time.monotonic(), 0.0))
    except TimeoutError:
        problems.append(f"{_listed([what])} does not answer in time.")
        return None
    if answer.error is not None:
        reason = " ".join(f"{type(answer.error).__name__}: {answer.error}".split())
        refused.setdefault(reason, []).append(what)
    return answer.value


def _listed(things: Sequence[str]) -> str:
    """Several things at the beginning of a sentence."""
    *first, last = things
    text = f"{', '.join(first)} and {last}" if first else last
    return text[0].upper() + text[1:]


def _fleet_of(handler: TaskQueueHandler) -> Snapshot | None:
    """What the catalogue says; None where each process knows itself only."""
    return None if handler.knows_itself_only else handler.fleet.snapshot()


def _depth_of(outbox: Outbox, handler: str) -> OutboxDepth:
    found, now = outbox.status(), clock.timestamp()
    late = [now - _due(each, now) for each in outbox.list(limit=LOOKED_AT) if each.destination == handler]
    return OutboxDepth(
        waiting=found.waiting,
        claimed=found.claimed,
        unconfirmed=found.unconfirmed,
        oldest=None if found.oldest is None else max(now - found.oldest.timestamp(), 0.0),
        overdue=sum(each > OVERDUE_SECONDS for each in late),
        lag=max(0.0, *late) if late else 0.0,
    )


def _lanes_of(lanes: Lanes, handler: str) -> LanesDepth:
    heads, now = lanes.heads(handler, limit=LOOKED_AT), clock.timestamp()
    ages = [now - at for each in heads if (at := _dispatched_at(each.item.text)) is not None]
    return LanesDepth(lanes=lanes.count(handler), oldest=max((0.0, *ages)) if ages else None)


def _due(entry: Entry, now: float) -> float:
    """Since when an entry could have been published; just now, where that cannot be read."""
    if entry.due is not None:
        return entry.due.timestamp()
    return _dispatched_at(entry.envelope) or now


def _dispatched_at(text: str) -> float | None:
    try:
        return unseal(text).dispatched_at.timestamp()
    except UnreadableEnvelope:
        return None


def _counts(journal: Journal, handler: str) -> Counter[tuple[str, str]]:
    """How often each subscription of a handler has succeeded and failed lately."""
    since = clock.now() - FAILING_WINDOW
    sums = journal.sums(since, by=["handler", "subscription"], measures=("succeeded", "failed"))
    return Counter(
        {(each.subscription, each.measure): each.count for each in sums if each.handler == handler}
    )
