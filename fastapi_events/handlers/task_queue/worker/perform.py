"""Perform, in a worker: one subscription runs for one event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastapi_events import envelope, lifecycle
from fastapi_events.context import current_event
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.flushing import Flushing
from fastapi_events.handlers.task_queue.messages import (
    RECEIPT_TO,
    Outgoing,
    TryLater,
    is_batch,
    message_id,
    only_argument,
)
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.turns import Once, Order
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.handlers.task_queue.worker.perform_batch import Batches
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.otel import tracing
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.outbox import Outbox
from fastapi_events.subscriptions.dependencies import Overrides
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.subscriptions.runner import run
from fastapi_events.subscriptions.subscription import Subscription


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
        routes: Where messages wait whose subscription has no queue of its own.
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
        routes: Routes,
    ) -> None:
        self._send = send
        self._routes = routes
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
        queue = self._routes.to_subscription(subscription.queue, self._routes.queue_for(event.name))
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
        plan, overrides = subscription.plan, self._overrides
        self._chained.run(
            lambda caller: run(plan, event, caller=caller, overrides=overrides, from_wire=True),
            is_async=plan.is_async,
        )

    def _validate(self, event: Event) -> None:
        schema = registry.get(event.name)
        if schema is None:
            return
        if schema not in self._schemas:
            self._schemas[schema] = PayloadType(schema)
        self._schemas[schema].from_json(event.payload if event.payload is not None else {})
