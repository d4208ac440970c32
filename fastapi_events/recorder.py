"""Writes what happens to events in this process into a journal, from a thread of its own.

Nothing waits for it. What is to be written stands in a bounded buffer, whose oldest part is dropped, and
counted, where the journal does not keep up or is away.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import random
import socket
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from pydantic_core import to_json

from fastapi_events import codec, green_threads, redaction, under_test
from fastapi_events.checks import counted
from fastapi_events.errors import FastapiEventError, reason_of
from fastapi_events.event import Event, wire_name
from fastapi_events.lifecycle import Lifecycle, forget, observe
from fastapi_events.per_process import PerProcess
from fastapi_events.process_loop import running_loop
from fastapi_events.storage.journal import Count, Happening, Journal, Record, bucket_of
from fastapi_events.subscriptions.subscription import Subscriptions

logger: logging.Logger = logging.getLogger(__name__)

MAX_BUFFERED = 10_000
"""Records that may wait for the journal."""

_EVERY_SECONDS = 0.5
_BATCH = 1_000
_LONGEST_PAUSE_SECONDS = 30.0
_PRUNE_EVERY_SECONDS = 60.0
_AT_EXIT_SECONDS = 2.0
_SAID_EVERY_SECONDS = 60.0

_MOST_NAMES = 1_000
_OTHER_NAMES = "(other)"
"""Names may come from anywhere, and their number has no bound; that of the counts shall have one."""


class Recorded(Protocol):
    """A handler whose events a journal tells of."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The functions that this process has."""

    queue: str
    """Where the messages of subscriptions wait that name no queue of their own."""


Details: TypeAlias = Mapping[str, Any]
"""Fields of a `Record`."""

_Seen: TypeAlias = tuple[int, Happening, Event, float, str | None, Details]
"""What an observer was told, as it was: a number, what, the event, when, the subscription, and what else is
known. All is looked at later, by the thread: who waits for a response pays for a tuple."""


class Recorder(Lifecycle):
    """The one observer that writes into a journal, for all handlers of this process that have it.

    Parameters:
        journal: Where it writes.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.handlers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.keeps_payloads: bool = False
        self._writer = PerProcess(lambda: _Writer(self))
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
            self._note("dispatched", event)
        else:
            self._note("dispatched", event, wait=max(0.0, event.due.timestamp() - time.time()))

    def discarded(self, event: Event) -> None:
        self._note("discarded", event)

    def published(self, events: Sequence[Event], *, handler: str) -> None:
        self._note_all("published", events, handler=handler)

    def stored(self, events: Sequence[Event], *, handler: str, reason: str) -> None:
        self._note_all("stored", events, handler=handler, error=reason)

    def lost(self, event: Event, *, handler: str, reason: str) -> None:
        self._note("lost", event, handler=handler, error=reason)

    def fanned_out(self, event: Event, *, handler: str, subscriptions: Sequence[str]) -> None:
        self._note("fanned_out", event, handler=handler, to=tuple(subscriptions))

    def unmatched(self, event: Event, *, handler: str) -> None:
        self._note("unmatched", event, handler=handler)

    def started(self, event: Event, *, subscription: str) -> None:
        self._note("started", event, subscription)

    def skipped(self, event: Event, *, subscription: str) -> None:
        self._note("skipped", event, subscription)

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self._note("succeeded", event, subscription)

    def failed(
        self, events: Sequence[Event], *, handler: str, subscription: str | None, error: BaseException
    ) -> None:
        self._note_all("failed", events, subscription, handler=handler, error=reason_of(error))

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self._note("retried", event, subscription, attempt=attempt, wait=wait, error=reason_of(error))

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        if event is not None:
            self._note("dead", event, subscription, attempt=attempts, error=reason)

    def replayed(self, event: Event, *, subscription: str) -> None:
        self._note("replayed", event, subscription)

    def _note(self, what: Happening, event: Event, subscription: str | None = None, **details: Any) -> None:
        if under_test.stand_ins is None:  # what a test runs in memory is not to reach the journal's store
            self._writer.get().put(what, event, subscription, details)

    def _note_all(
        self, what: Happening, events: Sequence[Event], subscription: str | None = None, **details: Any
    ) -> None:
        if under_test.stand_ins is None:
            put = self._writer.get().put
            for event in events:
                put(what, event, subscription, details)


class _Writer:
    """The buffer and the thread of one process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._journal = recorder.journal
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self.is_wanted = True
        # Appended to by any thread, green or real, and by signal handlers: no lock reaches all of them.
        self._seen: deque[_Seen] = deque(maxlen=MAX_BUFFERED)
        self._numbers = itertools.count(1)
        self._has_thread = False
        # The rest belongs to whoever works.
        self._working = threading.Lock()
        self._last_number = self._taken = 0
        self._records: deque[Record] = deque(maxlen=MAX_BUFFERED)
        self._counts: Counter[tuple[int, str, str, str]] = Counter()
        self._names: set[str] = set()
        self._began: dict[tuple[str, str], float] = {}
        self._queues: dict[str, str] = {}
        self._not_written = 0
        self._failures = 0
        self._not_before = 0.0
        self._said_at = -_SAID_EVERY_SECONDS
        self._said_dropped = 0
        self._prune_at = time.monotonic() + random.uniform(0, _PRUNE_EVERY_SECONDS)  # noqa: S311 - no secret

    @property
    def dropped(self) -> int:
        """Records that have not been written, and will not be."""
        return max(0, self._last_number - self._taken) + self._not_written

    def put(self, what: Happening, event: Event, subscription: str | None, details: Details) -> None:
        """Let something be written; called where it happens, and quick."""
        self._seen.append((next(self._numbers), what, event, time.time(), subscription, details))
        if not self._has_thread:
            self._start()

    def _start(self) -> None:
        if green_threads.are_threads_green() and running_loop() is not None:
            return  # a real thread, in which a green one would never run; a later record starts it
        self._has_thread = True
        threading.Thread(target=self._serve, name="fastapi-events-journal", daemon=True).start()

    def _serve(self) -> None:
        while self.is_wanted:
            time.sleep(_EVERY_SECONDS)  # what comes meanwhile is written at once
            self.work()
        self.work()

    def work(self, timeout: float = -1) -> None:
        """Write what waits, unless the journal was away a moment ago."""
        if not self._working.acquire(timeout=timeout):
            return
        try:
            self._take()
            now = time.monotonic()
            if now < self._not_before:
                return
            try:
                self._write()
                if now >= self._prune_at:
                    self._prune_at = now + _PRUNE_EVERY_SECONDS
                    self._journal.prune()
            except Exception as error:  # the store's; history is all that it costs
                self._failures += 1
                self._not_before = time.monotonic() + min(2.0**self._failures, _LONGEST_PAUSE_SECONDS)
                self._say("The journal cannot be written: %s", error)
            else:
                self._failures = 0
            dropped = self.dropped
            if dropped > self._said_dropped and self._say(
                "The journal has dropped %s.", counted(dropped, "record")
            ):
                self._said_dropped = dropped
        finally:
            self._working.release()

    def _say(self, text: str, subject: object) -> bool:
        """Log a warning, unless there was one a moment ago."""
        now = time.monotonic()
        if now - self._said_at < _SAID_EVERY_SECONDS:
            return False
        self._said_at = now
        logger.warning(text, subject)
        return True

    def _write(self) -> None:
        while self._records or self._counts:
            batch = list(itertools.islice(self._records, _BATCH))
            counts = [
                Count(minute=minute, event_name=name, subscription=subscription, measure=measure, count=count)
                for (minute, name, subscription, measure), count in self._counts.items()
            ]
            self._journal.write(batch, counts)
            self._counts.clear()
            for _ in batch:
                self._records.popleft()

    def _take(self) -> None:
        """Make records of what was seen; the events themselves, and their payloads, are let go."""
        while self._seen:
            number, what, event, at, subscription, details = self._seen.popleft()
            self._last_number = max(self._last_number, number)
            self._taken += 1
            try:
                record = self._record(what, event, at, subscription, details)
                self._count(record)
            except Exception as error:  # of a name or payload that is not what it should be; others go on
                self._not_written += 1
                logger.debug("What happened to an event is not recorded: %s", error)
                continue
            if len(self._records) == MAX_BUFFERED:
                self._not_written += 1
            self._records.append(record)

    def _record(
        self, what: Happening, event: Event, at: float, subscription: str | None, details: Details
    ) -> Record:
        headers = event._headers or {}  # noqa: SLF001 - our own; asked by its name it would be made
        id_ = event.id
        age = duration = queue = None
        if subscription is not None:
            queue = self._queue_of(subscription)
            key = id_, subscription
            if what == "started":
                age = max(0.0, at - event.dispatched_at.timestamp())
                if len(self._began) >= MAX_BUFFERED:
                    self._began.pop(next(iter(self._began)))  # the one that has been running longest
                self._began[key] = at
            elif what in ("succeeded", "failed"):
                began = self._began.pop(key, None)
                duration = None if began is None else max(0.0, at - began)
        if "error" in details:
            details = {**details, "error": redaction.scrubbed(details["error"], [event])}
        return Record(
            event_id=id_, event_name=wire_name(event[0]), what=what, at=at, process=self._process,
            subscription=subscription, queue=queue, duration=duration, age=age,
            cause=headers.get("causationid"), correlation=str(headers.get("correlationid") or id_),
            payload=self._payload_of(event) if what in ("dispatched", "started") else None, **details,
        )  # fmt: skip

    def _queue_of(self, subscription: str) -> str | None:
        queue = self._queues.get(subscription)
        if queue is None:
            for handler in tuple(self._recorder.handlers):
                found = handler.subscriptions.named(subscription)
                if found is not None:
                    queue = self._queues[subscription] = str(found.queue or handler.queue)
                    break
        return queue

    def _payload_of(self, event: Event) -> str | None:
        if not self._recorder.keeps_payloads:
            return None
        try:
            name = wire_name(event.name)
            text = event.encoded or codec.encode(event.full_payload, event_name=name, sensitive=[])
            if redaction.hides(event):
                return to_json(redaction.shown_of(event, codec.decode(text))).decode()
        except FastapiEventError:  # it stays in this process, and need not be able to travel
            return None
        return text

    def _count(self, record: Record) -> None:
        name = record.event_name
        if name not in self._names:
            if len(self._names) >= _MOST_NAMES:
                name = _OTHER_NAMES
            self._names.add(name)
        minute, subscription = int(record.at // 60) * 60, record.subscription or ""
        if len(self._counts) >= MAX_BUFFERED:
            return  # the journal has been away for hours
        self._counts[minute, name, subscription, record.what] += 1
        if record.duration is not None:
            self._counts[minute, name, subscription, bucket_of("duration", record.duration)] += 1
        if record.age is not None:
            self._counts[minute, name, subscription, bucket_of("age", record.age)] += 1


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
