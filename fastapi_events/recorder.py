"""Writes what happens to events in this process into a journal, from a thread of its own.

Nothing waits for it. What is to be written stands in a bounded buffer, whose oldest part is dropped, and
counted, where the journal does not keep up or is away.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Hashable, Sequence
from time import time
from typing import Any

from fastapi_events import under_test
from fastapi_events.errors import reason_of
from fastapi_events.event import Event
from fastapi_events.journal_buffer import Details, Recorded
from fastapi_events.journal_writer import JournalWriter
from fastapi_events.lifecycle import Lifecycle, forget, observe
from fastapi_events.per_process import PerProcess
from fastapi_events.storage.histories import Happening
from fastapi_events.storage.journal import Journal

_AT_EXIT_SECONDS = 2.0


class Recorder(Lifecycle):
    """The one observer that writes into a journal, for all handlers of this process that have it.

    Parameters:
        journal: Where it writes.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.handlers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.keeps_payloads: bool = False
        self._writer = PerProcess(lambda: JournalWriter(journal, self))
        self._users = 0

    def attach(self, handler: Recorded, *, payloads: bool) -> None:
        """Write for a handler as well, until it is collected.

        Parameters:
            payloads: Whether payloads are to be kept; one handler that wants them is enough.
        """
        self.keeps_payloads = self.keeps_payloads or payloads
        self.handlers.add(handler)
        self._users += 1
        if self._users == 1:
            observe(self)
        weakref.finalize(handler, self._detach).atexit = False

    def _detach(self) -> None:
        self._users -= 1
        if self._users == 0:
            forget(self)
            _recorders.pop(self.journal.place, None)
            writer = self._writer.made
            if writer is not None:
                writer.is_wanted = False

    @property
    def dropped(self) -> int:
        """How many records this process has not written."""
        writer = self._writer.made
        return 0 if writer is None else writer.dropped

    def flush(self, timeout: float) -> None:
        """Write what waits, in this thread.

        Parameters:
            timeout: Seconds to wait for the other thread, if it is at it.
        """
        writer = self._writer.made
        if writer is not None:
            writer.work(timeout)

    # What is observed, in the order of `Lifecycle`

    def dispatched(self, event: Event) -> None:
        if event.due is None:
            if under_test.stand_ins is None:  # as below, at less than half the cost: a request waits for this
                self._writer.get().put("dispatched", event, time())
        else:
            self._note("dispatched", event, details={"wait": max(0.0, event.due.timestamp() - time())})

    def discarded(self, event: Event) -> None:
        self._note("discarded", event)

    def published(self, events: Sequence[Event], *, handler: str) -> None:
        self._note_all("published", events, handler)

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        self._note_all("stored", events, handler, details={"error": reason})

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self._note("lost", event, handler, details={"error": reason})

    def fanned_out(self, event: Event, *, handler: str, subscriptions: Sequence[str]) -> None:
        self._note("fanned_out", event, handler, details={"to": tuple(subscriptions)})

    def unmatched(self, event: Event, *, handler: str) -> None:
        self._note("unmatched", event, handler)

    def started(self, event: Event, *, subscription: str) -> None:
        self._note("started", event, None, subscription)

    def skipped(self, event: Event, *, subscription: str) -> None:
        self._note("skipped", event, None, subscription)

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self._note("succeeded", event, None, subscription)

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        self._note_all("failed", events, handler, subscription, {"error": reason_of(error)})

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        details = {"attempt": attempt, "wait": wait, "error": reason_of(error)}
        self._note("retried", event, None, subscription, details)

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        if event is not None:
            self._note("dead", event, None, subscription, {"attempt": attempts, "error": reason})

    def replayed(self, event: Event, *, subscription: str) -> None:
        self._note("replayed", event, None, subscription)

    def _note(
        self,
        what: Happening,
        event: Event,
        handler: str | None = None,
        subscription: str | None = None,
        details: Details | None = None,
    ) -> None:
        if under_test.stand_ins is None:  # what a test runs in memory is not to reach the journal's store
            self._writer.get().put(what, event, time(), handler, subscription, details)

    def _note_all(
        self,
        what: Happening,
        events: Sequence[Event],
        handler: str | None,
        subscription: str | None = None,
        details: Details | None = None,
    ) -> None:
        if len(events) == 1:
            self._note(what, events[0], handler, subscription, details)
        elif under_test.stand_ins is None:
            self._writer.get().put_all(what, events, time(), handler, subscription, details)


_recorders: dict[Hashable, Recorder] = {}
"""By the places of their journals: two handlers may each have made a store of one address."""


def recorder_of(journal: Journal) -> Recorder:
    """The one recorder of this process that writes to a journal's place."""
    return _recorders.setdefault(journal.place, Recorder(journal))


def flush_all(timeout: float = _AT_EXIT_SECONDS) -> None:
    """Write what waits for any journal, before the process ends."""
    for recorder in list(_recorders.values()):
        recorder.flush(timeout)


atexit.register(flush_all)
