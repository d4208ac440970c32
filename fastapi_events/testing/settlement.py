"""`settle`: wait until a real broker and its workers have done all that was published."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError, StorageError
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.lives import life_of
from fastapi_events.whereabouts import places_of

_LOOK_EVERY_SECONDS = 0.02
_QUIET_LOOKS = 5
"""How often in a row there has to be nothing: for a moment a message may be neither ready nor in hand."""

_QUIET_LOOKS_OF_JOURNAL = 75
"""The same where only the journal knows, into which workers write five times a second."""

_EVENTS_OF_JOURNAL = 500
_STILL_THERE = frozenset({"outbox", "queue", "worker"})


async def settle(handler: TaskQueueHandler, *, timeout: float | timedelta = 5.0) -> None:
    """Wait until all that a handler has published has been handled, or is among the dead letters.

    It is for tests with a real broker and real workers; with an `InlineWorker`, `run()` does it.

    Parameters:
        handler: Whose events; its queues, its outbox, and what this process still publishes.
        timeout: How long to wait, a `timedelta` or seconds.

    Raises:
        TimeoutError: When it takes longer, with what is still there.
        ConfigurationError: When the broker does not tell what its workers hold, and there is no journal.
    """
    checks.instance("handler", handler, TaskQueueHandler, such_as="DramatiqHandler(broker)")
    seconds = checks.seconds("timeout", timeout, positive=True)
    end = time.monotonic() + seconds
    await handler.flusher.settle(seconds)
    quiet, needed, left = 0, _QUIET_LOOKS, ["nothing has been looked at"]
    while quiet < needed:
        if time.monotonic() > end:
            raise TimeoutError(f"Not settled after {seconds:g} s: {'; '.join(left)}.")
        look = _Look(handler, timeout=max(end - time.monotonic(), 0.1))
        left = await asyncio.to_thread(look.whatever_is_left)
        if look.asks_journal:
            needed = _QUIET_LOOKS_OF_JOURNAL
        quiet = 0 if left else quiet + 1
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


class _Look:
    """One look at all places where something may wait."""

    def __init__(self, handler: TaskQueueHandler, *, timeout: float) -> None:
        self._handler = handler
        self._timeout = timeout
        self.asks_journal = False

    def whatever_is_left(self) -> list[str]:
        """What there still is, in words."""
        if self._handler.engine.runs_in_place:
            return []
        return [*self._in_queues(), *self._in_outbox(), *self._in_journal()]

    def _in_queues(self) -> Iterator[str]:
        try:
            others = {each.queue for each in self._handler.fleet.snapshot().listings}
        except StorageError:
            others = set()
        queues = sorted({*self._handler.queues, *others})
        for each in self._handler.engine.depths(queues, timeout=self._timeout):
            if each.in_hand is None:
                self._need_journal(each.queue)
            counts = {"ready": each.ready, "in hand": each.in_hand, "delayed": each.delayed}
            said = [f"{count} {word}" for word, count in counts.items() if count]
            if said:
                yield f"queue {each.queue} has {', '.join(said)}"

    def _need_journal(self, queue: str) -> None:
        self.asks_journal = True
        if self._handler.journal is None:
            raise ConfigurationError(
                f"settle() cannot know when {self._handler.name} is done: this broker does not tell what "
                f"workers hold of the queue {queue!r}. Give the handler a journal, by store=… or journal=…; "
                "with Dramatiq's StubBroker, call broker.join() and worker.join() instead."
            )

    def _in_outbox(self) -> Iterator[str]:
        if self._handler.outbox is not None:
            status = self._handler.outbox.status()
            if count := status.waiting + status.claimed + status.unconfirmed:
                yield f"the outbox has {count}"

    def _in_journal(self) -> Iterator[str]:
        journal = self._handler.journal
        if journal is None or not self.asks_journal:
            return
        for event in journal.events(limit=_EVENTS_OF_JOURNAL):
            for place in places_of(life_of(journal, event), time.time()):
                if place.where in _STILL_THERE:
                    yield f"{event.name} ({event.id}) is {place.text}"
