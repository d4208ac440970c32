"""The web process's half: events become messages, which the broker takes within a deadline or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TypeAlias

from fastapi_events import envelope
from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import (
    FAN_OUT_TURN,
    LANE,
    MAX_EVENTS_PER_MESSAGE,
    Flush,
    Message,
    chunks,
    fan_out_message,
)
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.outbox import Entry

Begin: TypeAlias = Callable[
    [Callable[[], Sequence[Message]], Callable[[bool], None]], Callable[[], None] | None
]


class Publisher:
    """Publishes flushes from a thread of its own, those of concurrent requests together.

    Parameters:
        send: Enqueues messages in one round trip, or raises.
        begin: Does so from the event loop, where the engine can; see `TaskQueueHandler`.
        routes: Which queue an event travels through.
        source: The `source` of the envelopes.
        deadline: Seconds that a flush may take.
        max_pending: How many events may wait for the broker.
        breaker: Remembers that the broker is away.
        extensions: Attributes that every envelope has beside those of its event.
        order: Lets events with an ordering key pass one after the other.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Message]], None],
        *,
        begin: Begin,
        routes: Routes,
        source: str,
        deadline: float,
        max_pending: int,
        breaker: CircuitBreaker,
        extensions: Mapping[str, str],
        order: Order | None,
    ) -> None:
        self.deadline = deadline
        self.breaker = breaker
        self._extensions = extensions
        self._order = order
        self._send = send
        self._begin = begin
        self._routes = routes
        self._source = source
        self._thread: BatchingThread[Flush] = BatchingThread(
            self._publish_flushes,
            name=f"fastapi-events-publisher-{routes.default}",
            max_pending=max_pending,
            max_batch=MAX_EVENTS_PER_MESSAGE,
        )

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events and wait until the broker has them.

        Raises:
            NotPublished: When it refused or did not answer within the deadline. In the latter case they may
                arrive all the same.
        """
        if not self.breaker.allows():
            raise NotPublished("the broker is known to be away")
        flush = Flush(events, self.seal(events))
        loop = asyncio.get_running_loop()
        over: asyncio.Future[bool | None] = loop.create_future()
        until = loop.time() + self.deadline
        deadline = loop.call_at(until, _end, over)
        try:
            if await self._publish_at_once(flush, over):
                return
            if over.done():  # there was an answer, and it was no confirmation: the thread finds out why
                over = loop.create_future()
                deadline.cancel()
                deadline = loop.call_at(until, _end, over)
            await self._publish_by_thread(flush, over)
        finally:
            deadline.cancel()

    async def _publish_at_once(self, flush: Flush, over: asyncio.Future[bool | None]) -> bool:
        """Publish from the event loop, where the engine can and nobody waits for the thread.

        Whoever comes while a flush is under way goes by the thread, which takes several together.

        Returns:
            Whether the broker has confirmed it.
        """
        if self._order is not None or not self._thread.is_idle:  # the store of lanes may block
            return False
        if len(flush.events) > MAX_EVENTS_PER_MESSAGE:  # to make several messages takes the loop too long
            return False

        def answered(confirmed: bool) -> None:
            if not over.done():
                over.set_result(confirmed)

        abandon = self._begin(lambda: list(self._messages(flush, datetime.now(UTC))), answered)
        if abandon is None:
            return False
        try:
            confirmed = await over
        except BaseException:
            abandon()
            raise
        if confirmed is None:
            abandon()
            self.breaker.failed()
            raise NotPublished(self._no_answer)
        if confirmed:
            self.breaker.succeeded()
        return confirmed

    async def _publish_by_thread(self, flush: Flush, over: asyncio.Future[bool | None]) -> None:
        loop = asyncio.get_running_loop()

        def wake(_: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits on it
                loop.call_soon_threadsafe(_end, over)

        # Last of all: the thread wakes up, and cannot begin before this one has nothing more to do.
        future = self._thread.submit(flush, size=len(flush.events))
        future.add_done_callback(wake)
        try:
            await over
        except asyncio.CancelledError:
            future.cancel()  # who cancels a flush reports its events lost: they must not go out after all
            raise
        self._check(future)

    def strangers(self, events: Sequence[Event]) -> list[Sequence[Event]]:
        """Events in groups that need not share a failure: those that have to queue up, and the others."""
        if self._order is None:
            return [events]
        ordered = [event for event in events if event.ordering_key is not None]
        others = [event for event in events if event.ordering_key is None]
        return [group for group in (others, ordered) if group]

    def publish_entries(self, entries: Sequence[Entry]) -> None:
        """Publish what an outbox held, from a thread of the caller's.

        Raises:
            Exception: Whatever the broker's client raises.
        """
        queues: dict[str, list[Entry]] = {}
        lanes: dict[str, list[tuple[str, str]]] = {}
        for entry in entries:
            if entry.ordering_key is not None and self._order is not None:
                lanes.setdefault(entry.ordering_key, []).append((entry.id, entry.envelope))
            else:
                queues.setdefault(self._routes.queue_for_envelope(entry.envelope), []).append(entry)
        messages = self._in_order(lanes)
        for queue, part in queues.items():
            messages += _batches(queue, part, [entry.envelope for entry in part])
        self._send_watched(messages)

    def _send_watched(self, messages: Sequence[Message]) -> None:
        try:
            self._send(messages)
        except Exception:
            self.breaker.failed()
            raise
        self.breaker.succeeded()

    def _check(self, future: Future[None]) -> None:
        """Raise what came of a flush that is over, one way or the other."""
        if not future.done():
            self.breaker.failed()
            if future.cancel():
                raise NotPublished(f"no room at the broker within {self.deadline} s")
            raise NotPublished(self._no_answer)
        if future.cancelled():
            raise NotPublished("the process stopped before the broker took it")
        error = future.exception()
        if error is not None:
            raise NotPublished(f"{type(error).__name__}: {error}") from error

    @property
    def _no_answer(self) -> str:
        return f"no answer from the broker within {self.deadline} s; it may have it"

    def shutdown(self, timeout: float) -> list[Event]:
        """Publish what waits.

        Parameters:
            timeout: Seconds to do it in.

        Returns:
            What was not sent.
        """
        return [event for flush in self._thread.shutdown(timeout) for event in flush.events]

    @property
    def pending(self) -> int:
        """How many events wait for the broker."""
        return self._thread.pending

    def seal(self, events: Sequence[Event]) -> list[str]:
        """The envelopes of events."""
        texts = []
        seal, source = envelope.seal, self._source
        for event in events:
            schema = registry.get(event[0])
            uri = None if schema is None else f"urn:fastapi-events:{schema.__module__}.{schema.__qualname__}"
            extensions = self._extensions
            if self._order is not None and event.ordering_key is not None:
                extensions = {**extensions, LANE: self._order.destination}
            texts.append(seal(event, source=source, dataschema=uri, extensions=extensions))
        return texts

    def _publish_flushes(self, flushes: Sequence[Flush]) -> None:
        now = datetime.now(UTC)
        self._send_watched([message for flush in flushes for message in self._messages(flush, now)])

    def _messages(self, flush: Flush, now: datetime) -> Iterable[Message]:
        """One message; more only where events go to several queues, at several times, or are many."""
        if self._order is None and self._routes.is_one and not any(each.due for each in flush.events):
            yield from _batches(self._routes.default, flush.events, flush.envelopes)  # most flushes
            return
        parts: dict[tuple[str, datetime | None], tuple[list[Event], list[str]]] = {}
        lanes: dict[str, list[tuple[str, str]]] = {}
        for event, text in zip(flush.events, flush.envelopes, strict=True):
            if event.ordering_key is not None and self._order is not None:
                lanes.setdefault(event.ordering_key, []).append((event.id, text))
                continue
            part = parts.setdefault((self._routes.queue_for(event.name), event.due), ([], []))
            part[0].append(event)
            part[1].append(text)
        yield from self._in_order(lanes)
        for (queue, due), part in parts.items():
            delay = 0.0 if due is None else max((due - now).total_seconds(), 0.0)
            yield from _batches(queue, *part, delay=delay)

    def _in_order(self, lanes: Mapping[str, Sequence[tuple[str, str]]]) -> list[Message]:
        """The messages of those events with an ordering key whose turn it is already."""
        if self._order is None:
            return []
        messages = []
        for key, items in lanes.items():
            messages += self._order.queue_up(FAN_OUT_TURN, key, items)
        return messages


def _batches(
    queue: str, items: Sequence[Event | Entry], envelopes: Sequence[str], *, delay: float = 0.0
) -> Iterable[Message]:
    left = iter(items)
    for texts in chunks(envelopes):
        yield fan_out_message(queue, texts, *[each.id for each in islice(left, len(texts))], delay=delay)


def _end(over: asyncio.Future[bool | None]) -> None:
    if not over.done():
        over.set_result(None)
