"""What becomes of a flush: the broker has it, or the outbox has it, or it is reported lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import Any

from fastapi_events import clock
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.circuit_breaker import NotAsked, StoreNotAsked
from fastapi_events.handlers.task_queue.publish.kept_events import KeptEvents
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.outbox_writer import NoAnswerFromOutbox, OutboxWriter
from fastapi_events.handlers.task_queue.publish.persisted_events import PersistedEvents
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.lifecycle import IN_ORDER, NOT_DUE, Lifecycle, tell

SHORT_DELAY_SECONDS = 60.0
"""With an outbox, what has to wait for longer waits there rather than in a worker's memory."""

_HELD_BEYOND_DEADLINE_SECONDS = 5.0
"""How long after a flush's deadline a relay may take what was persisted for it."""


class Flusher:
    """Takes the events of a handler to its broker, by way of its outbox where it has one.

    Parameters:
        handler_name: Who publishes, stores and loses, in the words of the lifecycle hooks.
        publisher: The way to the broker.
        writer: The way into the outbox.
        lanes: The way of events with an ordering key.
        resend_after: Seconds that a published event may wait for its receipts.
    """

    def __init__(
        self,
        handler_name: str,
        publisher: Publisher,
        writer: OutboxWriter | None,
        *,
        lanes: LaneWriter | None,
        resend_after: float,
    ) -> None:
        self._handler_name = handler_name
        self._publisher = publisher
        self._lanes = lanes
        self._running: set[asyncio.Task[Any]] = set()
        self._kept: KeptEvents | None = None
        self.persisted: PersistedEvents | None = None
        """The events that are in the outbox before they are flushed, where there is an outbox."""
        if writer is not None:
            held = publisher.deadline + _HELD_BEYOND_DEADLINE_SECONDS
            self._kept = KeptEvents(handler_name, writer, resend_after=resend_after, held_unanswered=held)
            if self._kept.until_handled:
                held = max(held, resend_after)
            self.persisted = PersistedEvents(writer, lanes=lanes, held=held, deadline=publisher.deadline)

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
                await self._flush(events)
            elif len(ordered) == len(events):
                await self._flush_in_order(ordered, self._lanes)
            else:
                others = [each for each in events if each.ordering_key is None]
                await _both(self._flush(others), self._flush_in_order(ordered, self._lanes))
        finally:
            self._running.discard(task)
            del task  # it will hold an error, which holds this frame

    async def settle(self, timeout: float) -> None:
        """Wait for the flushes that are under way.

        Parameters:
            timeout: Seconds.
        """
        running = self._running if self._kept is None else self._running | self._kept.running
        if running:
            await asyncio.wait(running, timeout=timeout)

    async def _flush(self, events: Sequence[Event]) -> None:
        """Publish events without an order of their own."""
        if self._kept is None or self.persisted is None:
            await self._publish(events)
            return
        events = self.persisted.without_late(events)
        soon = clock.now() + timedelta(seconds=SHORT_DELAY_SECONDS)
        ready = [event for event in events if event.due is None or event.due <= soon]
        wait = [event for event in events if event.due is not None and event.due > soon]
        persisted, wait = self._take_persisted(wait)
        if persisted:
            tell(Lifecycle.stored, persisted, handler=self._handler_name, reason=NOT_DUE)
        if wait:
            await self._keep(wait, NotPublished(NOT_DUE))
        if ready and self._kept.until_handled:
            await self._publish_and_keep(ready, self._kept)
        elif ready:
            await self._publish_or_keep(ready, self._kept)

    async def _publish(self, events: Sequence[Event]) -> None:
        """Publish events that nobody keeps, so that the broker is asked in any case."""
        try:
            await self._publisher.publish(events, is_last_resort=True)
        except NotPublished as refused:
            raise NotPublished(str(refused), events=events) from refused.__cause__
        tell(Lifecycle.published, events, handler=self._handler_name)

    async def _publish_or_keep(self, events: Sequence[Event], kept: KeptEvents) -> None:
        """Publish events; keep in the outbox what the broker refuses."""
        persisted, others = self._take_persisted(events)
        try:
            await self._publisher.publish(events)
        except NotPublished as refused:
            if persisted:
                await kept.leave_to_relay(persisted, refused)
            if others:
                await self._keep(others, refused)
            return
        tell(Lifecycle.published, events, handler=self._handler_name)
        if persisted:
            await kept.remove(persisted)

    async def _publish_and_keep(self, events: Sequence[Event], kept: KeptEvents) -> None:
        """Keep events until their subscriptions have run, whatever comes of publishing them."""
        in_outbox, others = self._take_persisted(events)
        if others:
            if await kept.keep_until_handled(others):
                in_outbox = list(events)
            else:
                await self._publish(others)
        if not in_outbox:
            return
        try:
            await self._publisher.publish(in_outbox)
        except NotPublished as refused:
            await kept.leave_to_relay(in_outbox, refused)
        else:
            tell(Lifecycle.published, in_outbox, handler=self._handler_name)

    async def _flush_in_order(self, events: Sequence[Event], lanes: LaneWriter) -> None:
        """Put events into their lanes. What is in the outbox already goes there by a relay, in its order."""
        persisted, others = self._take_persisted(events)
        if persisted and self._kept is not None:
            await self._kept.hand_to_relay(persisted, IN_ORDER)
        if others:
            await self._put(others, lanes)

    async def _put(self, events: Sequence[Event], lanes: LaneWriter) -> None:
        """Put events into their lanes, and keep those that are refused."""
        kept = self._kept
        if kept is not None and not (kept.until_handled and await kept.keep_until_handled(events)):
            kept = None
        try:
            await lanes.publish(events)
        except NotPublished as error:
            refused = self._refused_of(events, error)
            if kept is not None:
                await kept.hand_to_relay(refused, str(error))
                lanes.arrived(refused, kept=True)
            else:
                await self._keep(refused, error, lanes)
        else:
            tell(Lifecycle.published, events, handler=self._handler_name)

    async def _keep(
        self, events: Sequence[Event], refused: NotPublished, lanes: LaneWriter | None = None
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
            error = await self._not_kept(events, refused, is_last_resort=is_last_resort)
            if lanes is not None:
                lanes.arrived(events, kept=error is None or isinstance(error, NoAnswerFromOutbox))
            if error is None:
                return
            if is_last_resort or not (isinstance(refused, NotAsked) or isinstance(error, StoreNotAsked)):
                reason = str(refused)
                if self._kept is not None:
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
                events = self._refused_of(events, again)
            else:
                tell(Lifecycle.published, events, handler=self._handler_name)
                return

    async def _not_kept(
        self, events: Sequence[Event], refused: NotPublished, *, is_last_resort: bool
    ) -> StorageError | None:
        """Keep events in the outbox; the error that prevented it, if any."""
        if self._kept is None:
            return StorageError("there is no outbox")
        try:
            await self._kept.keep(events, refused, is_last_resort=is_last_resort)
        except StorageError as error:
            return error
        return None

    def _refused_of(self, events: Sequence[Event], error: NotPublished) -> Sequence[Event]:
        """Call the hook `published` for the events that were not refused, and return those that were."""
        if not error.events:
            return events
        refused = {Event.of(each).id for each in error.events}
        if published := [each for each in events if each.id not in refused]:
            tell(Lifecycle.published, published, handler=self._handler_name)
        return [each for each in events if each.id in refused]

    def _take_persisted(self, events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        """Which of the events were persisted before, and which were not."""
        return ([], list(events)) if self.persisted is None else self.persisted.take(events)


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
