"""The thread that writes what a process has to tell a journal."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from fastapi_events import green_threads
from fastapi_events.checks import counted
from fastapi_events.event import Event
from fastapi_events.journal_buffer import BATCH, MAX_BUFFERED, Details, JournalBuffer, Source
from fastapi_events.process_loop import running_loop
from fastapi_events.storage.histories import Happening, History
from fastapi_events.storage.journal import Count, Journal, count_of

logger: logging.Logger = logging.getLogger(__name__)

_EVERY_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 30.0
_PRUNE_EVERY_SECONDS = 60.0
_SAID_EVERY_SECONDS = 60.0

_MOST_REFUSALS_IN_A_ROW = 20
"""A store that refuses more than that, one after the other, is taken to be away."""

_Seen: TypeAlias = tuple[int, Happening, Event, float, str | None, str | None, Details | None]
"""What an observer was told, as it was: a number, what, the event, when, the handler, the subscription, and
what else is known. All is looked at later, by the thread: who waits for a response pays for a tuple."""


class JournalWriter:
    """Writes what one process has to tell, in a thread.

    Parameters:
        journal: Where it writes.
        source: Whose events.
    """

    def __init__(self, journal: Journal, source: Source) -> None:
        self._journal = journal
        self._buffer = JournalBuffer(source)
        self.is_wanted: bool = True
        # Appended to by any thread, green or real, and by signal handlers: no lock reaches all of them.
        self._seen: deque[_Seen] = deque(maxlen=MAX_BUFFERED)
        self._numbers = itertools.count(1)
        self._has_thread = False
        # The rest of the time belongs to the process's work.
        self._working = threading.Lock()
        self._last_number = self._taken = 0
        self._refused = 0
        self._failures = 0
        self._not_before = 0.0
        self._said_at = -_SAID_EVERY_SECONDS
        self._said_dropped = 0
        self._prune_at = time.monotonic() + random.uniform(0, _PRUNE_EVERY_SECONDS)  # noqa: S311 - no secret

    @property
    def dropped(self) -> int:
        """Records that have not been written, and will not be."""
        return max(0, self._last_number - self._taken) + self._buffer.not_written

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
            if not is_due and self._buffer.records < BATCH:
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

    def _take(self) -> None:
        """Gather what was seen; the events themselves, and their payloads, are let go."""
        seen, add, last, taken = self._seen, self._buffer.add, self._last_number, 0
        while seen:
            number, what, event, at, handler, subscription, details = seen.popleft()
            if number > last:
                last = number
            taken += 1
            try:
                add(what, event, at, handler, subscription, details)
            except Exception as error:  # of a name or payload that is not what it should be; others go on
                self._buffer.not_written += 1
                logger.debug("What happened to an event is not recorded: %s", error)
        self._last_number = last
        self._taken += taken

    def _write(self) -> None:
        while self._buffer.waiting or self._buffer.counts:
            batch = self._buffer.batch()
            counts = [count_of(key, count) for key, count in self._buffer.counts.items()]
            try:
                self._journal.put(batch, counts)
            except Exception:
                if not self._takes_the_newest(batch, has_counts=bool(counts)):
                    raise
                self._write_what_is_taken(batch, counts)
            self._buffer.counts.clear()
            if len(batch) == len(self._buffer.waiting):
                self._buffer.waiting.clear()
                self._buffer.records = 0
            for each in batch:
                self._buffer.forget(each)

    def _takes_the_newest(self, batch: list[History], *, has_counts: bool) -> bool:
        """Whether the store takes something else than a batch that has failed, so that it is not away."""
        newest = next(reversed(self._buffer.waiting.values()), None)
        if newest is None or (len(self._buffer.waiting) == 1 and not has_counts):
            return False
        try:
            self._journal.put([newest])
        except Exception:
            return False
        if newest in batch:
            batch.remove(newest)
        self._buffer.forget(newest)
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
                self._buffer.not_written += sum(len(each.texts) for each in histories)
                self._say("The journal's store refuses what happened to %s, the last: %s",
                          counted(self._refused, "event"), error)  # fmt: skip
            else:
                in_a_row = 0
            for each in histories:
                self._buffer.forget(each)
