"""What people do with a queue handler's events: pause, replay, discard, expire, look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fastapi_events import envelope
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.health import Health, HealthCheck
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.pausing import Pausing
from fastapi_events.handlers.task_queue.registration import Registering
from fastapi_events.handlers.task_queue.worker.replay import Pace
from fastapi_events.handlers.task_queue.worker.validation import validate
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.storage.catalogue import Pause
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.letters import LetterFilter, edited
from fastapi_events.storage.outbox import Entry, Outbox

_QUEUES_SECONDS = 5.0
"""How long a step may take that looks into the engine's own queues."""


class Operations(Registering):
    """The part of a queue handler that operators use, by commands or in Python."""

    worker: Worker
    """What the engine's workers call."""
    dead_letters: DeadLetters | None
    journal: Journal | None
    outbox: Outbox | None
    audit: Audit
    """Who did what to its events."""
    confirms_handled: bool
    _pausing: Pausing
    _health: HealthCheck
    _order: Order | None

    @property
    def longest_delay(self) -> float:
        """The longest delay of a message in seconds, as before a retry; the engine decides."""
        return self.engine.longest_delay

    def pause(
        self, subscription: str, *, duration: float | timedelta | None = None, by: str | None = None
    ) -> Pause:
        """Let a subscription start nothing new, on all workers, within two seconds.

        Its messages wait, and count no attempts; other subscriptions go on. A restart of workers keeps it
        paused.

        Parameters:
            subscription: Its name.
            duration: Seconds, or a `timedelta`, until it goes on by itself; None until it is resumed.
            by: Who pauses it, or why; the user and the machine if not given.

        Raises:
            ConfigurationError: When there is no such subscription, or the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.pause(subscription, duration=duration, by=by)

    def resume(self, subscription: str, *, by: str | None = None) -> bool:
        """Let a subscription go on. What has waited is looked at again within 20 seconds.

        Parameters:
            subscription: Its name.
            by: Who does it, for the audit trail; the user and the machine if not given.

        Returns:
            Whether it was paused.

        Raises:
            ConfigurationError: When there is no such subscription, or the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.resume(subscription, by=by)

    def paused(self) -> Sequence[Pause]:
        """The subscriptions that are paused, by name.

        Raises:
            ConfigurationError: When the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.paused()

    def replay(self, letters: Sequence[DeadLetter], *, by: str | None = None) -> None:
        """Send messages that were given up to their subscriptions once more; their attempts count anew.

        The letters stay where they are: once this has returned, tell their store that they are `replayed`.

        Raises:
            NotPublished: When the broker did not take them.
        """
        self.worker.dead_letters.replay(letters)
        self.audit.note("replayed", _ids_of(letters), count=len(letters), by=by)

    def replay_all(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        matching: LetterFilter | None = None,
        rate: float | None = None,
        max_in_flight: int | None = None,
        by: str | None = None,
    ) -> Iterator[int]:
        """Replay dead letters step by step, so that it can be interrupted and begun again.

        A letter is discarded once the broker has confirmed its message. Whatever ends this halfway, what is
        left are the letters that have not been replayed; at most a step of them is sent twice, with the same
        ids. Letters that are kept meanwhile, because they failed again, are left, however soon that was.

        Parameters:
            subscription: Only letters to this subscription.
            event_name: Only letters about this event.
            matching: Only letters that this filter means.
            rate: So many a second, at most.
            max_in_flight: So many at most that are replayed and whose functions have not ended.
            by: Who does it, for the audit trail; the user of this process if not given.

        Returns:
            How many were replayed, after each step.

        Raises:
            ConfigurationError: When the handler has no store of dead letters, or no journal to tell what is
                in flight.
            NotPublished: When the broker did not take them.
            StorageError: When the store fails.
        """
        wanted = matching or LetterFilter()
        wanted = replace(
            wanted,
            subscription=subscription or wanted.subscription,
            event_name=event_name or wanted.event_name,
        )
        steps = self.worker.dead_letters.replay_all(wanted, Pace(rate, max_in_flight, self.journal))
        return self._counted(steps, "replayed", wanted, by)

    def discard(
        self, letters: Sequence[DeadLetter], *, matching: LetterFilter | None = None, by: str | None = None
    ) -> int:
        """Remove dead letters for ever, and count those that were there.

        Parameters:
            matching: The filter that has chosen them, for the audit trail.
            by: Who does it; the user of this process if not given.

        Raises:
            ConfigurationError: When the handler has no store of dead letters.
        """
        count = self.worker.dead_letters.store.discard([each.id for each in letters])
        subject = _ids_of(letters) if matching is None else str(matching)
        self.audit.note("discarded", subject, count=count, by=by)
        return count

    def discard_all(
        self, matching: LetterFilter, *, rate: float | None = None, by: str | None = None
    ) -> Iterator[int]:
        """Remove dead letters for ever, step by step, so that it can be interrupted.

        Parameters:
            matching: Which are meant; those that are kept meanwhile are left.
            rate: So many a second, at most.
            by: Who does it, for the audit trail; the user of this process if not given.

        Returns:
            How many were removed, after each step.

        Raises:
            ConfigurationError: When the handler has no store of dead letters.
            StorageError: When the store fails.
        """
        steps = self.worker.dead_letters.discard_all(matching, Pace(rate, None, None))
        return self._counted(steps, "discarded", matching, by)

    def expire(self, before: datetime, *, by: str | None = None) -> int:
        """Remove the handler's dead letters that were given up before a time, for ever, and count them.

        Parameters:
            before: With a time zone.
            by: Who does it, for the audit trail; the user of this process if not given.

        Raises:
            ConfigurationError: When the handler has no store of dead letters.
            StorageError: When the store fails.
            ValueError: When the time has no time zone.
        """
        old = LetterFilter(before=before)
        count = self.worker.dead_letters.store.expire(before, handler=self.name)
        if count:
            self.audit.note("expired", str(old), count=count, by=by)
        return count

    def queued_letters(self) -> Sequence[DeadLetter]:
        """The dead letters that the engine keeps by its own means, since the store was away or there is none.

        They are only looked at, and left out where that would do them harm: on quorum queues.

        Raises:
            Exception: What the broker's client raises, when it does not answer.
        """
        with self.engine.dead_queues(self.name, self.queues, timeout=_QUEUES_SECONDS) as queued:
            return [each.letter for each in queued]

    def adopt(self, *, by: str | None = None) -> Iterator[int]:
        """Take the dead letters that the engine keeps by its own means into the store, one by one.

        A letter is removed from the engine's queue once the store has it. Whatever ends this halfway, what is
        left may be adopted by the next call. One that the store has already stays as it is there.

        Parameters:
            by: Who does it, for the audit trail; the user of this process if not given.

        Returns:
            How many were adopted, after each of them: 1.

        Raises:
            ConfigurationError: When the handler has no store of dead letters.
            StorageError: When the store fails.
            Exception: What the broker's client raises, when it does not answer.
        """
        return self._counted(self._adopted(), "adopted", LetterFilter(), by)

    def _adopted(self) -> Iterator[int]:
        store = self.worker.dead_letters.store
        with self.engine.dead_queues(self.name, self.queues, timeout=_QUEUES_SECONDS, to_take=True) as queued:
            for each in queued:
                if store.get(each.letter.id) is None:
                    store.add(each.letter)
                queued.remove(each)
                yield 1

    def replay_edited(self, letter: DeadLetter, payload: Any, *, by: str | None = None) -> None:
        """Replay a letter with another payload, and remove it from its store.

        Parameters:
            payload: As JSON values; where it says `***`, a sensitive value stays what it was.
            by: Who does it, for the audit trail; the user of this process if not given.

        Raises:
            ConfigurationError: When the store does not allow it, or the letter is not about one event.
            InvalidPayload: When it does not fit the schema of the event's name.
            NotPublished: When the broker did not take it.
        """
        if self.dead_letters is None or not self.dead_letters.allows_editing:
            raise ConfigurationError(
                "The store does not allow letters to be edited; make it with edit_letters=True."
            )
        changed = edited(letter, payload)
        [sealed] = envelope.read_batch(changed.argument)
        validate(envelope.unseal(sealed))
        self.worker.dead_letters.replay([changed])
        self.dead_letters.replayed([letter])
        self.audit.note("edited and replayed", letter.id, by=by)

    def cancel(self, entries: Sequence[Entry], *, by: str | None = None) -> int:
        """Remove events from the outbox that nobody shall get any more, and count those that were there.

        Parameters:
            by: Who does it, for the audit trail; the user of this process if not given.

        Raises:
            ConfigurationError: When the handler has no outbox.
            StorageError: When the outbox fails.
        """
        if self.outbox is None:
            raise ConfigurationError(f"{self.name} has no outbox: outbox=…")
        count = self.outbox.discard(entries)
        self.audit.note("cancelled", ", ".join(each.id for each in entries), count=count, by=by)
        return count

    def _counted(
        self, steps: Iterator[int], what: str, matching: LetterFilter, by: str | None
    ) -> Iterator[int]:
        done = 0
        try:
            for count in steps:
                done += count
                yield count
        finally:
            if done:
                self.audit.note(what, str(matching), count=done, by=by)

    async def health(self) -> Health:
        """How the handler is in this process, found out within its `flush_deadline`."""
        return await self._health.health()

    def look_after_lanes(self) -> int:
        """Tell workers once more of events with an ordering key that nobody has come for.

        Returns:
            Of how many lanes they were told.

        Raises:
            StorageError: When the lanes cannot be asked.
        """
        return 0 if self._order is None else self._order.look()

    def diagnose(self) -> Iterable[Finding]:
        """What `fastapi-events doctor` should know of the engine and its broker."""
        return self.engine.diagnose(
            list(self.subscriptions), self.queues, confirms_handled=self.confirms_handled
        )


def _ids_of(letters: Sequence[DeadLetter]) -> str:
    named = ", ".join(each.id for each in letters[:3])
    return f"{named} and {len(letters) - 3} more" if len(letters) > 3 else named
