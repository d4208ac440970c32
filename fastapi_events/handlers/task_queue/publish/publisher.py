"""Make messages of a flush, and send them to the broker within a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from itertools import islice

from fastapi_events import clock
from fastapi_events.errors import NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import (
    MAX_EVENTS_PER_MESSAGE,
    Flush,
    Message,
    chunks,
    fan_out_message,
)
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker, NotAsked
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.storage.outbox import Entry

logger: logging.Logger = logging.getLogger(__name__)


class NoAnswerYet(NotPublished):
    """Raised when the broker has not answered within the deadline, and still may.

    Parameters:
        answer: Is done when it has, or when the connection has given it up.
    """

    def __init__(self, reason: str, answer: Future[None]) -> None:
        super().__init__(reason)
        self.answer = answer


class Publisher:
    """Publishes flushes from the event loop or from a thread, those of concurrent requests together.

    Parameters:
        sender: The way to the broker.
        routes: Which queue an event travels through.
        sealer: Makes the envelopes.
        deadline: Seconds that a flush may take.
        max_pending: How many events may wait for the broker.
        breaker: Remembers that the broker is away.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        routes: Routes,
        sealer: Sealer,
        deadline: float,
        max_pending: int,
        breaker: CircuitBreaker,
    ) -> None:
        self.deadline = deadline
        self.breaker = breaker
        self._sender = sender
        self._routes = routes
        self._sealer = sealer
        self._thread: BatchingThread[Flush] = BatchingThread(
            self,
            name=f"fastapi-events-publisher-{routes.default}",
            max_pending=max_pending,
            max_batch=MAX_EVENTS_PER_MESSAGE,
        )

    async def publish(self, events: Sequence[Event], *, is_last_resort: bool = False) -> None:
        """Publish events and wait until the broker has them.

        Parameters:
            is_last_resort: Ask the broker, even if it is known to be away.

        Raises:
            NotAsked: When it is known to be away.
            NoAnswerYet: When it did not answer within the deadline, and still may.
            NotPublished: When it refused.
        """
        if self._sender.runs_in_place:  # it takes as long as the functions do
            await asyncio.to_thread(self.take_batch, [Flush(events, self._sealer.seal(events))])
            return
        if not is_last_resort and not self.breaker.allows():
            raise NotAsked("the broker is known to be away")
        flush = Flush(events, self._sealer.seal(events))
        # Raised outside of the timeout: that error as its context would hold the task, which holds this one.
        if await self._sent_in_time(flush):
            return
        self.breaker.failed()
        if not flush.is_under_way:
            raise NotPublished(f"earlier events still waited for the broker after {self.deadline} s")
        reason = f"no answer from the broker within {self.deadline} s; it may have it"
        if flush.answer is None:
            raise NotPublished(reason)
        raise NoAnswerYet(reason, flush.answer)

    async def _sent_in_time(self, flush: Flush) -> bool:
        deadline = asyncio.timeout(self.deadline)
        try:
            async with deadline:
                if not await self._sent_on_loop(flush):
                    await self._send_by_thread(flush)
        except TimeoutError:
            if not deadline.expired():
                raise
            return False
        finally:
            del deadline  # it holds the task
        return True

    async def _sent_on_loop(self, flush: Flush) -> bool:
        """Publish from the event loop, where the engine can and nobody waits for the thread.

        Whoever comes while a flush is under way goes by the thread, which takes several together.

        Returns:
            Whether the broker has confirmed it; if not, the thread finds out why.
        """
        if not self._thread.is_idle:
            return False
        if len(flush.events) > MAX_EVENTS_PER_MESSAGE:  # to make several messages takes the loop too long
            return False
        if not self._sender.sends_on_loop():
            return False
        flush.is_under_way = True
        sending = asyncio.ensure_future(self._confirmed_on_loop(list(self._messages(flush, clock.now()))))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:  # at the deadline; what is under way may still arrive
            flush.answer = _answer_of(sending)
            raise

    async def _confirmed_on_loop(self, messages: Sequence[Message]) -> bool:
        try:
            async with asyncio.timeout(2 * self.deadline):
                confirmed = await self._sender.send_on_loop(messages)
        except Exception as error:  # the thread meets it, too, or does better
            logger.debug("Not sent from the event loop: %r", error)
            return False
        if confirmed:
            self.breaker.succeeded()
        return confirmed

    async def _send_by_thread(self, flush: Flush) -> None:
        flush.answer = Future()
        try:
            await self._thread.send(flush, size=len(flush.events), answer=flush.answer)
        except Exception as error:  # whatever the broker's client raises
            flush.answer = None  # it holds the error, which holds this frame
            if isinstance(error, NotPublished):
                raise
            raise NotPublished(f"{type(error).__name__}: {error}") from error

    def take_batch(self, items: Sequence[Flush]) -> None:
        """Send flushes in one round trip, in the thread.

        Raises:
            Exception: Whatever the broker's client raises.
        """
        for flush in items:
            flush.is_under_way = True
        now = clock.now()
        self._send([message for flush in items for message in self._messages(flush, now)])

    def publish_entries(self, entries: Sequence[Entry]) -> None:
        """Publish what an outbox held, from a thread of the caller's.

        Raises:
            Exception: Whatever the broker's client raises.
        """
        queues: dict[str, list[Entry]] = {}
        for entry in entries:
            queues.setdefault(self._routes.queue_for_envelope(entry.envelope), []).append(entry)
        messages: list[Message] = []
        for queue, part in queues.items():
            messages += _batches(queue, part, [entry.envelope for entry in part])
        self._send(messages)

    def _send(self, messages: Sequence[Message]) -> None:
        try:
            self._sender.send(messages, timeout=self.deadline)
        except Exception:
            self.breaker.failed()
            raise
        self.breaker.succeeded()

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

    def _messages(self, flush: Flush, now: datetime) -> Iterable[Message]:
        """One message; more only where events go to several queues, at several times, or are many."""
        if self._routes.is_one and not any(each.due for each in flush.events):
            yield from _batches(self._routes.default, flush.events, flush.envelopes)  # most flushes
            return
        parts: dict[tuple[str, datetime | None], tuple[list[Event], list[str]]] = {}
        for event, text in zip(flush.events, flush.envelopes, strict=True):
            part = parts.setdefault((self._routes.queue_for(event.name), event.due), ([], []))
            part[0].append(event)
            part[1].append(text)
        for (queue, due), part in parts.items():
            delay = 0.0 if due is None else max((due - now).total_seconds(), 0.0)
            yield from _batches(queue, *part, delay=delay)


def _answer_of(sending: asyncio.Future[bool]) -> Future[None]:
    """The broker's answer to what is being sent, as soon as there is one."""
    answer: Future[None] = Future()

    def tell(sent: asyncio.Future[bool]) -> None:
        if not sent.cancelled() and sent.result():
            answer.set_result(None)
        else:
            answer.set_exception(NotPublished("the broker did not confirm it"))

    sending.add_done_callback(tell)
    return answer


def _batches(
    queue: str, items: Sequence[Event | Entry], envelopes: Sequence[str], *, delay: float = 0.0
) -> Iterable[Message]:
    left = iter(items)
    for texts in chunks(envelopes):
        yield fan_out_message(queue, texts, *[each.id for each in islice(left, len(texts))], delay=delay)
