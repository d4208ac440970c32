"""The worker's half: fan-out finds who listens, perform runs one subscription for one event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from fastapi_events import envelope, lifecycle
from fastapi_events.context import current_event
from fastapi_events.errors import UnreadableEnvelope
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.messages import Outgoing, fan_out_message, message_id, only_argument
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.otel import tracing
from fastapi_events.registry.payload_schema import registry
from fastapi_events.scope import collect_events
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
    """

    def __init__(
        self,
        handler_name: str,
        subscriptions: Subscriptions,
        routes: Routes,
        send: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        self._handler_name = handler_name
        self._subscriptions = subscriptions
        self._routes = routes
        self._send = send

    def __call__(self, batch: Sequence[Any]) -> None:
        """Fan a batch of envelopes out. What of it cannot be read is sent on alone, to be given up alone.

        Raises:
            UnreadableEnvelope: When none of it can be read.
        """
        messages: list[Outgoing] = []
        unreadable: list[tuple[Any, UnreadableEnvelope]] = []
        for each in batch:
            try:
                messages += self._to_subscriptions(each)
            except UnreadableEnvelope as error:
                unreadable.append((each, error))
        if unreadable and len(batch) == 1:
            raise unreadable[0][1]
        for each, _ in unreadable:
            text = envelope.write(each if isinstance(each, Mapping) else {"unreadable": each})
            messages.append(fan_out_message(self._routes.default, [text], text))
        if messages:
            self._send(messages)

    def _to_subscriptions(self, each: Any) -> list[Outgoing]:
        event = envelope.unseal(each)
        listening = self._subscriptions.match(event.name)
        if not listening:
            tell(Lifecycle.unmatched, event, handler=self._handler_name)
            return []
        text = each if isinstance(each, str) else envelope.write(each)
        return [
            Outgoing(one.name, self._queue(one, event), text, message_id(event.id, one.name))
            for one in listening
        ]

    def _queue(self, subscription: Subscription, event: Event) -> str:
        own = subscription.queue
        return own if own and own != self._routes.default else self._routes.queue_for(event.name)


class Perform:
    """Runs a subscription for the event in its message.

    What the function dispatches is published when it has succeeded, before its message is acknowledged.

    Parameters:
        handler: Whose subscriptions they are.
        overrides: Dependencies to replace.
        publish: Publishes what a function has dispatched, or raises.
    """

    def __init__(
        self,
        handler: BaseEventHandler,
        overrides: Overrides,
        publish: Callable[[Sequence[Event]], Awaitable[None]],
    ) -> None:
        self._handler = handler
        self._overrides = overrides
        self._chained = _Chained(handler, publish)
        self._schemas: dict[type, PayloadType] = {}

    def __call__(self, subscription: Subscription, *args: Any, **kwargs: Any) -> None:
        """Run the subscription.

        Raises:
            UnreadableEnvelope: When the message is no event.
            InvalidPayload: When the payload does not fit the subscription or the event's schema.
        """
        event = envelope.unseal(only_argument(args, kwargs))
        token = current_event.set(event)
        try:
            with tracing.handle_span(event, self._handler):
                tell(Lifecycle.started, event, subscription=subscription.name)
                self._validate(event)
                self._run(subscription, event)
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
        except BaseException as error:
            lifecycle.report_failure(
                [event], handler=self._handler.name, subscription=subscription.name, error=error
            )
            raise
        finally:
            current_event.reset(token)

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


class _Chained:
    """Publishes what a subscription has dispatched; when that fails, nothing is lost: it runs again."""

    def __init__(
        self, handler: BaseEventHandler, publish: Callable[[Sequence[Event]], Awaitable[None]]
    ) -> None:
        self.name = handler.name
        self.prepare = handler.prepare
        self._publish = publish

    async def handle_many(self, events: Iterable[Event]) -> None:
        await self._publish(list(events))
