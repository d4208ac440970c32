"""Fan-out, in a worker: who listens to each event of a message gets a message of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from fastapi_events import codec, envelope
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import (
    LANE,
    RECEIPT_TO,
    Outgoing,
    fan_out_message,
    message_id,
)
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.turns import FAN_OUT_TURN, Order
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.storage.outbox import Outbox
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions


class FanOut:
    """Enqueues a message for each event of a batch and each subscription that listens to it.

    Parameters:
        handler_name: Who says that nobody listens.
        subscriptions: Among whom it looks.
        routes: Where messages wait whose subscription has no queue of its own.
        send: Enqueues messages in one round trip, or raises.
        outbox: Gets to know who listens, where it waits for receipts.
        order: Lets events with an ordering key pass one after the other.
    """

    def __init__(
        self,
        handler_name: str,
        subscriptions: Subscriptions,
        routes: Routes,
        send: Callable[[Sequence[Outgoing]], None],
        *,
        outbox: Outbox | None,
        order: Order | None,
    ) -> None:
        self._handler_name = handler_name
        self._subscriptions = subscriptions
        self._routes = routes
        self._send = send
        self._outbox = outbox
        self._order = order

    def __call__(self, batch: Sequence[Any]) -> None:
        """Fan a batch of envelopes out. What of it cannot be read is sent on alone, to be given up alone.

        Raises:
            UnreadableEnvelope: When it is only one, and cannot be read.
        """
        messages: list[Outgoing] = []
        batches: dict[tuple[str, str], list[tuple[str, str]]] = {}
        unreadable: list[tuple[Any, UnreadableEnvelope]] = []
        readable: list[tuple[Any, Event]] = []
        for each in batch:
            try:
                readable.append((each, envelope.unseal(each)))
            except UnreadableEnvelope as error:
                unreadable.append((each, error))
        if unreadable and len(batch) == 1:
            raise unreadable[0][1]
        done = self._receipts([event for _, event in readable])
        for each, event in readable:
            messages += self._to_subscriptions(each, event, done.get(event.id, ()), batches)
        messages += self._batched(batches)
        for each, _ in unreadable:
            text = envelope.write(each if isinstance(each, Mapping) else {"unreadable": each})
            messages.append(fan_out_message(self._routes.default, [text], text))
        if messages:
            self._send(messages)

    def given_up(self, event: Event) -> None:
        """A message to fan-out is among the dead letters: those behind its event go on."""
        if self._order is not None and self._order.concerns(event):
            self._order.give_up(FAN_OUT_TURN, str(event.ordering_key), event.id)

    def _receipts(self, events: Sequence[Event]) -> Mapping[str, Collection[str]]:
        """Tell the outbox who listens to events that wait for receipts; it knows which have run before."""
        listening: dict[str, dict[str, list[str]]] = {}
        for event in events:
            if self._outbox is not None and (destination := event.headers.get(RECEIPT_TO)) is not None:
                names = [one.name for one in self._subscriptions.match(event.name)]
                listening.setdefault(str(destination), {})[event.id] = names
        done: dict[str, Collection[str]] = {}
        for destination, names_of in listening.items():
            assert self._outbox is not None  # noqa: S101 - for the type checker
            waiting = self._outbox.expect_all(destination, names_of)
            done.update({event_id: set(names) - waiting[event_id] for event_id, names in names_of.items()})
        return done

    def _to_subscriptions(
        self,
        each: Any,
        event: Event,
        done: Collection[str],
        batches: dict[tuple[str, str], list[tuple[str, str]]],
    ) -> list[Outgoing]:
        listening = self._subscriptions.match(event.name)
        if not listening:
            tell(Lifecycle.unmatched, event, handler=self._handler_name)
        if done:
            listening = [one for one in listening if one.name not in done]
        # Though nobody listens, or nobody is left to: those behind an event in its lane are to go on.
        if self._order is not None and event.ordering_key is not None:
            if listening or self._order.concerns(event):
                self._in_order(event, each, listening, self._order)
            return []
        if not listening:
            return []
        text = each if isinstance(each, str) else envelope.write(each)
        messages = []
        for one in listening:
            if one.batch is None:
                messages.append(self._message(one, event, text))
            else:
                batches.setdefault((one.name, self._queue(one, event)), []).append((event.id, text))
        return messages

    def _batched(self, batches: Mapping[tuple[str, str], Sequence[tuple[str, str]]]) -> Iterator[Outgoing]:
        """For subscriptions that take many events at once: messages that carry as many."""
        for (name, queue), items in batches.items():
            subscription = self._subscriptions.named(name)
            size = subscription.batch.size if subscription is not None and subscription.batch else 1
            for begin in range(0, len(items), size):
                part = items[begin : begin + size]
                identity = message_id(name, *(event_id for event_id, _ in part))
                yield Outgoing(name, queue, f"[{','.join(text for _, text in part)}]", identity)

    def _in_order(self, event: Event, each: Any, listening: Sequence[Subscription], order: Order) -> None:
        key = str(event.ordering_key)
        text = each if isinstance(each, str) else envelope.write(each)
        if event.headers.get(LANE) != order.destination:  # from a producer that knows nothing of lanes
            text = envelope.write({**codec.decode(text), LANE: order.destination})
            self._send(order.queue_up(FAN_OUT_TURN, key, [(event.id, text)]))
            return
        with order.turn(FAN_OUT_TURN, key, event.id) as ours:
            if ours:
                messages = []
                for one in listening:
                    messages += order.queue_up(one.name, key, [(event.id, text)])
                self._send(messages)

    def _message(self, one: Subscription, event: Event, text: str) -> Outgoing:
        return Outgoing(one.name, self._queue(one, event), text, message_id(event.id, one.name))

    def _queue(self, subscription: Subscription, event: Event) -> str:
        return self._routes.to_subscription(subscription.queue, self._routes.queue_for(event.name))
