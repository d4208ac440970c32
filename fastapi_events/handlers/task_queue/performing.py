"""The worker's half: fan-out finds who listens, perform runs one subscription for one event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastapi_events import codec, envelope, lifecycle
from fastapi_events.context import current_event
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.messages import (
    LANE,
    RECEIPT_TO,
    Outgoing,
    TryLater,
    fan_out_message,
    is_batch,
    message_id,
    only_argument,
)
from fastapi_events.handlers.task_queue.batches import Batches
from fastapi_events.handlers.task_queue.chaining import Chained
from fastapi_events.handlers.task_queue.flushing import Flushing
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.turns import FAN_OUT_TURN, Once, Order
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.otel import tracing
from fastapi_events.registry.payload_schema import registry
from fastapi_events.scope import collect_events
from fastapi_events.storage.base import Outbox
from fastapi_events.subscriptions.dependencies import Overrides
from fastapi_events.subscriptions.loop import process_loop
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.subscriptions.runner import InThread, OnLoop, drive, run
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
            UnreadableEnvelope: When none of it can be read.
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
        if not listening:
            return []
        if event.ordering_key is not None and self._order is not None:
            self._in_order(event, each, listening, self._order)
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
        own = subscription.queue
        return own if own and own != self._routes.default else self._routes.queue_for(event.name)


class Perform:
    """Runs a subscription for the event in its message.

    What the function dispatches is published when it has succeeded, before its message is acknowledged.

    Parameters:
        handler: Whose subscriptions they are.
        overrides: Dependencies to replace.
        flushing: Publishes what a function has dispatched, or raises.
        outbox: Gets receipts of what has run, where it waits for them.
        once: Skips what has been completed before.
        order: Lets events with an ordering key pass one after the other.
        send: Enqueues messages in one round trip, or raises.
        queue: The handler's queue.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        overrides: Overrides,
        flushing: Flushing,
        *,
        outbox: Outbox | None,
        once: Once | None,
        order: Order | None,
        send: Callable[[Sequence[Outgoing]], None],
        queue: str,
    ) -> None:
        self._send = send
        self._queue = queue
        self._batches = Batches(handler, overrides, flushing, once=once, validate=self._validate)
        self._handler = handler
        self._outbox = outbox
        self._once = once
        self._order = order
        self._overrides = overrides
        self._chained = Chained(handler, flushing)
        self._schemas: dict[type, PayloadType] = {}

    def __call__(self, subscription: Subscription, *args: Any, **kwargs: Any) -> None:
        """Run the subscription.

        Raises:
            UnreadableEnvelope: When the message is no event.
            InvalidPayload: When the payload does not fit the subscription or the event's schema.
            TryLater: When it is not its turn yet.
        """
        argument = only_argument(args, kwargs)
        if subscription.batch is not None and is_batch(argument):
            self._perform_batch(subscription, argument)
            return
        event = envelope.unseal(argument)
        token = current_event.set(event)
        try:
            with self._turn(subscription, event) as ours, self._claim(subscription, event, ours) as new:
                if new:
                    self._run_watched(subscription, event)
            if ours:
                self._give_receipt(subscription.name, event)
        finally:
            current_event.reset(token)

    def _perform_batch(self, subscription: Subscription, argument: Any) -> None:
        batch = envelope.read_batch(argument)
        texts = [each if isinstance(each, str) else envelope.write(each) for each in batch]
        events = [envelope.unseal(each) for each in batch]
        apart: list[Outgoing] = []
        errors = self._batches.run(subscription, events)
        for event, text, error in zip(events, texts, errors, strict=True):
            if error is None:
                self._give_receipt(subscription.name, event)
            else:
                apart.append(self._alone(subscription, event, text, error))
        if apart:
            self._send(apart)

    def _alone(self, subscription: Subscription, event: Event, text: str, error: Exception) -> Outgoing:
        """The message of an event whose batch has failed, which counts its attempts from here."""
        wait = error.seconds if isinstance(error, TryLater) else 0.0
        if not isinstance(error, TryLater) and subscription.retry is not None:
            wait = subscription.retry.next_wait(1, error) or 0.0
            tell(Lifecycle.retried, event, subscription=subscription.name, error=error, attempt=1, wait=wait)
        queue = subscription.queue or self._queue
        return Outgoing(subscription.name, queue, text, message_id(event.id, subscription.name), wait)

    def given_up(self, subscription: str, event: Event) -> None:
        """A subscription's message is among the dead letters: nobody waits for it any longer."""
        if self._is_ordered(event):
            assert self._order is not None  # noqa: S101 - for the type checker
            self._order.give_up(subscription, str(event.ordering_key), event.id)
        self._give_receipt(subscription, event)

    def _turn(self, subscription: Subscription, event: Event) -> AbstractContextManager[bool]:
        if not self._is_ordered(event):
            return nullcontext(True)
        assert self._order is not None  # noqa: S101 - for the type checker
        return self._order.turn(subscription.name, str(event.ordering_key), event.id)

    def _is_ordered(self, event: Event) -> bool:
        return self._order is not None and self._order.concerns(event)

    def _claim(self, subscription: Subscription, event: Event, ours: bool) -> AbstractContextManager[bool]:
        if not (ours and subscription.once and self._once is not None):
            return nullcontext(ours)
        return self._once.claim(subscription.name, event)

    def _give_receipt(self, subscription: str, event: Event) -> None:
        destination = event.headers.get(RECEIPT_TO)
        if destination is not None and self._outbox is not None:
            self._outbox.receipt(event.id, str(destination), subscription)

    def _run_watched(self, subscription: Subscription, event: Event) -> None:
        try:
            with tracing.handle_span(event, self._handler):
                if subscription.batch is not None:
                    self._batches.run_alone(subscription, event)
                    return
                tell(Lifecycle.started, event, subscription=subscription.name)
                self._validate(event)
                self._run(subscription, event)
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
        except TryLater:
            raise
        except BaseException as error:
            lifecycle.report_failure(
                [event], handler=self._handler.name, subscription=subscription.name, error=error
            )
            raise

    def _run(self, subscription: Subscription, event: Event) -> None:
        scope = collect_events([self._chained], raise_errors=True)
        plan, overrides = subscription.plan, self._overrides

        async def run_on_loop() -> None:
            async with scope:
                await run(plan, event, caller=OnLoop(), overrides=overrides, from_wire=True)

        if plan.is_async:
            process_loop().run(run_on_loop())
        else:
            with scope:
                drive(run(plan, event, caller=InThread(), overrides=overrides, from_wire=True))

    def _validate(self, event: Event) -> None:
        schema = registry.get(event.name)
        if schema is None:
            return
        if schema not in self._schemas:
            self._schemas[schema] = PayloadType(schema)
        self._schemas[schema].from_json(event.payload if event.payload is not None else {})
