"""What a process has to tell a journal: gathered in a bounded buffer, and written by a thread."""

from __future__ import annotations

import itertools
import logging
import operator
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic_core import to_json

from fastapi_events import codec, green_threads, redaction
from fastapi_events.checks import counted
from fastapi_events.errors import FastapiEventError
from fastapi_events.event import Event, wire_name
from fastapi_events.process_loop import running_loop
from fastapi_events.storage.histories import BITS, Happening, History
from fastapi_events.storage.journal import (
    Count,
    CountKey,
    Histogram,
    Journal,
    Record,
    bucket_of,
    count_of,
    cut_payload,
    is_short,
    record_text,
)
from fastapi_events.subscriptions.subscription import Subscriptions

logger: logging.Logger = logging.getLogger(__name__)

MAX_BUFFERED = 10_000
"""Records that may wait for the journal."""

_EVERY_SECONDS = 0.2
_BATCH = 1_000
_LONGEST_PAUSE_SECONDS = 30.0
_PRUNE_EVERY_SECONDS = 60.0
_SAID_EVERY_SECONDS = 60.0

_MOST_REFUSALS_IN_A_ROW = 20
"""A store that refuses more than that, one after the other, is taken to be away."""

_MOST_NAMES = 1_000
_OTHER_NAMES = "(other)"
"""Names may come from anywhere, and their number has no bound; that of the counts shall have one."""

_Measured: TypeAlias = tuple[Histogram, float]

_Head: TypeAlias = tuple[str, str]


class _Kind(NamedTuple):
    """What records of one kind, of events of one name, have in common within a minute.

    Parameters:
        head: How their JSON begins.
        bit: Of what happened.
        minute: Which one.
        counted: Where they are counted.
    """

    head: str
    bit: int
    minute: int
    counted: CountKey


Details: TypeAlias = Mapping[str, Any]
"""Fields of a `Record`."""

_Seen: TypeAlias = tuple[int, Happening, Event, float, str | None, str | None, Details | None]
"""What an observer was told, as it was: a number, what, the event, when, the handler, the subscription, and
what else is known. All is looked at later, by the thread: who waits for a response pays for a tuple."""


class Recorded(Protocol):
    """A handler whose events a journal tells of."""

    @property
    def subscriptions(self) -> Subscriptions:
        """The functions that this process has."""

    @property
    def has_worker_here(self) -> bool:
        """Whether this process is one of its workers."""

    @property
    def name(self) -> str:
        """Its name."""

    queue: str
    """Where the messages of subscriptions wait that name no queue of their own."""


class Source(Protocol):
    """Whose events are written."""

    @property
    def handlers(self) -> Iterable[Recorded]:
        """All handlers of this process that have the journal."""

    keeps_payloads: bool
    """Whether payloads are to be kept."""


class JournalWriter:
    """The buffer and the thread of one process.

    Parameters:
        journal: Where it writes.
        source: Whose events.
    """

    def __init__(self, journal: Journal, source: Source) -> None:
        self._source = source
        self._journal = journal
        self.is_wanted: bool = True
        # Appended to by any thread, green or real, and by signal handlers: no lock reaches all of them.
        self._seen: deque[_Seen] = deque(maxlen=MAX_BUFFERED)
        self._numbers = itertools.count(1)
        self._has_thread = False
        # The rest of the time belongs to the process's work.
        self._working = threading.Lock()
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._heads: dict[tuple[str, str | None, str | None], _Head] = {}
        self._last_number = self._taken = 0
        self._waiting: dict[str, History] = {}
        self._records = 0
        self._kinds: dict[tuple[str, str | None, str | None, str], _Kind] = {}
        self._at, self._at_text, self._minute = 0.0, "0.0", 0
        self._counts: dict[CountKey, int] = {}
        self._names: set[str] = set()
        self._short_names: set[str] = set()
        self._began: dict[tuple[str, str], float] = {}
        self._not_written = self._refused = 0
        self._failures = 0
        self._not_before = 0.0
        self._said_at = -_SAID_EVERY_SECONDS
        self._said_dropped = 0
        self._prune_at = time.monotonic() + random.uniform(0, _PRUNE_EVERY_SECONDS)  # noqa: S311 - no secret

    @property
    def dropped(self) -> int:
        """Records that have not been written, and will not be."""
        return max(0, self._last_number - self._taken) + self._not_written

    def put(
        self,
        what: Happening,
        event: Event,
        at: float,
        handler: str | None = None,
        subscription: str | None = None,
        details: Details | None = None,
    ) -> None:
        """Let something be written; called where it happens, and quick."""
        self._seen.append((next(self._numbers), what, event, at, handler, subscription, details))
        if not self._has_thread:
            self._start()

    def put_all(
        self,
        what: Happening,
        events: Iterable[Event],
        at: float,
        handler: str | None,
        subscription: str | None = None,
        details: Details | None = None,
    ) -> None:
        """Let the same be written of several events."""
        # The events first: `zip` asks the numbers for none then that nobody gets.
        numbered = zip(events, self._numbers, strict=False)
        self._seen.extend(
            [(number, what, event, at, handler, subscription, details) for event, number in numbered]
        )
        if not self._has_thread:
            self._start()

    def _start(self) -> None:
        if green_threads.are_threads_green() and running_loop() is not None:
            return  # a real thread, in which a green one would never run; a later record starts it
        self._has_thread = True
        threading.Thread(target=self._serve, name="fastapi-events-journal", daemon=True).start()

    def _serve(self) -> None:
        while self.is_wanted:
            time.sleep(_EVERY_SECONDS / 2)  # what comes meanwhile is written at once
            self.work(is_due=False)
            time.sleep(_EVERY_SECONDS / 2)
            self.work()
        self.work()

    def work(self, timeout: float = -1, *, is_due: bool = True) -> None:
        """Write what waits, unless the journal was away a moment ago.

        Parameters:
            timeout: Seconds to wait for another thread that is at it.
            is_due: Write little, too; else it waits for more, and only the buffer is emptied.
        """
        if not self._working.acquire(timeout=timeout):
            return
        try:
            self._take()
            if not is_due and self._records < _BATCH:
                return
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

    def _say(self, text: str, *subjects: object) -> bool:
        """Log a warning, unless there was one a moment ago."""
        now = time.monotonic()
        if now - self._said_at < _SAID_EVERY_SECONDS:
            return False
        self._said_at = now
        logger.warning(text, *subjects)
        return True

    # Writing

    def _write(self) -> None:
        while self._waiting or self._counts:
            batch = self._batch()
            counts = [count_of(key, count) for key, count in self._counts.items()]
            try:
                self._journal.put(batch, counts)
            except Exception:
                if not self._takes_the_newest(batch, has_counts=bool(counts)):
                    raise
                self._write_what_is_taken(batch, counts)
            self._counts.clear()
            if len(batch) == len(self._waiting):
                self._waiting.clear()
                self._records = 0
            for each in batch:
                self._forget(each)

    def _batch(self) -> list[History]:
        batch: list[History] = []
        size = 0
        for each in self._waiting.values():
            size += len(each.texts)
            if batch and size > _BATCH:
                break
            batch.append(each)
        return sorted(batch, key=operator.attrgetter("id"))

    def _takes_the_newest(self, batch: list[History], *, has_counts: bool) -> bool:
        """Whether the store takes something else than a batch that has failed, so that it is not away."""
        newest = next(reversed(self._waiting.values()), None)
        if newest is None or (len(self._waiting) == 1 and not has_counts):
            return False
        try:
            self._journal.put([newest])
        except Exception:
            return False
        if newest in batch:
            batch.remove(newest)
        self._forget(newest)
        return True

    def _write_what_is_taken(self, batch: list[History], counts: list[Count]) -> None:
        """Write what the store takes of a batch, and leave out what it refuses, which others wait behind.

        Raises:
            Exception: The store's, when it seems to be away by now.
        """
        left: list[tuple[Sequence[History], Sequence[Count]]] = [((), counts), (batch, ())]
        in_a_row = 0
        while left:
            histories, sums = left.pop()
            try:
                self._journal.put(histories, sums)
            except Exception as error:
                size = len(histories) + len(sums)
                if size > 1:
                    half = size // 2
                    left += [(histories[half:], sums[half:]), (histories[:half], sums[:half])]
                    continue
                in_a_row += 1
                if in_a_row > _MOST_REFUSALS_IN_A_ROW:
                    raise
                self._refused += 1
                self._not_written += sum(len(each.texts) for each in histories)
                self._say("The journal's store refuses what happened to %s, the last: %s",
                          counted(self._refused, "event"), error)  # fmt: skip
            else:
                in_a_row = 0
            for each in histories:
                self._forget(each)

    def _forget(self, history: History) -> None:
        if self._waiting.pop(history.id, None) is not None:
            self._records -= len(history.texts)

    # Gathering

    def _take(self) -> None:
        """Make text of what was seen; the events themselves, and their payloads, are let go."""
        seen, add, last, taken = self._seen, self._add, self._last_number, 0
        while seen:
            number, what, event, at, handler, subscription, details = seen.popleft()
            if number > last:
                last = number
            taken += 1
            try:
                add(what, event, at, handler, subscription, details)
            except Exception as error:  # of a name or payload that is not what it should be; others go on
                self._not_written += 1
                logger.debug("What happened to an event is not recorded: %s", error)
            if self._records > MAX_BUFFERED:
                oldest = next(iter(self._waiting.values()))
                self._not_written += len(oldest.texts)
                self._forget(oldest)
        self._last_number = last
        self._taken += taken

    def _add(
        self,
        what: Happening,
        event: Event,
        at: float,
        handler: str | None,
        subscription: str | None,
        details: Details | None,
    ) -> None:
        id_ = event._id or event.id  # noqa: SLF001 - our own
        history = self._waiting.get(id_) or self._history(event, id_, at)
        if at != self._at:  # events of a flush share theirs
            self._at, self._at_text, self._minute = at, f"{at:.6f}", int(at) // 60 * 60
        kind = self._kinds.get((what, handler, subscription, history.name))
        if kind is None or kind.minute != self._minute:
            kind = self._kind(what, handler, subscription, history.name)
        measured = None if subscription is None else self._measured(what, event, id_, at, subscription)
        if details:
            said = details if history.cause is None else {**details, "cause": history.cause}
            text = self._rare_text(what, event, at, handler, subscription, said, measured)
        else:
            cause = "" if history.cause is None else f',"cause":{to_json(history.cause).decode()}'
            numbers = "" if measured is None else f',"{measured[0]}":{measured[1]:.6f}'
            text = f'{kind.head},"at":{self._at_text}{numbers}{cause}}}'
        if self._source.keeps_payloads and what in ("dispatched", "started"):
            history.payload = history.payload or self._payload_of(event)
        history.add(kind.bit, at, text)
        self._waiting[history.id] = history
        self._records += 1
        self._count(kind.counted)
        if measured is not None:
            self._count((*kind.counted[:-1], bucket_of(*measured)))

    def _history(self, event: Event, id_: str, at: float) -> History:
        """What is said once about an event, by the rules of a `Record`."""
        headers = event._headers or {}  # noqa: SLF001 - our own; asked by its name it would be made
        cause, correlation = headers.get("causationid"), str(headers.get("correlationid") or id_)
        name, key = wire_name(event[0]), event.ordering_key or None
        others = "" if cause is key is None and correlation == id_ else f"{cause}{correlation}{key}"
        if name in self._short_names and is_short(f"{id_}{others}"):  # as of most
            return History(id_, name, correlation, cause, at, key)
        cut = Record(
            event_id=id_, event_name=name, what="dispatched", at=at, process="", cause=cause,
            correlation=correlation, ordering_key=key,
        )  # fmt: skip
        if cut.event_name == name and len(self._short_names) < _MOST_NAMES:
            self._short_names.add(name)
        known = self._waiting.get(cut.event_id)
        return known or History(
            cut.event_id, cut.event_name, cut.correlation, cut.cause, at, cut.ordering_key
        )

    def _measured(
        self, what: Happening, event: Event, id_: str, at: float, subscription: str
    ) -> _Measured | None:
        """How old the event was when a function began with it, or how long that took."""
        if what == "started":
            if len(self._began) >= MAX_BUFFERED:
                self._began.pop(next(iter(self._began)))  # the one that has been running longest
            self._began[id_, subscription] = at
            return "age", max(0.0, at - event.timestamp)
        if what in ("succeeded", "failed"):
            began = self._began.pop((id_, subscription), None)
            return None if began is None else ("duration", max(0.0, at - began))
        return None

    def _rare_text(
        self,
        what: Happening,
        event: Event,
        at: float,
        handler: str | None,
        subscription: str | None,
        details: Details,
        measured: _Measured | None,
    ) -> str:
        said = dict(details) if measured is None else {**details, measured[0]: measured[1]}
        if "error" in said:
            said["error"] = redaction.scrubbed(said["error"], [event])
        owner, queue = self._owner_of(subscription)
        return record_text(
            Record(
                event_id="", event_name="", what=what, at=at, process=self._process,
                handler=handler or owner, subscription=subscription, queue=queue, **said,
            )
        )  # fmt: skip

    def _kind(self, what: Happening, handler: str | None, subscription: str | None, name: str) -> _Kind:
        """What records of a kind have in common, this minute."""
        known = self._heads.get((what, handler, subscription))
        head, owner = known or self._head(what, handler, subscription)
        counted_name = name if name in self._names or len(self._names) < _MOST_NAMES else _OTHER_NAMES
        self._names.add(counted_name)
        counted = self._minute, counted_name, owner, subscription or "", what
        kind = _Kind(head, BITS[what], self._minute, counted)
        if known is not None:
            if len(self._kinds) >= _MOST_NAMES:
                self._kinds.clear()
            self._kinds[what, handler, subscription, name] = kind
        return kind

    def _head(self, what: Happening, handler: str | None, subscription: str | None) -> _Head:
        """How the JSON of a record begins of which only numbers are its own, and whose function it is."""
        owner, queue = self._owner_of(subscription)
        cut = Record(
            event_id="", event_name="", what=what, at=0.0, process=self._process, handler=handler or owner,
            subscription=subscription, queue=queue,
        )  # fmt: skip
        said = {name: getattr(cut, name) for name in ("what", "process", "handler", "subscription", "queue")}
        head = to_json({name: value for name, value in said.items() if value is not None}).decode()[:-1]
        found = head, "" if subscription is None else handler or owner or ""
        if (subscription is None or queue is not None) and len(self._heads) < _MOST_NAMES:
            self._heads[what, handler, subscription] = found
        return found

    def _owner_of(self, subscription: str | None) -> tuple[str | None, str | None]:
        """The handler whose function it is, and the queue of its messages.

        Handlers of two engines may have functions of one name: it is that whose worker this process is.
        """
        if subscription is not None:
            handlers = sorted(self._source.handlers, key=lambda each: not each.has_worker_here)
            for handler in handlers:
                found = handler.subscriptions.named(subscription)
                if found is not None:
                    return handler.name, str(found.queue or handler.queue)
        return None, None

    def _payload_of(self, event: Event) -> str | None:
        try:
            name = wire_name(event.name)
            text = event.encoded or codec.encode(event.full_payload, event_name=name, sensitive=[])
            if redaction.hides(event):
                text = to_json(redaction.shown_of(event, codec.decode(text))).decode()
        except FastapiEventError:  # it stays in this process, and need not be able to travel
            return None
        return cut_payload(text)

    def _count(self, key: CountKey) -> None:
        counts = self._counts
        try:
            counts[key] += 1
        except KeyError:
            if len(counts) < MAX_BUFFERED:  # else the journal has been away for hours
                counts[key] = 1
