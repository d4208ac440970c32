"""Receipts: an outbox with `confirm="handled"` forgets an event when all who listen have given theirs."""

from __future__ import annotations

from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import RECEIPT_TO
from fastapi_events.storage.outbox import Outbox


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

    def end(self, event: Event) -> None:
        """Nobody will listen to the event any more: its fan-out is among the dead letters."""
        destination = event.headers.get(RECEIPT_TO)
        if self._outbox is not None and destination is not None:
            self._outbox.expect(event.id, str(destination), ())
