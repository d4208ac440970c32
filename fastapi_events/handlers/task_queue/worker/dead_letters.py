"""Dead letters: where they are kept, who no longer waits for their events, and how they are replayed."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import TypedDict

from fastapi_events import clock, codec, envelope
from fastapi_events.errors import ConfigurationError, NotPublished, StorageError, UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import (
    FAN_OUT_TURN,
    MAX_BYTES_PER_MESSAGE,
    Message,
    events_in,
    is_batch,
    not_resent,
)
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.outcome import NO_RETRY, Attempt, letter_of
from fastapi_events.handlers.task_queue.worker.receipts import Receipts
from fastapi_events.handlers.task_queue.worker.replay import Pace
from fastapi_events.leases import until_written
from fastapi_events.lifecycle import Lifecycle, heard, tell
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.letters import LetterFilter

logger: logging.Logger = logging.getLogger(__name__)

UNREADABLE = "fastapi_events.unreadable"
"""The subscription that the dead letter of an unreadable message names; there is none."""

_STORE_SECONDS = 3.0
"""How long a letter waits for its store, unless that is known to be away, until the engine gets it."""


class FailureReport(TypedDict):
    """Why a message was given up, as it travels with the message where an engine itself keeps it."""

    reason: str
    traceback: str
    attempts: int
    at: str


def failure_report(letter: DeadLetter) -> FailureReport:
    """What a dead letter says of the failure."""
    return {
        "reason": letter.reason,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "at": letter.last_at.isoformat(),
    }


def original_of(raw: bytes | str) -> str | dict[str, str]:
    """What is kept of something unreadable: text, or where it is none, `{"base64": …}`; the start of it."""
    if isinstance(raw, str):
        return raw[:MAX_BYTES_PER_MESSAGE]
    raw = raw[:MAX_BYTES_PER_MESSAGE]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def unreadable_letter(handler: str, queue: str, message_id: str, original: object, fault: str) -> DeadLetter:
    """The dead letter of something in a queue that is no message at all.

    Parameters:
        original: What was found.
        fault: Why no worker can take it.
    """
    attempt = Attempt(
        handler=handler, subscription=UNREADABLE, queue=queue, message_id=message_id, policy=NO_RETRY,
        arguments=(original,), was_run=False,
    )  # fmt: skip
    error = UnreadableEnvelope(f"no message that a worker can take{fault}")
    return letter_of(attempt, error, attempts=0)


class DeadLetterKeeper:
    """Keeps what a handler gives up.

    Parameters:
        handler: Its name.
        store: Where letters are kept; with the engine if not given, or if it fails.
        sender: The engine.
        fan_outs: The names of the handler's fan-out actors.
        order: Where replayed events wait for their turn.
        receipts: Given for it, though nobody has handled it.
    """

    def __init__(
        self,
        handler: str,
        store: DeadLetters | None,
        sender: Sender,
        *,
        fan_outs: Collection[str],
        order: Order | None,
        receipts: Receipts,
    ) -> None:
        self._handler = handler
        self._store = store
        self._sender = sender
        self._fan_outs = fan_outs
        self._order = order
        self._receipts = receipts
        self._breaker = CircuitBreaker()

    def give_up(self, letter: DeadLetter) -> None:
        """Keep a letter, tell of it, and give receipts for its events.

        Raises:
            Exception: When nobody could keep it; its message must not be acknowledged then.
        """
        if not self.is_stored(letter):
            self._sender.keep(letter)
        self.tell(letter)

    def is_stored(self, letter: DeadLetter) -> bool:
        """Keep a letter in the store; whether it is there. If not, the engine has to keep it."""
        if self._store is None:
            return False
        within = 0.0 if self._breaker.is_open else _STORE_SECONDS
        try:
            until_written(
                partial(self._store.add, letter), what=f"The dead letter of {letter.id}", within=within
            )
        except StorageError as error:
            self._breaker.failed()
            logger.error(
                "The dead letter of %s for %s goes to the engine's own: %s",
                letter.id, letter.subscription, error,
            )  # fmt: skip
            return False
        self._breaker.succeeded()
        return True

    def tell(self, letter: DeadLetter) -> None:
        """Tell observers that a letter is kept, and give receipts for its events."""
        events = events_in([letter.argument])
        tell(
            Lifecycle.dead,
            events[0] if events else None,
            subscription=letter.subscription,
            reason=letter.reason,
            attempts=letter.attempts,
        )
        for event in events:
            try:
                self._give_receipt(letter.subscription, event)
            except Exception as error:  # the store's; the event is sent again in a while
                logger.warning(
                    "No receipt for event %s of %s could be given: %s", event.id, letter.subscription, error
                )

    def _give_receipt(self, subscription: str, event: Event) -> None:
        if subscription in self._fan_outs:
            self._receipts.end(event)
        else:
            self._receipts.give(subscription, event)

    @property
    def store(self) -> DeadLetters:
        """Where letters are kept.

        Raises:
            ConfigurationError: When that is left to the engine.
        """
        if self._store is None:
            raise ConfigurationError(f"{self._handler} has no store of dead letters: dead_letters=…")
        return self._store

    # Replaying

    def replay(self, letters: Sequence[DeadLetter]) -> None:
        """Send messages that were given up once more; their attempts count anew.

        Raises:
            NotPublished: When the broker did not take them.
        """
        try:
            self._sender.send([each for each in map(self._message_of, letters) if each is not None])
        except Exception as error:  # whatever the broker's client or the store of the lanes raises
            raise NotPublished(f"{type(error).__name__}: {error}") from error
        if Lifecycle.replayed in heard:
            for each in letters:
                for event in events_in([each.argument]):
                    tell(Lifecycle.replayed, event, subscription=each.subscription)

    def replay_all(self, matching: LetterFilter, pace: Pace) -> Iterator[int]:
        """Replay step by step, letters that are kept meanwhile excepted.

        Returns:
            How many were replayed, after each step.

        Raises:
            ConfigurationError: When there is no store.
        """
        for store, page in self._pages(matching, pace):
            self.replay(page)
            store.replayed(page)
            yield len(page)

    def discard_all(self, matching: LetterFilter, pace: Pace) -> Iterator[int]:
        """Remove letters step by step, those that are kept meanwhile excepted.

        Returns:
            How many were removed, after each step.

        Raises:
            ConfigurationError: When there is no store.
        """
        for store, page in self._pages(matching, pace):
            yield store.discard([each.id for each in page])

    def _pages(
        self, matching: LetterFilter, pace: Pace
    ) -> Iterator[tuple[DeadLetters, Sequence[DeadLetter]]]:
        """The letters that are meant, as many at once as the pace allows, when it does."""
        store = self.store
        began, after = clock.now(), None
        began = began if matching.before is None else min(began, matching.before)
        while True:
            pace.wait()
            page: Sequence[DeadLetter] = store.list(
                limit=pace.step, after=after, handler=self._handler, subscription=matching.subscription,
                event_name=matching.event_name, group=matching.whole_group,
            )  # fmt: skip
            if not page or page[0].last_at >= began:
                return
            after = page[-1].cursor
            page = [each for each in page if each.last_at < began and matching.matches(each)]
            if page:
                since = time.time()
                yield store, page
                pace.replayed(page, since=since)

    def _message_of(self, letter: DeadLetter) -> Message | None:
        """The message to send; None where the event is put at the end of its lane instead."""
        events = events_in([letter.argument])
        if self._order is None or len(events) != 1 or events[0].ordering_key is None:
            return Message(letter.subscription, letter.queue, not_resent(letter.argument), letter.id)
        target = FAN_OUT_TURN if letter.subscription in self._fan_outs else letter.subscription
        text = envelope.write(codec.decode(not_resent(letter.argument)))
        text = text[1:-1] if is_batch(text) else text
        self._order.put_one(target, events[0], text, letter.queue)
        return None
