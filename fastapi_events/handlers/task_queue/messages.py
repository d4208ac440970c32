"""What queue handlers send: messages that carry events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fastapi_events import clock, envelope
from fastapi_events.constants import DEFAULT_QUEUE, FAN_OUT
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.ids import named_id

MAX_EVENTS_PER_MESSAGE = 1_000
MAX_BYTES_PER_MESSAGE = 1_048_576

FAN_OUT_TURN = "fan-out"
"""What an event with an ordering key waits for before it waits for subscriptions."""

_BELL = "bell"

RECEIPT_TO = "receiptto"
"""The envelope attribute that names the outbox entry's destination, where receipts are wanted."""

RESENT = "resent"
"""The envelope attribute of an event that was sent from its outbox, and may have been sent before.

It is the first of its envelope.
"""

_MARK = f'{{"{RESENT}":true,'


def marked_resent(envelope_text: str) -> str:
    """The envelope of an event that may have been sent before."""
    return f"{_MARK}{envelope_text[1:]}"


def not_resent(argument: str) -> str:
    """The argument of a message without such marks, so that its events run whatever ran before."""
    if f'"{RESENT}":true' not in argument:
        return argument
    try:
        envelopes = envelope.read_batch(argument)
    except UnreadableEnvelope:
        return argument
    for each in envelopes:
        if isinstance(each, dict):
            each.pop(RESENT, None)
    texts = ",".join(map(envelope.write, envelopes))
    return f"[{texts}]" if is_batch(argument) else texts


def message_id(*parts: str) -> str:
    """A name-based UUID: the same parts always give the same id, so that a duplicate can be told.

    A message to a subscription is made of the event's id and the subscription's name.
    """
    return named_id(*parts)


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way to the engine.

    Parameters:
        task: The actor's or task's name.
        queue: Where it waits.
        argument: Its one argument, JSON text.
        id: Identifies it, however often it is sent.
        delay: Seconds until it may be received.
        failed: How many attempts at it have failed already.
        since: When the event that it carries was dispatched, if it carries one.
    """

    task: str
    queue: str
    argument: str
    id: str
    delay: float = 0.0
    failed: int = 0
    since: datetime | None = None


@dataclass(slots=True)
class Flush:
    """Events that are published together, and the envelope of each.

    Parameters:
        is_under_way: Whether the broker may have them: sending has begun.
        refused: The ids of those that their lanes did not take, each with the reason.
        bell: Done when the bells of the others have been rung, or could not be.
        answer: What comes of sending it, should a thread do so.
        is_last_resort: Whether it is to be tried where everybody is known to be away.
    """

    events: Sequence[Event]
    envelopes: Sequence[str]
    is_under_way: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    bell: Future[None] | None = None
    answer: Future[None] | None = None
    is_last_resort: bool = False


def fan_out_name(queue: str) -> str:
    """The actor or task that fans out what arrives on a queue."""
    return FAN_OUT if queue == DEFAULT_QUEUE else f"{FAN_OUT}.{queue}"


def fan_out_message(queue: str, texts: Sequence[str], *identity: str, delay: float = 0.0) -> Message:
    """A message that carries envelopes to the fan-out of a queue."""
    name = fan_out_name(queue)
    return Message(name, queue, f"[{','.join(texts)}]", message_id(name, *identity), delay)


def chunks(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    """Cut a list of envelopes into what fits into one message each."""
    if len(texts) <= MAX_EVENTS_PER_MESSAGE and sum(map(len, texts)) <= MAX_BYTES_PER_MESSAGE:
        if texts:
            yield texts
        return
    chunk: list[str] = []
    size = 0
    for text in texts:
        if chunk and (len(chunk) == MAX_EVENTS_PER_MESSAGE or size + len(text) > MAX_BYTES_PER_MESSAGE):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += len(text)
    if chunk:
        yield chunk


def is_batch(argument: Any) -> bool:
    """Whether a message carries a list of events rather than one."""
    return isinstance(argument, list) or (isinstance(argument, str) and argument.startswith("["))


def only_argument(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The only argument of a message that this package has sent.

    Raises:
        UnreadableEnvelope: When there is another number of them.
    """
    if len(args) != 1 or kwargs:
        raise UnreadableEnvelope(
            f"the message has {len(args)} positional and {len(kwargs)} keyword arguments, expected one"
        )
    return args[0]


@dataclass(frozen=True, slots=True)
class Bell:
    """Something waits in lanes.

    Parameters:
        keys: The ordering keys of these lanes.
        queue: Where it was rung.
    """

    keys: Sequence[str]
    queue: str

    @property
    def text(self) -> str:
        """The argument of its message."""
        return json.dumps({_BELL: list(self.keys), "queue": self.queue}, separators=(",", ":"))


def bell_in(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Bell | None:
    """The bell that a message's arguments are; None if they carry events."""
    if len(args) != 1 or kwargs or not isinstance(args[0], str) or not args[0].startswith(f'{{"{_BELL}"'):
        return None
    try:
        read = json.loads(args[0])
        return Bell([str(each) for each in read[_BELL]], str(read["queue"]))
    except (ValueError, KeyError, TypeError):
        return None


def events_in(arguments: Sequence[Any]) -> list[Event]:
    """The events in a message, as far as they can be read."""
    found = []
    try:
        for each in envelope.read_batch(arguments[0]):
            with suppress(UnreadableEnvelope):
                found.append(envelope.unseal(each))
    except (UnreadableEnvelope, IndexError):
        pass
    return found


def event_in(arguments: Sequence[Any]) -> Event | None:
    """The event in a message to a subscription, or the first in one to fan-out; None if it cannot be read."""
    return next(iter(events_in(arguments)), None)


def is_older(argument: str, age: timedelta) -> bool:
    """Whether the event in an envelope was dispatched longer ago than that."""
    event = event_in([argument])
    return event is not None and clock.now() - event.dispatched_at > age
