"""What becomes of a flush: the broker has it, or the outbox has it, or it is reported lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from fastapi_events import clock
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.circuit_breaker import NotAsked, StoreNotAsked
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.outbox_writer import NoAnswerFromOutbox, OutboxWriter
from fastapi_events.handlers.task_queue.publish.publisher import NoAnswerYet, Publisher
from fastapi_events.lifecycle import IN_ORDER, NOT_DUE, Lifecycle, tell
from fastapi_events.storage.outbox import Entry, Outbox

logger: logging.Logger = logging.getLogger(__name__)

SHORT_DELAY_SECONDS = 60.0
"""With an outbox, what has to wait for longer waits there rather than in a worker's memory."""

_HELD_BEYOND_DEADLINE_SECONDS = 5.0
"""How long after a flush's deadline a relay may take what was persisted for it."""


class Flusher:
    """Takes the events of a handler to its broker, by way of its outbox where it has one.

    Parameters:
        handler_name: Who publishes, stores and loses, in the words of the lifecycle hooks.
        publishing: The way to the broker.
        writer: The way into the outbox.
        lanes: The way of events with an ordering key.
        resend_after: Seconds that a published event may wait for its receipts.
    """

    def __init__(
        self,
        handler_name: str,
        publishing: Publisher,
        writer: OutboxWriter | None,
        *,
        lanes: LaneWriter | None,
        resend_after: float,
    ) -> None:
        self._handler_name = handler_name
        self._publisher = publishing
        self._outbox_writer = writer
        self._lanes = lanes
        self._resend_after = resend_after
        self._held = publishing.deadline + _HELD_BEYOND_DEADLINE_SECONDS
        if writer is not None and writer.confirm == "handled":
            self._held = max(self._held, resend_after)
        self._persisted: dict[str, float] = {}
        self._running: set[asyncio.Task[Any]] = set()

    async def flush(self, events: Sequence[Event]) -> None:
        """Publish events, or keep them.

        Raises:
            NotPublished: When neither the broker nor the outbox took them, or some of them.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._running.add(task)
        try:
            ordered = [each for each in events if each.ordering_key is not None]
            if self._lanes is None or not ordered:
                await self._flush(events, self._outbox_writer)
            elif len(ordered) == len(events):
                await self._flush_in_order(ordered, self._outbox_writer, self._lanes)
            else:
                others = [each for each in events if each.ordering_key is None]
                await _both(
                    self._flush(others, self._outbox_writer),
                    self._flush_in_order(ordered, self._outbox_writer, self._lanes),
                )
        finally:
            self._running.discard(task)

    async def settle(self, timeout: float) -> None:
        """Wait for the flushes that are under way.

        Parameters:
            timeout: Seconds.
        """
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)

    async def _flush(self, events: Sequence[Event], writer: OutboxWriter | None) -> None:
        if writer is None:
            await self._publish(events)
            return
        events = [event for event in events if not self._is_left_to_the_relay(event)]
        soon = clock.now() + timedelta(seconds=SHORT_DELAY_SECONDS)
        ready = [event for event in events if event.due is None or event.due <= soon]
        wait = [event for event in events if event.due is not None and event.due > soon]
        persisted, wait = self._take_persisted(wait)
        if persisted:
            tell(Lifecycle.stored, persisted, handler=self._handler_name, reason=NOT_DUE)
        if wait:
            await self._keep(wait, writer, NotPublished(NOT_DUE))
        if ready and writer.confirm == "handled":
            await self._publish_and_keep(ready, writer)
        elif ready:
            await self._publish_or_keep(ready, writer)

    async def _flush_in_order(
        self, events: Sequence[Event], writer: OutboxWriter | None, lanes: LaneWriter
    ) -> None:
        """Put events into their lanes. What is in the outbox already goes there by a relay, in its order."""
        persisted, others = self._take_persisted(events)
        if persisted and writer is not None:
            await self._hand_to_relay(persisted, writer, IN_ORDER)
        if others:
            await self._put(others, writer, lanes)

    async def _put(self, events: Sequence[Event], writer: OutboxWriter | None, lanes: LaneWriter) -> None:
        """Put events into their lanes, and keep those that are refused."""
        kept = writer is not None and writer.confirm == "handled" and await self._kept(events, writer)
        try:
            await lanes.publish(events)
        except NotPublished as error:
            refused = self._without_published(events, error)
            if kept and writer is not None:
                await self._hand_to_relay(refused, writer, str(error))
                lanes.arrived(refused, kept=True)
            else:
                await self._keep(refused, writer, error, lanes)
        else:
            tell(Lifecycle.published, events, handler=self._handler_name)

    def _without_published(self, events: Sequence[Event], error: NotPublished) -> Sequence[Event]:
        """Those events that were refused; of the others it is told that they are published."""
        if not error.events:
            return events
        refused = {Event.of(each).id for each in error.events}
        if published := [each for each in events if each.id not in refused]:
            tell(Lifecycle.published, published, handler=self._handler_name)
        return [each for each in events if each.id in refused]

    async def _kept(self, events: Sequence[Event], writer: OutboxWriter) -> bool:
        """Keep events until their subscriptions have run; whether the outbox has them."""
        try:
            await writer.write(events, held=self._resend_after)
        except StorageError as error:
            logger.error("The outbox took none of %d events: %s", len(events), error)
            return False
        return True

    async def persist(self, events: Sequence[Event]) -> None:
        """Keep events before the response that they belong to goes out; `flush` publishes them after it.

        Raises:
            StorageError: When the outbox did not take them. They are flushed all the same.
        """
        if self._outbox_writer is not None and (
            new := [each for each in events if each.id not in self._persisted]
        ):
            await self._outbox_writer.write(new, held=self._held)
            self._persisted.update(dict.fromkeys([each.id for each in new], clock.monotonic()))
            self._let_others_follow(new)

    @property
    def outbox(self) -> Outbox | None:
        """Where events are kept, if there is such a place."""
        return None if self._outbox_writer is None else self._outbox_writer.outbox

    def entries(self, events: Sequence[Event]) -> list[Entry]:
        """The outbox entries for these events; the caller inserts them in its own transaction."""
        assert self._outbox_writer is not None  # noqa: S101 - the caller has asked for the outbox
        return self._outbox_writer.entries(events, held=self._held)

    def committed(self, events: Sequence[Event], since: float) -> None:
        """The transaction is committed, so that the events are persisted; `flush` publishes them.

        Parameters:
            since: When their entries were made, on the monotonic clock.
        """
        assert self._outbox_writer is not None  # noqa: S101 - it has made the entries
        self._persisted.update(dict.fromkeys([each.id for each in events], since))
        self._let_others_follow(events)
        self._outbox_writer.announce()

    async def forget(self, events: Sequence[Event]) -> None:
        """The events of a response are not to be flushed after all."""
        persisted = [each for each in events if self._persisted.pop(each.id, None) is not None]
        if self._outbox_writer is not None and persisted:
            await self._outbox_writer.remove(persisted)

    def _let_others_follow(self, events: Sequence[Event]) -> None:
        """What has the key of an event that is in the outbox goes there as well."""
        if self._lanes is not None:
            self._lanes.behind.add([each.ordering_key for each in events if each.ordering_key is not None])

    def _is_left_to_the_relay(self, event: Event) -> bool:
        """Whether the event was persisted so long ago that a relay may have taken it."""
        at = self._persisted.get(event.id)
        if at is None or clock.monotonic() - at < self._held - self._publisher.deadline:
            return False
        del self._persisted[event.id]
        return True

    async def _publish(self, events: Sequence[Event]) -> None:
        """Publish events that nobody keeps, so that the broker is asked in any case."""
        try:
            await self._publisher.publish(events, is_last_resort=True)
        except NotPublished as refused:
            raise NotPublished(str(refused), events=events) from refused.__cause__
        tell(Lifecycle.published, events, handler=self._handler_name)

    async def _publish_or_keep(self, events: Sequence[Event], writer: OutboxWriter) -> None:
        persisted, others = self._take_persisted(events)
        try:
            await self._publisher.publish(events)
        except NotPublished as refused:
            if persisted:
                await self._leave_to_relay(persisted, writer, refused)
            if others:
                await self._keep(others, writer, refused)
            return
        tell(Lifecycle.published, events, handler=self._handler_name)
        if persisted:
            await self._remove(persisted, writer)

    async def _publish_and_keep(self, events: Sequence[Event], writer: OutboxWriter) -> None:
        """They are kept until their subscriptions have run, whatever comes of publishing them."""
        kept, others = self._take_persisted(events)
        if others:
            if await self._kept(others, writer):
                kept = list(events)
            else:
                await self._publish(others)
        if not kept:
            return
        try:
            await self._publisher.publish(kept)
        except NotPublished as refused:
            await self._leave_to_relay(kept, writer, refused)
        else:
            tell(Lifecycle.published, kept, handler=self._handler_name)

    async def _leave_to_relay(
        self, events: Sequence[Event], writer: OutboxWriter, refused: NotPublished
    ) -> None:
        """The outbox has events already that the broker has refused, or not answered for."""
        if isinstance(refused, NoAnswerYet):
            tell(Lifecycle.stored, events, handler=self._handler_name, reason=str(refused))
            self._follow(self._after_answer(events, writer, refused.answer))
        else:
            await self._hand_to_relay(events, writer, str(refused))

    async def _hand_to_relay(self, events: Sequence[Event], writer: OutboxWriter, reason: str) -> None:
        """The outbox has them already, and this process does not publish them, for a reason."""
        tell(Lifecycle.stored, events, handler=self._handler_name, reason=reason)
        try:
            await writer.hand_to_relay(events)
        except StorageError as error:  # they are due in a while all the same
            logger.warning("%d events in the outbox have to wait: %s", len(events), error)

    async def _keep(
        self,
        events: Sequence[Event],
        writer: OutboxWriter | None,
        refused: NotPublished,
        lanes: LaneWriter | None = None,
    ) -> None:
        """Keep events in the outbox that were refused elsewhere.

        Before any of them is lost, both have been asked, also who is known to be away.

        Parameters:
            lanes: Who has refused them; the broker if not given.

        Raises:
            NotPublished: With those that nobody took.
        """
        is_last_resort = False
        while True:
            error = await self._not_written(events, writer, refused, is_last_resort=is_last_resort)
            if lanes is not None:
                lanes.arrived(events, kept=error is None or isinstance(error, NoAnswerFromOutbox))
            if error is None:
                return
            if is_last_resort or not (isinstance(refused, NotAsked) or isinstance(error, StoreNotAsked)):
                reason = str(refused)
                if writer is not None:
                    reason = f"{reason}; and the outbox did not take it: {error}"
                raise NotPublished(reason, events=events) from error
            is_last_resort = True
            if not isinstance(refused, NotAsked):
                if lanes is not None:
                    lanes.behind.add([str(each.ordering_key) for each in events], under_way=1)
                continue
            try:
                way = self._publisher if lanes is None else lanes
                await way.publish(events, is_last_resort=True)
            except NotPublished as again:
                refused = again
                events = self._without_published(events, again)
            else:
                tell(Lifecycle.published, events, handler=self._handler_name)
                return

    async def _not_written(
        self,
        events: Sequence[Event],
        writer: OutboxWriter | None,
        refused: NotPublished,
        *,
        is_last_resort: bool,
    ) -> StorageError | None:
        """Write events into the outbox; what has come in between, if anything."""
        if writer is None:
            return StorageError("there is no outbox")
        held = self._publisher.deadline + _HELD_BEYOND_DEADLINE_SECONDS
        may_be_there = isinstance(refused, NoAnswerYet)
        try:
            await writer.write(events, held=held if may_be_there else 0.0, is_last_resort=is_last_resort)
        except StorageError as error:
            return error
        tell(Lifecycle.stored, events, handler=self._handler_name, reason=str(refused))
        if isinstance(refused, NoAnswerYet):
            self._follow(self._after_answer(events, writer, refused.answer))
        return None

    def _follow(self, step: Coroutine[Any, Any, None]) -> None:
        """Do something beside the flush, which is settled with the others."""
        task = asyncio.get_running_loop().create_task(step)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _after_answer(
        self, events: Sequence[Event], writer: OutboxWriter, answer: Future[None]
    ) -> None:
        """Forget events in the outbox that the broker has after all, rather than have them relayed, too."""
        try:
            await asyncio.wrap_future(answer)
        except Exception as error:  # whatever the broker's client raises
            await self._hand_to_relay(events, writer, f"{type(error).__name__}: {error}")
            return
        tell(Lifecycle.published, events, handler=self._handler_name)
        if writer.confirm == "published":
            await self._remove(events, writer)

    async def _remove(self, events: Sequence[Event], writer: OutboxWriter) -> None:
        try:
            await writer.remove(events)
        except StorageError as error:  # no loss: a relay will publish them once more
            logger.warning("%d published events stay in the outbox: %s", len(events), error)

    def _take_persisted(self, events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        """Which of the events were persisted before, and which were not."""
        if not self._persisted:
            return [], list(events)
        persisted: list[Event] = []
        others: list[Event] = []
        for event in events:
            (persisted if self._persisted.pop(event.id, None) is not None else others).append(event)
        return persisted, others


async def _both(*ways: Awaitable[None]) -> None:
    """Await independent ways of a flush; the failure of one is not that of the other.

    Raises:
        NotPublished: With the events of all ways that failed.
    """
    outcomes = await asyncio.gather(*ways, return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, NotPublished)]
    for each in outcomes:
        if each is not None and each not in refused:
            raise each
    if refused:
        reasons = "; ".join(dict.fromkeys(map(str, refused)))
        lost = [event for each in refused for event in each.events]
        raise NotPublished(reasons, events=lost) from refused[0].__cause__
