"""The way of events with an ordering key: into their lanes, whatever the broker does.

Events of a key that could not be put go into the outbox, and so does all that follows them in this process,
until a relay has put those before: the key is *behind*.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence

from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import MAX_EVENTS_PER_MESSAGE, Flush
from fastapi_events.handlers.task_queue.ordering import Order, no_room
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker, NotAsked
from fastapi_events.handlers.task_queue.publish.keys_behind import Behind, keys_of
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.storage.lanes import Due, Item, Lane
from fastapi_events.storage.outbox import Entry, Outbox

_AWAY = "the store of the lanes is known to be away"

_REFUSALS_THAT_SPEAK_FOR_ALL = 2
"""After so many in a row the other lanes are not tried, since it is the store that is away."""


class LaneWriter:
    """Puts the events of a handler into their lanes, those of concurrent requests together.

    Parameters:
        order: The lanes.
        routes: Which queue an event travels through.
        sealer: Makes the envelopes.
        deadline: Seconds that a flush may take.
        max_pending: How many events may wait.
        outbox: Where those go that cannot be put.
        outbox_breaker: That of whoever else asks the outbox.
        sender: The engine, which may run functions where they are flushed.
    """

    def __init__(
        self,
        order: Order,
        *,
        routes: Routes,
        sealer: Sealer,
        deadline: float,
        max_pending: int,
        outbox: Outbox | None,
        outbox_breaker: CircuitBreaker,
        sender: Sender,
    ) -> None:
        self.behind: Behind = Behind(outbox, order.destination, outbox_breaker)
        self._order = order
        self._routes = routes
        self._sealer = sealer
        self._deadline = deadline
        self._sender = sender
        self._refusing = threading.Lock()
        self._breaker = CircuitBreaker(threshold=1 if outbox is not None else 3)
        self._thread: BatchingThread[Flush] = BatchingThread(
            self,
            name=f"fastapi-events-lanes-{routes.default}",
            max_pending=max_pending,
            max_batch=MAX_EVENTS_PER_MESSAGE,
        )
        self._ringer: BatchingThread[Sequence[Due]] = BatchingThread(
            _Ringing(order),
            name=f"fastapi-events-bells-{routes.default}",
            max_pending=max_pending,
            max_batch=MAX_EVENTS_PER_MESSAGE,
        )

    async def publish(self, events: Sequence[Event], *, is_last_resort: bool = False) -> None:
        """Put events, and wait until their lanes have them.

        Parameters:
            is_last_resort: Ask the store of the lanes, even if it is known to be away.

        Raises:
            NotAsked: When that is known to be away, with all events.
            NotPublished: With those that could not be put. Their keys are behind: tell `arrived` when they
                are in the outbox, or lost.
        """
        flush = Flush(events, self._sealer.seal(events), is_last_resort=is_last_resort)
        if self._sender.runs_in_place:
            await asyncio.to_thread(self._put_in_place, flush)
        else:
            await self._put_by_thread(flush)
        if flush.refused:
            refused = [event for event in events if event.id in flush.refused]
            reasons = dict.fromkeys(flush.refused.values())
            kind = NotAsked if list(reasons) == [_AWAY] else NotPublished
            raise kind("; ".join(reasons), events=refused)

    def arrived(self, events: Sequence[Event], *, kept: bool) -> None:
        """Events that were refused are in the outbox, or they are not."""
        self.behind.arrived(keys_of(events), kept=kept)

    async def _put_by_thread(self, flush: Flush) -> None:
        try:
            future = self._thread.submit(flush, size=len(flush.events))
        except NotPublished as full:
            self._refuse([flush], str(full))
            return
        # Not by a time-out that cancels: before it is taken back, its keys have to be behind.
        ends = time.monotonic() + self._deadline
        done, _ = await asyncio.wait([asyncio.wrap_future(future)], timeout=self._deadline)
        if done:
            if (error := future.exception()) is not None:
                self._refuse([flush], str(error))
            elif flush.bell is not None:  # a flush is done when the broker knows, but fails no more
                await asyncio.wait([asyncio.wrap_future(flush.bell)], timeout=ends - time.monotonic())
            return
        self._refuse([flush], f"no answer from the lanes within {self._deadline} s; they may have it")
        future.cancel()

    def _put_in_place(self, flush: Flush) -> None:
        self._order.bells.ring(self._put([flush]))

    def take_batch(self, items: Sequence[Flush]) -> None:
        """Put the events of several flushes, in the thread; what is refused is noted in each flush."""
        due = self._put(items)
        if due:
            try:
                bell = self._ringer.submit(due, size=len(due))
            except NotPublished:  # the broker does not keep up; in some seconds they are due all the same
                return
            for flush in items:
                flush.bell = bell

    def _put(self, flushes: Sequence[Flush]) -> Sequence[Due]:
        if not any(flush.is_last_resort for flush in flushes) and not self._breaker.allows():
            self._refuse(flushes, _AWAY)
            return []
        items: dict[Lane, list[Item]] = {}
        behind = self.behind.of([event for flush in flushes for event in flush.events])
        for flush in flushes:
            for event, text in zip(flush.events, flush.envelopes, strict=True):
                key = str(event.ordering_key)
                if event.id in flush.refused:
                    continue
                if key in behind:
                    self._refuse_event(flush, event, "events of its key before it wait in the outbox")
                    continue
                item = Item(event.id, text, self._routes.queue_for(event.name))
                items.setdefault(self._order.fan_out_lane(key), []).append(item)
        due, refused = self.put(items)
        for flush in flushes:
            for event in flush.events:
                reason = refused.get(self._order.fan_out_lane(str(event.ordering_key)))
                if reason is not None and event.id not in flush.refused:
                    self._refuse_event(flush, event, reason)
        return due

    def put(self, items: Mapping[Lane, Sequence[Item]]) -> tuple[Sequence[Due], Mapping[Lane, str]]:
        """Put items into lanes, however many of these refuse theirs.

        Returns:
            The bells to ring, and the lanes that took nothing, each with the reason.
        """
        if not items:
            return [], {}
        try:
            placed = self._order.put(items)
        except StorageError as error:
            if len(items) > 1:  # find out whether all are refused, or one whose refusal also stops the others
                return self._put_singly(items)
            self._breaker.failed()
            return [], dict.fromkeys(items, f"{type(error).__name__}: {error}")
        self._breaker.succeeded()
        return placed.due, {lane: str(no_room(lane, self._order.lanes)) for lane in placed.full}

    def _put_singly(self, items: Mapping[Lane, Sequence[Item]]) -> tuple[Sequence[Due], Mapping[Lane, str]]:
        due: list[Due] = []
        refused: dict[Lane, str] = {}
        in_a_row, reason = 0, ""
        for lane, each in items.items():
            if in_a_row >= _REFUSALS_THAT_SPEAK_FOR_ALL:
                refused[lane] = reason
                continue
            rung, reasons = self.put({lane: each})
            due += rung
            refused |= reasons
            in_a_row = in_a_row + 1 if reasons else 0
            reason = reasons.get(lane, reason)
        return due, refused

    def _refuse(self, flushes: Sequence[Flush], reason: str) -> None:
        for flush in flushes:
            for event in flush.events:
                self._refuse_event(flush, event, reason)

    def _refuse_event(self, flush: Flush, event: Event, reason: str) -> None:
        with self._refusing:  # by the thread that puts, and by the loop at the deadline
            if event.id not in flush.refused:
                flush.refused[event.id] = reason
                self.behind.add([str(event.ordering_key)], under_way=1)

    def put_entries(self, entries: Sequence[Entry]) -> tuple[Sequence[Due], Mapping[str, str]]:
        """Put what an outbox held, in its order.

        Returns:
            The bells to ring, and the ids of entries that were refused, each with the reason.
        """
        items: dict[Lane, list[Item]] = {}
        for entry in entries:
            item = Item(entry.id, entry.envelope, self._routes.queue_for_envelope(entry.envelope))
            items.setdefault(self._order.fan_out_lane(str(entry.ordering_key)), []).append(item)
        due, refused = self.put(items)
        return due, {item.id: reason for lane, reason in refused.items() for item in items[lane]}

    def ring(self, due: Sequence[Due]) -> None:
        """Ring bells, in the thread of the caller."""
        self._order.bells.ring(due)

    def shutdown(self, timeout: float) -> list[Event]:
        """Put what waits, and ring its bells.

        Parameters:
            timeout: Seconds to do it in.

        Returns:
            What was not put.
        """
        ends = time.monotonic() + timeout
        left = [event for flush in self._thread.shutdown(timeout) for event in flush.events]
        self._ringer.shutdown(max(ends - time.monotonic(), 0.1))
        return left


class _Ringing:
    """Rings the bells of what was put, in a thread that may wait for the broker."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._breaker = CircuitBreaker()

    def take_batch(self, items: Sequence[Sequence[Due]]) -> None:
        due = [due for each in items for due in each]
        if not self._breaker.allows():
            self._order.bells.missed(due)
        elif self._order.bells.ring(due):
            self._breaker.succeeded()
        else:
            self._breaker.failed()
