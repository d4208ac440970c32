"""Running subscriptions with `batch=`: many events a call, and each of them with a fate of its own.

A message to such a subscription carries a list of events, and what several threads of a worker have in hand
is put together. When the function fails, the batch is taken apart: each event that failed is sent as a
message of its own, which runs alone from then on, and counts its attempts as any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from fastapi_events.context import current_event
from fastapi_events.errors import BatchFailed
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.flushing import Flushing
from fastapi_events.handlers.task_queue.messages import TryLater
from fastapi_events.handlers.task_queue.turns import Once, current_claim
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.lifecycle import Lifecycle, mark_reported, tell
from fastapi_events.otel import tracing
from fastapi_events.subscriptions.batch import Batch
from fastapi_events.subscriptions.batcher import Batcher
from fastapi_events.subscriptions.dependencies import Overrides
from fastapi_events.subscriptions.subscription import Subscription


class Batches:
    """Runs subscriptions that take many events at once.

    Parameters:
        handler: Whose subscriptions they are.
        overrides: Dependencies to replace.
        flushing: Publishes what a function has dispatched, or raises.
        once: Skips what has been completed before.
        validate: Checks an event's payload against the schema of its name.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        overrides: Overrides,
        flushing: Flushing,
        *,
        once: Once | None,
        validate: Callable[[Event], None],
    ) -> None:
        self._handler = handler
        self._overrides = overrides
        self._chained = Chained(handler, flushing)
        self._once = once
        self._validate = validate
        self._batchers: dict[str, Batcher[Event]] = {}
        self._lock = threading.Lock()

    def run(self, subscription: Subscription, events: Sequence[Event]) -> Sequence[Exception | None]:
        """Run events together with those of other threads.

        Returns:
            For each of them what was wrong with it, or None.
        """
        return self._batcher(subscription).submit(events)

    def run_alone(self, subscription: Subscription, event: Event) -> None:
        """Run an event that has failed before, under the claim that its caller holds."""
        error = self._run(subscription, [event], once=None)[0]
        if error is not None:
            raise error

    def _batcher(self, subscription: Subscription) -> Batcher[Event]:
        with self._lock:
            found = self._batchers.get(subscription.name)
            if found is None:
                batch = _batch_of(subscription)
                found = self._batchers[subscription.name] = Batcher(
                    lambda events: self._run(subscription, events, once=self._once),
                    size=batch.size,
                    window=batch.window,
                )
            return found

    def _run(
        self, subscription: Subscription, events: Sequence[Event], *, once: Once | None
    ) -> list[Exception | None]:
        batch = _batch_of(subscription)
        errors: list[Exception | None] = [None] * len(events)
        ready: list[tuple[int, Event, Any, AbstractContextManager[bool] | None]] = []
        with ExitStack() as claims:
            for at, event in enumerate(events):
                try:
                    self._validate(event)
                    item = batch.item(event)
                    claim = self._claim(subscription, event, once)
                    if claim is not None and not claim.__enter__():
                        claim.__exit__(None, None, None)  # completed before
                        continue
                except Exception as error:
                    errors[at] = error
                    if not isinstance(error, TryLater):
                        self._failed(subscription, event, error)
                    continue
                ready.append((at, event, item, claim))
            for at, _, _, claim in ready:
                errors[at] = _INTERRUPTED  # until the call has returned
                claims.callback(_settle, claim, errors, at)
            if ready:
                in_batch, items = [each[1] for each in ready], [each[2] for each in ready]
                found = self._call(subscription, batch, in_batch, items)
                for (at, *_), each in zip(ready, found, strict=True):
                    errors[at] = each
        return errors

    def _call(
        self, subscription: Subscription, batch: Batch, events: Sequence[Event], items: Sequence[Any]
    ) -> list[Exception | None]:
        for event in events:
            tell(Lifecycle.started, event, subscription=subscription.name)
        token = current_event.set(events[0])
        # `commit.complete_in` could not know for which of the events: those that fail may yet be named.
        claim = current_claim.set(None)
        errors: list[Exception | None] = [None] * len(events)
        try:
            with tracing.handle_span(events[0], self._handler):
                self._chained.run(
                    lambda caller: batch.call(items, events[0], caller=caller, overrides=self._overrides),
                    is_async=batch.is_async,
                )
        except BatchFailed as failed:
            errors = [failed.errors.get(event.id) for event in events]
        except Exception as error:
            errors = [error] * len(events)
        finally:
            current_claim.reset(claim)
            current_event.reset(token)
        for event, each in zip(events, errors, strict=True):
            if each is None:
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
            else:
                self._failed(subscription, event, each)
        return errors

    @staticmethod
    def _claim(
        subscription: Subscription, event: Event, once: Once | None
    ) -> AbstractContextManager[bool] | None:
        return once.claim(subscription.name, event) if once is not None and subscription.once else None

    def _failed(self, subscription: Subscription, event: Event, error: Exception) -> None:
        # Told here for each event: `report_failure` tells an error once, and many events may share one.
        mark_reported(error)
        tell(
            Lifecycle.failed, [event], handler=self._handler.name, subscription=subscription.name, error=error
        )


_INTERRUPTED = RuntimeError("The batch was interrupted.")


def _settle(claim: AbstractContextManager[bool] | None, errors: Sequence[Exception | None], at: int) -> None:
    """Complete a claim, or release it, after what became of its event."""
    error = errors[at]
    if claim is None:
        return
    if error is None:
        claim.__exit__(None, None, None)
        return
    try:
        claim.__exit__(type(error), error, error.__traceback__)
    except Exception as raised:
        if raised is not error:
            raise


def _batch_of(subscription: Subscription) -> Batch:
    assert subscription.batch is not None  # noqa: S101 - for the type checker
    return subscription.batch
