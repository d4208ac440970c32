"""Events of a flush that go into the outbox, and what becomes of them there: relayed, or removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from fastapi_events.checks import counted
from fastapi_events.errors import NotPublished, StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.outbox_writer import OutboxWriter
from fastapi_events.handlers.task_queue.publish.publisher import NoAnswerYet
from fastapi_events.lifecycle import Lifecycle, tell

logger: logging.Logger = logging.getLogger(__name__)


class KeptEvents:
    """Writes the events of flushes into the outbox, and tells the relay about them or removes them.

    Parameters:
        handler_name: Who publishes and stores, in the words of the lifecycle hooks.
        writer: The way into the outbox.
        resend_after: Seconds that a published event may wait for its receipts.
        held_unanswered: Seconds for which no relay takes what the broker has not answered for.
    """

    def __init__(
        self, handler_name: str, writer: OutboxWriter, *, resend_after: float, held_unanswered: float
    ) -> None:
        self._handler_name = handler_name
        self._writer = writer
        self._resend_after = resend_after
        self._held_unanswered = held_unanswered
        self.until_handled: bool = writer.confirm == "handled"
        """Whether entries stay until their subscriptions have run."""
        self.running: set[asyncio.Task[Any]] = set()
        """What waits for late answers of the broker."""

    async def keep_until_handled(self, events: Sequence[Event]) -> bool:
        """Keep events until their subscriptions have run; whether the outbox has them."""
        try:
            await self._writer.write(events, held=self._resend_after)
        except StorageError as error:
            logger.error("The outbox did not take %s: %s", counted(len(events), "event"), error)
            return False
        return True

    async def keep(
        self, events: Sequence[Event], refused: NotPublished, *, is_last_resort: bool = False
    ) -> None:
        """Keep events that the broker, or their lanes, have refused.

        Parameters:
            is_last_resort: Ask the outbox, even if it is known to be away.

        Raises:
            StorageError: When the outbox did not take them.
        """
        held = self._held_unanswered if isinstance(refused, NoAnswerYet) else 0.0
        await self._writer.write(events, held=held, is_last_resort=is_last_resort)
        tell(Lifecycle.stored, events, handler=self._handler_name, reason=str(refused))
        if isinstance(refused, NoAnswerYet):
            self._follow(events, refused.answer)

    async def leave_to_relay(self, events: Sequence[Event], refused: NotPublished) -> None:
        """Leave kept events to a relay: the broker has refused them, or has not answered yet."""
        if isinstance(refused, NoAnswerYet):
            tell(Lifecycle.stored, events, handler=self._handler_name, reason=str(refused))
            self._follow(events, refused.answer)
        else:
            await self.hand_to_relay(events, str(refused))

    async def hand_to_relay(self, events: Sequence[Event], reason: str) -> None:
        """Let a relay publish kept events at once, since this process does not."""
        tell(Lifecycle.stored, events, handler=self._handler_name, reason=reason)
        try:
            await self._writer.hand_to_relay(events)
        except StorageError as error:  # they are due in a while all the same
            delayed = counted(len(events), "event")
            logger.warning("The relay takes %s from the outbox later: %s", delayed, error)

    async def remove(self, events: Sequence[Event]) -> None:
        """Remove events that the broker has, unless they stay until they are handled."""
        if self.until_handled:
            return
        try:
            await self._writer.remove(events)
        except StorageError as error:  # no loss: a relay will publish them once more
            left = counted(len(events), "event")
            logger.warning("The outbox still has %s after publishing: %s", left, error)

    def _follow(self, events: Sequence[Event], answer: Future[None]) -> None:
        """Wait for a late answer of the broker beside the flush."""
        task = asyncio.get_running_loop().create_task(self._after_answer(events, answer))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _after_answer(self, events: Sequence[Event], answer: Future[None]) -> None:
        """Remove events that the broker has after all, so that no relay publishes them again."""
        try:
            await asyncio.wrap_future(answer)
        except Exception as error:  # whatever the broker's client raises
            await self.hand_to_relay(events, f"{type(error).__name__}: {error}")
            return
        tell(Lifecycle.published, events, handler=self._handler_name)
        await self.remove(events)
