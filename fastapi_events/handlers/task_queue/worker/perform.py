"""Perform, in a worker: one subscription runs for one event."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from fastapi_events import envelope, lifecycle
from fastapi_events.context import current_event, current_subscription, reported
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.encryption import Encryption, unlocked
from fastapi_events.handlers.task_queue.messages import is_batch, only_argument
from fastapi_events.handlers.task_queue.once import Once
from fastapi_events.handlers.task_queue.settings import ContextFrom
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.handlers.task_queue.worker.pause_gate import PauseGate
from fastapi_events.handlers.task_queue.worker.perform_batch import PerformBatch
from fastapi_events.handlers.task_queue.worker.receipts import Receipts
from fastapi_events.handlers.task_queue.worker.validation import validate
from fastapi_events.ids import NamedIds
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.otel import tracing
from fastapi_events.subscriptions.dependencies import Overrides
from fastapi_events.subscriptions.runner import run
from fastapi_events.subscriptions.subscription import Subscription


class Perform:
    """Runs a subscription for the event in its message.

    What the function dispatches is published when it has succeeded, before its message is acknowledged.

    Parameters:
        handler: Whose subscriptions they are.
        overrides: Dependencies to replace.
        chained: Runs a function, and publishes what it has dispatched.
        batches: Runs those subscriptions that take many events at once.
        gate: Lets no event to a subscription that is paused.
        receipts: Tell the outbox what has run, where it waits for that.
        once: Skips what has been completed before.
        context_from: Makes the context that a function runs in, of its event.
        encryption: Of the values of sensitive fields.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        overrides: Overrides,
        chained: Chained,
        batches: PerformBatch,
        *,
        gate: PauseGate,
        receipts: Receipts,
        once: Once | None,
        context_from: ContextFrom | None = None,
        encryption: Encryption | None = None,
    ) -> None:
        self._handler = handler
        self._overrides = overrides
        self._chained = chained
        self._batches = batches
        self._gate = gate
        self._receipts = receipts
        self._once = once
        self._context_from = context_from
        self._encryption = encryption

    def __call__(self, subscription: Subscription, *args: Any, **kwargs: Any) -> None:
        """Run the subscription.

        Raises:
            UnreadableEnvelope: When the message is no event.
            InvalidPayload: When the payload does not fit the subscription or the event's schema.
            TryLater: When it is not its turn yet.
        """
        argument = only_argument(args, kwargs)
        with self._gate.passing(subscription):
            self._perform(subscription, argument)

    def _perform(self, subscription: Subscription, argument: Any) -> None:
        if subscription.batch is not None and is_batch(argument):
            self._batches(subscription, argument)
            return
        event = envelope.unseal(argument)
        if self._receipts.has(subscription.name, event):
            tell(Lifecycle.skipped, event, subscription=subscription.name)
            return
        token, name = current_event.set(event), current_subscription.set(subscription.name)
        try:
            with self._claim(subscription, event) as new:
                if new:
                    self._run_watched(subscription, event)
            self._receipts.give(subscription.name, event)
        finally:
            current_event.reset(token)
            current_subscription.reset(name)

    def _claim(self, subscription: Subscription, event: Event) -> AbstractContextManager[bool]:
        if not subscription.once or self._once is None:
            return nullcontext(True)
        return self._once.claim(subscription.name, event)

    def _run_watched(self, subscription: Subscription, event: Event) -> None:
        token = reported.set({})
        try:
            with tracing.handle_span(event, self._handler):
                if subscription.batch is not None:
                    self._batches.run_alone(subscription, event)
                    return
                tell(Lifecycle.started, event, subscription=subscription.name)
                event = unlocked(event, self._encryption)
                validate(event)
                self._run(subscription, event)
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
        except TryLater:
            raise
        except BaseException as error:
            lifecycle.report_unreported(
                [event], handler=self._handler.name, subscription=subscription.name, error=error
            )
            raise
        finally:
            reported.reset(token)

    def _run(self, subscription: Subscription, event: Event) -> None:
        call = partial(run, subscription.plan, event, overrides=self._overrides, from_wire=True)
        with self._context_from(event) if self._context_from is not None else nullcontext():
            ids = NamedIds(self._handler.name, event.id, subscription.name)
            self._chained.run(call, ids=ids, is_async=subscription.plan.is_async)
