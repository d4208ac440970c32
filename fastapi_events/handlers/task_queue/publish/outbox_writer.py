"""The way into the outbox: one write for the flushes of concurrent requests, never on the event loop.

So it is with what is removed from it again, once the broker has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from fastapi_events.errors import NotPublished, StorageError, StorageFull
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker, StoreNotAsked
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.storage.outbox import Entry, Outbox

_MAX_BATCH = 1_000
"""Entries written at once."""


class NoAnswerFromOutbox(StorageError):
    """Raised when the outbox has not answered within the deadline; it may have what it was given."""


class OutboxWriter:
    """Keeps the events of one handler in an outbox.

    Parameters:
        outbox: Where they are kept.
        destination: The handler's name there.
        confirm: When an entry is done; see `Entry`.
        sealer: Makes envelopes of events.
        deadline: Seconds that a write may take.
        max_pending: How many events may wait to be written.
        relay: Is started when something has been kept.
        breaker: Knows whether the outbox is away.
    """

    def __init__(
        self,
        outbox: Outbox,
        destination: str,
        *,
        confirm: Literal["published", "handled"],
        sealer: Sealer,
        deadline: float,
        max_pending: int,
        relay: RelayThread | None,
        breaker: CircuitBreaker,
    ) -> None:
        self._relay = relay
        self.outbox = outbox
        self.destination = destination
        self.confirm = confirm
        self._sealer = sealer
        self._deadline = deadline
        self._breaker = breaker
        self._writer: BatchingThread[Sequence[Entry]] = BatchingThread(
            self,
            name=f"fastapi-events-outbox-{destination}",
            max_pending=max_pending,
            max_batch=_MAX_BATCH,
        )
        self._remover: BatchingThread[Sequence[Entry]] = BatchingThread(
            _Removals(outbox),
            name=f"fastapi-events-outbox-{destination}-removals",
            max_pending=max_pending,
            max_batch=_MAX_BATCH,
        )

    async def write(
        self, events: Sequence[Event], *, held: float = 0.0, is_last_resort: bool = False
    ) -> None:
        """Keep events, and wait until they are durable.

        Parameters:
            held: Seconds for which no relay is to take them, because this process publishes them itself.
            is_last_resort: Ask the outbox, even if it is known to be away.

        Raises:
            StoreNotAsked: When it is known to be away.
            NoAnswerFromOutbox: When it did not answer within the deadline, and may have them.
            StorageError: When it did not take them.
        """
        if not is_last_resort and not self._breaker.allows():
            raise StoreNotAsked("the outbox is known to be away")
        entries = self.entries(events, held=held)
        try:
            future = self._writer.submit(entries, size=len(entries))
        except NotPublished as full:
            raise StorageError(f"the outbox does not keep up: {full}") from full
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), self._deadline)
        except NotPublished:
            raise StorageError("the process stopped before the outbox took it") from None
        except TimeoutError as error:
            self._breaker.failed()
            reason = f"no answer from the outbox within {self._deadline} s"
            if future.cancel():  # so that it is not written after all when it has been reported lost
                raise StorageError(reason) from error
            raise NoAnswerFromOutbox(reason) from error
        except StorageFull:
            raise
        except StorageError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        self.announce()

    def announce(self) -> None:
        """Something has been kept: there is work for a relay."""
        if self._relay is not None:
            self._relay.start()

    def write_now(self, events: Sequence[Event]) -> None:
        """Write events into the outbox from a thread, and wait until they are durable."""
        self.outbox.add(self.entries(events))

    async def remove(self, events: Sequence[Event]) -> None:
        """Forget events that have been published, or are not to be.

        Raises:
            StorageError: When the outbox has not forgotten them.
        """
        keys = self._keys(events)
        try:
            future = self._remover.submit(keys, size=len(keys))
            await asyncio.shield(asyncio.wrap_future(future))
        except NotPublished as refused:  # by the thread: too many wait for it, or it has ended
            raise StorageError(f"the outbox does not keep up: {refused}") from None

    async def hand_to_relay(self, events: Sequence[Event]) -> None:
        """Let a relay take events at once, since this process does not publish them after all."""
        await asyncio.to_thread(self.outbox.reschedule, self._keys(events))
        self.announce()

    def entries(self, events: Sequence[Event], *, held: float = 0.0) -> list[Entry]:
        """The entries of events."""
        return [
            Entry(
                id=event.id,
                destination=self.destination,
                envelope=text,
                ordering_key=event.ordering_key,
                due=event.due,
                held=held,
                confirm=self.confirm,
            )
            for event, text in zip(events, self._sealer.seal(events), strict=True)
        ]

    def _keys(self, events: Sequence[Event]) -> list[Entry]:
        """Which entries are those of events, without sealing these once more."""
        return [
            Entry(id=event.id, destination=self.destination, envelope="", due=event.due) for event in events
        ]

    def shutdown(self, timeout: float) -> None:
        """Write and remove what waits, and end the threads."""
        self._writer.shutdown(timeout)
        self._remover.shutdown(timeout)

    def take_batch(self, items: Sequence[Sequence[Entry]]) -> None:
        """Write the entries of several flushes at once, in the thread."""
        self.outbox.add([entry for flush in items for entry in flush])


class _Removals:
    """Where entries go that are done."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def take_batch(self, items: Sequence[Sequence[Entry]]) -> None:
        """Remove the entries of several flushes at once, in the thread."""
        self._outbox.discard([entry for flush in items for entry in flush])
