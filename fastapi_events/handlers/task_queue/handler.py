"""The engine-independent half of a queue handler."""

from __future__ import annotations

import asyncio
import atexit
import difflib
import weakref
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from fastapi_events import codec, envelope, lifecycle
from fastapi_events.constants import DEFAULT_QUEUE, DEFAULT_SOURCE, MAX_PAYLOAD_BYTES
from fastapi_events.errors import (
    ConfigurationError,
    DeliveredTooOften,
    InvalidPayload,
    NotPublished,
    UnreadableEnvelope,
    UnserialisablePayload,
    raise_together,
)
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.messages import Outgoing, only_argument
from fastapi_events.handlers.task_queue.performing import FanOut, Perform
from fastapi_events.handlers.task_queue.publishing import Publishing
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.plan import plan
from fastapi_events.subscriptions.subscription import Subscription, Subscriptions, name_of, registration

F = TypeVar("F", bound=Callable[..., Any])

# Fan-out fails only with its broker, or when a message is no batch of events.
FAN_OUT_RETRY = RetryPolicy(
    max_retries=20, max_backoff=60.0, give_up_on=(UnreadableEnvelope, DeliveredTooOften)
)

UNKNOWN_RETRY = RetryPolicy(max_retries=10, max_backoff=60.0)
"""How long a message waits for a worker that knows its subscription: some six minutes."""


class TaskQueueHandler(BaseEventHandler):
    """The engine-independent half of a queue handler.

    Parameters:
        queue: Where fan-out messages wait, and those of subscriptions that name no queue of their own.
        routes: Queues for events of certain names, such as `{"billing.*": "billing"}`, instead of `queue`;
            the first pattern that matches decides.
        retry: When a failed subscription runs again, unless it says so itself.
        unknown_retry: When a message for a subscription that no running worker has is tried again.
        max_deliveries: How often a message is delivered whose worker dies of it, before it is given up.
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
        routes: Mapping[str, str] | None = None,
        retry: RetryPolicy = RetryPolicy(),
        unknown_retry: RetryPolicy = UNKNOWN_RETRY,
        max_deliveries: int = 3,
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
        self.max_deliveries = max_deliveries
        self.routes = Routes(queue, routes)
        self._retry = retry
        self._unknown_retry = unknown_retry
        self._max_payload_bytes = max_payload_bytes
        self._shutdown_deadline = shutdown_deadline
        self._publishing = Publishing(
            lambda messages: self._send(messages, from_web=True),
            routes=self.routes,
            source=source,
            deadline=flush_deadline,
            max_pending=max_pending_events,
        )
        self._fan_out = FanOut(
            self.name, self.subscriptions, self.routes, lambda messages: self._send(messages, from_web=False)
        )
        self.perform = Perform(self, self.dependency_overrides, self.publish)
        atexit.register(_publish_the_rest, weakref.ref(self))

    # What an engine does

    _options_of: str
    """Where the options of `register` are documented."""

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
    def _known_options(self) -> Collection[str]:
        """What `register` may be given beside its own parameters."""

    def _refused_options(self) -> Mapping[str, str]:
        """Options that the engine knows and we cannot grant, each with what to do instead."""
        return {}

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
        self._check_options(new)
        self._declare(new)
        self.subscriptions.add(new)

    def _check_options(self, new: Subscription) -> None:
        known, refused = self._known_options(), self._refused_options()
        for option in new.options:
            if option in refused:
                raise ConfigurationError(f"{new.name}: {option!r} {refused[option]}")
            if option not in known:
                close = difflib.get_close_matches(option, {*known, "queue", "retry", "name", "event_name"}, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"it is no option of {self._options_of}."
                raise ConfigurationError(f"{new.name}: unknown option {option!r}; {hint}")

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that a worker has to consume: the handler's, those of its routes and subscriptions."""
        return tuple(
            dict.fromkeys([*self.routes, *(each.queue or self.queue for each in self.subscriptions)])
        )

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
        await self._publishing.publish(events)
        tell(Lifecycle.published, events, handler=self.name)

    async def shutdown(self) -> None:
        """Publish what waits, within the shutdown deadline; each flush reports what it could not."""
        await asyncio.to_thread(self._publishing.shutdown, self._shutdown_deadline)
        self._disconnect()

    # Running, in a worker

    def fan_out(self, *args: Any, **kwargs: Any) -> None:
        """Handle a message to fan-out: find who listens to its events.

        Raises:
            UnreadableEnvelope: When the message holds no event.
        """
        self._fan_out(envelope.read_batch(only_argument(args, kwargs)))

    def _policy(self, subscription: Subscription) -> RetryPolicy:
        """The subscription's policy, which also knows what no retry can mend."""
        policy = subscription.retry or self._retry
        return policy.giving_up_on(UnreadableEnvelope, InvalidPayload, DeliveredTooOften)


def _publish_the_rest(reference: weakref.ref[TaskQueueHandler]) -> None:
    """Last chance, when the interpreter ends without a lifespan shutdown."""
    handler = reference()
    if handler is None:
        return
    for event in handler._publishing.shutdown(handler._shutdown_deadline):  # noqa: SLF001 - our own
        tell(
            Lifecycle.lost, event, handler=handler.name, reason="the process ended before the broker took it"
        )
