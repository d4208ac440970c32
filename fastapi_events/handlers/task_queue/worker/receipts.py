"""Receipts: an outbox with `confirm="handled"` forgets an event when all who listen have given theirs."""

from __future__ import annotations

import logging

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import RECEIPT_TO, RESENT
from fastapi_events.storage.outbox import Outbox

logger: logging.Logger = logging.getLogger(__name__)


class Receipts:
    """Gives receipts, to the outbox of a handler that has one.

    Parameters:
        outbox: Where events wait for them.
    """

    def __init__(self, outbox: Outbox | None) -> None:
        self._outbox = outbox

    def give(self, subscription: str, event: Event) -> None:
        """A subscription has handled the event, or it is among the dead letters."""
        destination = event.headers.get(RECEIPT_TO)
        if self._outbox is not None and destination is not None:
            self._outbox.receipt(event.id, str(destination), subscription)

    def has(self, subscription: str, event: Event) -> bool:
        """Whether an event that was sent once more needs this subscription no longer."""
        destination = event.headers.get(RECEIPT_TO)
        if self._outbox is None or destination is None or not event.headers.get(RESENT):
            return False
        try:
            return not self._outbox.awaits(event.id, str(destination), subscription)
        except StorageError as error:  # rather twice than not at all
            logger.warning("Nobody knows whether %s has handled event %s: %s", subscription, event.id, error)
            return False

    def end(self, event: Event) -> None:
        """Nobody will listen to the event any more: its fan-out is among the dead letters."""
        destination = event.headers.get(RECEIPT_TO)
        if self._outbox is not None and destination is not None:
            self._outbox.expect(event.id, str(destination), ())
