"""Fan-out, in a worker: who listens to each event of a message gets a message of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi_events import clock, envelope
from fastapi_events.combined_calls import CombinedCalls
from fastapi_events.errors import StorageError, UnreadableEnvelope
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.fleet import Listener
from fastapi_events.handlers.task_queue.messages import (
    FAN_OUT_TURN,
    RECEIPT_TO,
    Message,
    fan_out_message,
    fan_out_name,
    only_argument,
)
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.outcome import LONGEST_PAUSE_SECONDS
from fastapi_events.ids import named_id
from fastapi_events.lifecycle import Lifecycle, listeners, tell
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.lanes import Item, Lane
from fastapi_events.storage.outbox import Outbox

logger: logging.Logger = logging.getLogger(__name__)

_MAX_MESSAGES_AT_ONCE = 500
"""Of several fan-outs: together they have the time that one has."""


class FanOut:
    """Enqueues a message for each event of a batch and each subscription that listens to it.

    Parameters:
        handler_name: Who says that nobody listens.
        addresses: Who listens, and where their messages go.
        sender: Enqueues messages.
        outbox: Gets to know who listens, where it waits for receipts.
        order: Lets events with an ordering key pass one after the other.
        keep_in: Keeps events that nobody listens to.
    """

    def __init__(
        self,
        handler_name: str,
        addresses: Addresses,
        sender: Sender,
        *,
        outbox: Outbox | None,
        order: Order | None,
        keep_in: DeadLetters | None = None,
    ) -> None:
        self._keep_in = keep_in
        self._handler_name = handler_name
        self._addresses = addresses
        self._fleet = addresses.fleet
        self._sender = sender
        # Fan-outs that run at the same moment wait for the broker's answer together.
        self._send: CombinedCalls[Sequence[Message], None] = CombinedCalls(
            partial(_send_together, sender), alone=sender.send, size=len, max_size=_MAX_MESSAGES_AT_ONCE
        )
        self._outbox = outbox
        self._order = order

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Handle a message. What of its events cannot be read is sent on alone, to be given up alone.

        Raises:
            UnreadableEnvelope: When it holds no event, or a single one that cannot be read.
        """
        readable, unreadable = _read(only_argument(args, kwargs))
        ordered: list[tuple[Any, Event]] = []
        if self._order is not None:  # from a producer that knows nothing of lanes
            ordered = [each for each in readable if each[1].ordering_key is not None]
            readable = [each for each in readable if each[1].ordering_key is None]
        done = self._receipts([event for _, event in readable])
        messages: list[Message] = []
        batches: dict[str, list[tuple[Event, str]]] = {}
        fanned_out: list[tuple[Event, Sequence[Listener]]] = []
        if readable:
            match = self._fleet.matching()
        for each, event in readable:
            listening = match(event.name)
            messages += self._to_subscriptions(
                each, event, listening, done.get(event.id, ()), batches, fanned_out
            )
        for name, items in batches.items():
            subscription = self._fleet.named(name)
            assert subscription is not None  # noqa: S101 - it has just matched
            messages += self._addresses.to_batches(subscription, items)
        for each in unreadable:
            text = envelope.write(each if isinstance(each, Mapping) else {"unreadable": each})
            messages.append(self._addresses.to_fan_out_of_unreadable(text))
        self._enqueue(messages)
        for event, listening in fanned_out if listeners(Lifecycle.fanned_out) else ():
            self.followed(event, [one.name for one in listening])
        for each, event in ordered:
            self._put(each, event)

    def _receipts(self, events: Sequence[Event]) -> Mapping[str, Collection[str]]:
        """Tell the outbox who listens to events that wait for receipts; it knows which have run before."""
        if self._outbox is None:
            return {}
        listening: dict[str, dict[str, list[str]]] = {}
        for event in events:
            if (destination := event.headers.get(RECEIPT_TO)) is not None:
                names = [one.name for one in self._fleet.match(event.name)]
                listening.setdefault(str(destination), {})[event.id] = names
        done: dict[str, Collection[str]] = {}
        for destination, names_of in listening.items():
            waiting = self._outbox.expect_all(destination, names_of)
            done.update({event_id: set(names) - waiting[event_id] for event_id, names in names_of.items()})
        return done

    def _to_subscriptions(
        self,
        each: Any,
        event: Event,
        listening: Sequence[Listener],
        done: Collection[str],
        batches: dict[str, list[tuple[Event, str]]],
        fanned_out: list[tuple[Event, Sequence[Listener]]],
    ) -> list[Message]:
        if not listening:
            self._unmatched(event, each)
        if done:
            listening = [one for one in listening if one.name not in done]
        if not listening:
            return []
        fanned_out.append((event, listening))
        text = each if isinstance(each, str) else envelope.write(each)
        messages = []
        for one in listening:
            if one.batch_size is None:
                messages.append(self._addresses.to_subscription(one, event, text))
            else:
                batches.setdefault(one.name, []).append((event, text))
        return messages

    def _unmatched(self, event: Event, each: Any) -> None:
        tell(Lifecycle.unmatched, event, handler=self._handler_name)
        if self._keep_in is None:
            return
        queue = self._addresses.routes.queue_for(event.name)
        name, now = fan_out_name(queue), clock.now()
        self._keep_in.add(
            DeadLetter(
                id=named_id(self._handler_name, name, event.id),
                handler=self._handler_name, subscription=name, queue=queue,
                event_id=event.id, event_name=wire_name(event.name),
                argument=f"[{each if isinstance(each, str) else envelope.write(each)}]",
                reason=f"nobody listens to {wire_name(event.name)!r}", traceback="", attempts=0,
                first_at=now, last_at=now,
            )
        )  # fmt: skip

    def follows(self, item: Item) -> tuple[Event, Mapping[Lane, Sequence[Item]]]:
        """An event, and where it waits next: in the lanes of its key, of the subscriptions that listen to it.

        Raises:
            UnreadableEnvelope: When it cannot be read.
            TryLater: When nobody knows yet who listens.
            StorageError: When the outbox waits for receipts, and cannot be told who listens.
        """
        assert self._order is not None  # noqa: S101 - it has come from a lane
        event = envelope.unseal(item.text)
        listening = self._fleet.match(event.name)
        if not listening:
            self._unmatched(event, item.text)
        done = self._receipts([event]).get(event.id, ())
        key = str(event.ordering_key)
        return event, {
            self._order.lane(one.name, key): [item._replace(queue=self._addresses.queue(one, event.name))]
            for one in listening
            if one.name not in done
        }

    def followed(self, event: Event, names: Sequence[str]) -> None:
        """An event waits in the lanes of these subscriptions now."""
        if names:
            tell(Lifecycle.fanned_out, event, handler=self._handler_name, subscriptions=names)

    def _put(self, each: Any, event: Event) -> None:
        """Put an event into its lane; where that fails, it comes back in a message of its own."""
        assert self._order is not None  # noqa: S101 - the caller has looked
        text = each if isinstance(each, str) else envelope.write(each)
        queue = self._addresses.routes.queue_for(event.name)
        try:
            self._order.put_one(FAN_OUT_TURN, event, text, queue)
        except StorageError as error:
            logger.warning("Event %s cannot be put into its lane: %s", event.id, error)
            self._enqueue([fan_out_message(queue, [text], event.id, delay=LONGEST_PAUSE_SECONDS)])

    def _enqueue(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        if self._sender.runs_in_place:  # and a function that it runs may come back here
            self._sender.send(messages)
        else:
            self._send(messages)


def _send_together(sender: Sender, several: Sequence[Sequence[Message]]) -> Sequence[None]:
    sender.send([message for messages in several for message in messages])
    return [None] * len(several)


def _read(argument: Any) -> tuple[list[tuple[Any, Event]], list[Any]]:
    """The events of a message, each with its envelope, and the envelopes that are none."""
    batch = envelope.read_batch(argument)
    readable: list[tuple[Any, Event]] = []
    unreadable: list[Any] = []
    for each in batch:
        try:
            readable.append((each, envelope.unseal(each)))
        except UnreadableEnvelope:
            if len(batch) == 1:
                raise
            unreadable.append(each)
    return readable, unreadable
