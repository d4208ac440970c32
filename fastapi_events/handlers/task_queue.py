"""What all queue handlers share: publish → fan out → perform.

The web process publishes one message per flush, which carries its events. A worker's `fan_out` finds who
listens to each and enqueues one message per subscription, which `perform` runs. An engine (Dramatiq, Celery)
says how messages are sent and received.
"""

from __future__ import annotations

import asyncio
import atexit
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from fastapi_events import codec, envelope, lifecycle
from fastapi_events.constants import DEFAULT_QUEUE, DEFAULT_SOURCE, FAN_OUT, MAX_PAYLOAD_BYTES
from fastapi_events.context import current_event
from fastapi_events.errors import (
    ConfigurationError,
    InvalidPayload,
    NotPublished,
    UnreadableEnvelope,
    UnserialisablePayload,
    raise_together,
)
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.messages import (
    MAX_EVENTS_PER_MESSAGE,
    Flush,
    Outgoing,
    chunks,
    message_id,
    only_argument,
)
from fastapi_events.handlers.publisher import Publisher
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.otel import tracing
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events
from fastapi_events.subscriptions.loop import process_loop
from fastapi_events.subscriptions.payload import PayloadType
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.runner import InThread, OnLoop, drive, run
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions, name_of, registration

F = TypeVar("F", bound=Callable[..., Any])

# Fan-out fails only with its broker, or when a message is no batch of events.
FAN_OUT_RETRY = RetryPolicy(max_retries=20, max_backoff=60.0, give_up_on=(UnreadableEnvelope,))

UNKNOWN_RETRY = RetryPolicy(max_retries=10, max_backoff=60.0)
"""How long a message waits for a worker that knows its subscription: some six minutes."""


class TaskQueueHandler(BaseEventHandler):
    """The engine-independent half of a queue handler.

    Parameters:
        queue: Where fan-out messages wait, and those of subscriptions that name no queue of their own.
        retry: When a failed subscription runs again, unless it says so itself.
        unknown_retry: When a message for a subscription that no running worker has is tried again.
        source: Which service events come from; the `source` of their envelopes.
        max_payload_bytes: The largest payload, as encoded JSON.
        flush_deadline: Seconds that a flush may take until its events are reported lost.
        shutdown_deadline: Seconds that the web process waits for its last flushes when it stops.
        max_pending_events: How many events may wait for the broker in this process.
    """

    def __init__(
        self,
        *,
        queue: str = DEFAULT_QUEUE,
        retry: RetryPolicy = RetryPolicy(),
        unknown_retry: RetryPolicy = UNKNOWN_RETRY,
        source: str = DEFAULT_SOURCE,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
        flush_deadline: float = 1.0,
        shutdown_deadline: float = 5.0,
        max_pending_events: int = 10_000,
    ) -> None:
        self.queue = queue
        self.subscriptions = Subscriptions()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self.flush_deadline = flush_deadline
        self._retry = retry
        self._unknown_retry = unknown_retry
        self._source = source
        self._max_payload_bytes = max_payload_bytes
        self._shutdown_deadline = shutdown_deadline
        self._fan_out_name = FAN_OUT if queue == DEFAULT_QUEUE else f"{FAN_OUT}.{queue}"
        self._schemas: dict[type, PayloadType] = {}
        self._publisher: Publisher[Flush] = Publisher(
            self._publish_flushes,
            name=f"fastapi-events-publisher-{queue}",
            max_pending=max_pending_events,
            max_batch=MAX_EVENTS_PER_MESSAGE,
        )
        atexit.register(_publish_the_rest, weakref.ref(self))

    # What an engine does

    @abstractmethod
    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        """Enqueue messages, in their order and in one round trip where the broker can; or raise.

        Parameters:
            from_web: Whether a flush waits for it, whose deadline then bounds every step.
        """

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection that `_send` keeps for the web process; the next flush opens another."""

    @abstractmethod
    def _declare(self, subscription: Subscription) -> None:
        """Make a subscription an actor or task of its own, which calls `perform`."""

    @abstractmethod
    def _check_options(self, options: Mapping[str, Any], *, asking: str) -> None:
        """Refuse options that the engine does not know."""

    # Registration

    @overload
    def register(
        self, _func_or_model: type, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., **options: Any,
    ) -> Callable[[F], F]: ...  # fmt: skip
    @overload
    def register(
        self, _func_or_model: F, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., **options: Any,
    ) -> F: ...  # fmt: skip
    @overload
    def register(
        self, _func_or_model: None = None, *, event_name: EventName = ..., name: str | None = ...,
        queue: str | None = ..., retry: RetryPolicy | None = ..., **options: Any,
    ) -> Callable[[F], F]: ...  # fmt: skip
    def register(
        self,
        _func_or_model: Any = None,
        *,
        event_name: EventName = "*",
        name: str | None = None,
        queue: str | None = None,
        retry: RetryPolicy | None = None,
        **options: Any,
    ) -> Any:
        """Run a function in a worker for the events that a pattern matches; a decorator in all its forms.

        A function is one subscription. Registered again, it listens to another pattern as well.

            @events.register
            @events.register(event_name="cat*", retry=RetryPolicy(max_retries=5))
            @events.register(CatRequestedAFish, queue="kitchen")     # a model with __event_name__

        Parameters:
            event_name: A shell-style pattern, or an Enum member.
            name: Identifies the subscription in messages; `module.qualname` if not given. Keep it when the
                function moves, as long as messages for it may be waiting.
            queue: Where its messages wait; the handler's queue if not given.
            retry: When it runs again after a failure; the handler's policy if not given.
            options: Passed on to the engine's actor or task.

        Returns:
            What it was given, or the decorator that does.

        Raises:
            ConfigurationError: When an option is unknown, a name is taken, or a parameter of the function
                cannot be filled.
        """
        asked = registration(_func_or_model, event_name)

        def subscribe(function: F) -> F:
            self._subscribe(
                Subscription(
                    name or name_of(function),
                    asked.patterns,
                    function,
                    plan(function, model=asked.model),
                    queue or self.queue,
                    retry or self._retry,
                    options,
                )
            )
            return function

        return subscribe if asked.function is None else subscribe(asked.function)

    def _subscribe(self, new: Subscription) -> None:
        for known in self.subscriptions:
            if known.name != new.name:
                continue
            if known.function is not new.function:
                raise ConfigurationError(
                    f"A subscription named {new.name!r} is registered already, for another function; "
                    "pass name= to give this one its own."
                )
            if (known.queue, known.retry, known.options) != (new.queue, new.retry, new.options):
                raise ConfigurationError(
                    f"{new.name} is registered already, with other options; "
                    "pass name= to make this a subscription of its own."
                )
            if known.plan.first != new.plan.first:
                raise ConfigurationError(
                    f"{new.name} is registered already, and would get another argument; "
                    "pass name= to make this a subscription of its own."
                )
            self.subscriptions.add_patterns(known, new.patterns)
            return
        self._check_options(new.options, asking=new.name)
        self._declare(new)
        self.subscriptions.add(new)

    # Publishing, in the web process

    def prepare(self, event: Event) -> None:
        """Encode the payload on the line that dispatches it, where a bad one can still be mended.

        Raises:
            UnserialisablePayload: When it cannot travel, with the place in the payload.
        """
        name = wire_name(event.name)
        if event.encoded is None:
            event.encoded = codec.encode(event.payload, event_name=name, max_bytes=self._max_payload_bytes)
        elif (size := len(event.encoded.encode())) > self._max_payload_bytes:  # another handler allowed more
            raise UnserialisablePayload(
                name,
                "payload",
                f"takes {size:,} bytes as JSON, more than the {self._max_payload_bytes:,} allowed",
            )

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Publish the events of a flush, within its deadline; report those lost that the broker did not take.

        Raises:
            NotPublished: When it did not.
            UnserialisablePayload: When a payload cannot travel; the others are published.
        """
        ready: list[Event] = []
        errors: list[Exception] = []
        for event in map(Event.of, events):
            try:
                self.prepare(event)
                ready.append(event)
            except UnserialisablePayload as error:
                tell(Lifecycle.lost, event, handler=self.name, reason=str(error))
                errors.append(error)
        try:
            if ready:
                await self.publish(ready)
        except NotPublished as refused:
            for event in ready:
                tell(Lifecycle.lost, event, handler=self.name, reason=str(refused))
            errors.append(refused)
        for each in errors:
            lifecycle.mark_reported(each)  # as lost, which says more than failed
        raise_together(errors, f"errors in {self.name}")

    async def handle(self, event: Event) -> None:
        """Publish one event."""
        await self.handle_many([event])

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events and wait until the broker has them.

        Raises:
            NotPublished: When it refused or did not answer within the deadline. In the latter case they may
                arrive all the same.
        """
        future = self._publisher.submit(Flush(events, self._seal_all(events)), size=len(events))
        waiting = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([waiting], timeout=self.flush_deadline)
        except asyncio.CancelledError:
            future.cancel()  # who cancels a flush reports its events lost, so they must not go out after all
            raise
        if not done and future.cancel():
            raise NotPublished(f"no room at the broker within {self.flush_deadline} s")
        if not done:
            waiting.add_done_callback(_look_at_the_outcome)
            raise NotPublished(f"no answer from the broker within {self.flush_deadline} s; it may have it")
        if waiting.cancelled():
            raise NotPublished("the process stopped before the broker took it")
        error = waiting.exception()
        if error is not None:
            raise NotPublished(f"{type(error).__name__}: {error}") from error
        tell(Lifecycle.published, events, handler=self.name)

    async def shutdown(self) -> None:
        """Publish what waits, within the shutdown deadline; each flush reports what it could not."""
        await asyncio.to_thread(self._publisher.shutdown, self._shutdown_deadline)
        self._disconnect()

    def _seal_all(self, events: Sequence[Event]) -> list[str]:
        texts = []
        for event in events:
            schema = registry.get(event.name)
            uri = None if schema is None else f"urn:fastapi-events:{schema.__module__}.{schema.__qualname__}"
            texts.append(envelope.seal(event, source=self._source, dataschema=uri))
        return texts

    def _publish_flushes(self, flushes: Sequence[Flush]) -> None:
        self._send([each for flush in flushes for each in self._messages(flush)], from_web=True)

    def _messages(self, flush: Flush) -> Iterable[Outgoing]:
        for texts in chunks(flush.envelopes):
            yield self._fan_out_message(texts, message_id(self._fan_out_name, flush.events[0].id, texts[0]))

    def _fan_out_message(self, texts: Sequence[str], identity: str) -> Outgoing:
        return Outgoing(self._fan_out_name, self.queue, f"[{','.join(texts)}]", identity)

    # Running, in a worker

    def fan_out(self, *args: Any, **kwargs: Any) -> None:
        """Enqueue a message for each event of a batch and each subscription that listens to it.

        What of a batch cannot be read is sent on alone, so that it is given up alone.

        Raises:
            UnreadableEnvelope: When none of it can be read.
        """
        batch = envelope.read_batch(only_argument(args, kwargs))
        messages: list[Outgoing] = []
        unreadable: list[tuple[Any, UnreadableEnvelope]] = []
        for each in batch:
            try:
                messages += self._messages_to_subscriptions(each)
            except UnreadableEnvelope as error:
                unreadable.append((each, error))
        if unreadable and len(batch) == 1:
            raise unreadable[0][1]
        for each, _ in unreadable:
            text = (
                envelope.write({"unreadable": each})
                if not isinstance(each, Mapping)
                else envelope.write(each)
            )
            messages.append(self._fan_out_message([text], message_id(self._fan_out_name, text)))
        if messages:
            self._send(messages, from_web=False)

    def _messages_to_subscriptions(self, each: Any) -> list[Outgoing]:
        event = envelope.unseal(each)
        listening = self.subscriptions.match(event.name)
        if not listening:
            tell(Lifecycle.unmatched, event, handler=self.name)
            return []
        text = each if isinstance(each, str) else envelope.write(each)
        return [
            Outgoing(one.name, one.queue or self.queue, text, message_id(event.id, one.name))
            for one in listening
        ]

    def perform(self, subscription: Subscription, *args: Any, **kwargs: Any) -> None:
        """Run a subscription for the event in its message.

        What it dispatches is published when it has succeeded, before the message is acknowledged.

        Raises:
            UnreadableEnvelope: When the message is no event.
            InvalidPayload: When the payload does not fit the subscription or the event's schema.
        """
        event = envelope.unseal(only_argument(args, kwargs))
        token = current_event.set(event)
        try:
            with tracing.handle_span(event, self):
                tell(Lifecycle.started, event, subscription=subscription.name)
                self._validate(event)
                self._run(subscription, event)
                tell(Lifecycle.succeeded, event, subscription=subscription.name)
        except BaseException as error:
            lifecycle.report_failure([event], handler=self.name, subscription=subscription.name, error=error)
            raise
        finally:
            current_event.reset(token)

    def _run(self, subscription: Subscription, event: Event) -> None:
        scope = collect_events([_Chained(self)], raise_errors=True)
        overrides = self.dependency_overrides

        async def run_on_loop() -> None:
            async with scope:
                await run(subscription.plan, event, caller=OnLoop(), overrides=overrides, from_wire=True)

        if subscription.plan.is_async:
            process_loop().run(run_on_loop())
        else:
            with scope:
                drive(run(subscription.plan, event, caller=InThread(), overrides=overrides, from_wire=True))

    def _validate(self, event: Event) -> None:
        schema = registry.get(event.name)
        if schema is None:
            return
        if schema not in self._schemas:
            self._schemas[schema] = PayloadType(schema)
        self._schemas[schema].from_json(event.payload if event.payload is not None else {})

    def _policy(self, subscription: Subscription) -> RetryPolicy:
        """The subscription's policy, which also knows what no retry can mend."""
        policy = subscription.retry or self._retry
        return policy.giving_up_on(UnreadableEnvelope, InvalidPayload)


class _Chained:
    """Publishes what a subscription has dispatched; when that fails, nothing is lost: it runs again."""

    def __init__(self, handler: TaskQueueHandler) -> None:
        self.name = handler.name
        self.prepare = handler.prepare
        self._publish = handler.publish

    async def handle_many(self, events: Iterable[Event]) -> None:
        await self._publish(list(events))


def _look_at_the_outcome(future: asyncio.Future[None]) -> None:
    # It comes too late to matter; not looking would make asyncio complain of an error nobody saw.
    if not future.cancelled():
        future.exception()


def _publish_the_rest(reference: weakref.ref[TaskQueueHandler]) -> None:
    """Last chance, when the interpreter ends without a lifespan shutdown."""
    handler = reference()
    if handler is None:
        return
    for flush in handler._publisher.shutdown(handler._shutdown_deadline):  # noqa: SLF001 - our own
        for event in flush.events:
            tell(
                Lifecycle.lost,
                event,
                handler=handler.name,
                reason="the process ended before the broker took it",
            )
