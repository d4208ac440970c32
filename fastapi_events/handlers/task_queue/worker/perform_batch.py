"""Running subscriptions with `batch=`: many events a call, and each of them with a fate of its own.

A message to such a subscription carries a list of events, and what several threads of a worker have in hand
is put together. When the function fails, the batch is taken apart: each event that failed is sent as a
message of its own, which runs alone from then on, and counts its attempts as any other.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi_events import envelope
from fastapi_events.context import current_event, current_subscription
from fastapi_events.errors import BatchFailed
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.encryption import Encryption, unlocked
from fastapi_events.handlers.task_queue.messages import Message
from fastapi_events.handlers.task_queue.once import Once, current_claim
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.handlers.task_queue.worker.dead_letters import DeadLetterKeeper
from fastapi_events.handlers.task_queue.worker.outcome import Attempt, GiveUp, TryAgain, TryLater, decide
from fastapi_events.handlers.task_queue.worker.pause_gate import PauseGate
from fastapi_events.handlers.task_queue.worker.receipts import Receipts
from fastapi_events.handlers.task_queue.worker.validation import validate
from fastapi_events.ids import NamedIds
from fastapi_events.lifecycle import Lifecycle, report_failure, tell
from fastapi_events.otel import tracing
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.batch import Batch
from fastapi_events.subscriptions.batcher import Batcher
from fastapi_events.subscriptions.dependencies import Overrides
from fastapi_events.subscriptions.subscription import Subscription


class PerformBatch:
    """Runs subscriptions that take many events at once.

    Parameters:
        handler: Whose subscriptions they are.
        overrides: Dependencies to replace.
        chained: Runs a function, and publishes what it has dispatched.
        addresses: Where events go that have to run alone.
        sender: Sends them there.
        gate: Pauses a subscription whose errors ask for that.
        dead_letters: Keep what no retry can mend.
        receipts: Tell the outbox what has run, where it waits for that.
        once: Skips what has been completed before.
        encryption: Of the values of sensitive fields.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        overrides: Overrides,
        chained: Chained,
        *,
        addresses: Addresses,
        sender: Sender,
        gate: PauseGate,
        dead_letters: DeadLetterKeeper,
        receipts: Receipts,
        once: Once | None,
        encryption: Encryption | None = None,
    ) -> None:
        self._handler = handler
        self._overrides = overrides
        self._chained = chained
        self._addresses = addresses
        self._sender = sender
        self._gate = gate
        self._dead_letters = dead_letters
        self._receipts = receipts
        self._once = once
        self._encryption = encryption
        self._batchers: dict[str, Batcher[Event]] = {}
        self._lock = threading.Lock()

    def __call__(self, subscription: Subscription, argument: Any) -> None:
        """Run the events of a message together with those of other threads."""
        batch = envelope.read_batch(argument)
        texts = [each if isinstance(each, str) else envelope.write(each) for each in batch]
        found = [(text, envelope.unseal(each)) for text, each in zip(texts, batch, strict=True)]
        wanted = [each for each in found if not self._receipts.has(subscription.name, each[1])]
        texts, events = [text for text, _ in wanted], [event for _, event in wanted]
        apart: list[Message] = []
        errors = self._gate.seen(subscription, self._batcher(subscription).submit(events))
        for event, text, error in zip(events, texts, errors, strict=True):
            if error is None:
                self._receipts.give(subscription.name, event)
            else:
                apart += self._after_failure(subscription, event, text, error)
        if apart:
            self._sender.send(apart)

    def _after_failure(
        self, subscription: Subscription, event: Event, text: str, error: BaseException
    ) -> list[Message]:
        """What follows the failure of one event: a message of its own, or a dead letter."""
        alone = self._addresses.to_subscription(subscription, event, text)
        attempt = Attempt(
            handler=self._handler.name, subscription=subscription.name, queue=alone.queue,
            message_id=alone.id, policy=subscription.retry or RetryPolicy(), arguments=(text,),
        )  # fmt: skip
        outcome = decide(attempt, error)
        if isinstance(outcome, GiveUp):
            self._dead_letters.give_up(outcome.letter)
            return []
        assert isinstance(outcome, TryAgain)  # noqa: S101 - only a bell is dropped
        return [replace(alone, delay=outcome.after, failed=outcome.failed)]

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
                    partial(self._run, subscription, once=self._once),
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
                    event = unlocked(event, self._encryption)
                    validate(event)
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
        token, name = current_event.set(events[0]), current_subscription.set(subscription.name)
        # `commit.complete_in` could not know for which of the events: those that fail may yet be named.
        claim = current_claim.set(None)
        errors: list[Exception | None] = [None] * len(events)
        try:
            with tracing.handle_span(events[0], self._handler, events):
                call = partial(batch.call, items, events[0], overrides=self._overrides)
                ids = NamedIds(self._handler.name, *[each.id for each in events], subscription.name)
                self._chained.run(call, ids=ids, is_async=batch.is_async)
        except BatchFailed as failed:
            errors = [failed.errors.get(event.id) for event in events]
        except Exception as error:
            errors = [error] * len(events)
        finally:
            current_claim.reset(claim)
            current_event.reset(token)
            current_subscription.reset(name)
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
        report_failure([event], handler=self._handler.name, subscription=subscription.name, error=error)


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
