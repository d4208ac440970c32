"""The engine-independent half of a queue handler."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from fastapi_events import codec, envelope, lifecycle
from fastapi_events.constants import DEFAULT_QUEUE, DEFAULT_SOURCE, MAX_PAYLOAD_BYTES
from fastapi_events.errors import (
    ConfigurationError,
    DeliveredTooOften,
    InvalidPayload,
    NotPublished,
    StorageError,
    UnreadableEnvelope,
    UnserialisablePayload,
    raise_together,
)
from fastapi_events.event import Event, wire_name
from fastapi_events.handlers.task_queue.breaker import Breaker
from fastapi_events.handlers.task_queue.flushing import Flushing
from fastapi_events.handlers.task_queue.messages import (
    RECEIPT_TO,
    Diagnosis,
    Outgoing,
    events_in,
    fan_out_message,
    fan_out_name,
    is_batch,
    message_id,
    only_argument,
)
from fastapi_events.handlers.task_queue.publishing import Publishing
from fastapi_events.handlers.task_queue.registration import Registering
from fastapi_events.handlers.task_queue.relaying import Relaying
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.spool import Spool
from fastapi_events.handlers.task_queue.turns import FAN_OUT_TURN, Once, Order, check_once
from fastapi_events.handlers.task_queue.worker.fan_out import FanOut
from fastapi_events.handlers.task_queue.worker.perform import Perform
from fastapi_events.keeping import LEASE_SECONDS
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.base import DeadLetter, DeadLetters, Inbox, Lanes, Outbox
from fastapi_events.subscriptions.subscription import Subscription

# Fan-out fails only with its broker, or when a message is no batch of events.
FAN_OUT_RETRY = RetryPolicy(
    max_retries=20, max_backoff=60.0, give_up_on=(UnreadableEnvelope, DeliveredTooOften)
)

UNKNOWN_RETRY = RetryPolicy(max_retries=10, max_backoff=60.0)
"""How long a message waits for a worker that knows its subscription: some six minutes."""


class TaskQueueHandler(Registering):
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
        flush_deadline: Seconds that a flush may take, until its events go into the outbox or are reported
            lost.
        shutdown_deadline: Seconds that the web process waits for its last flushes when it stops.
        max_pending_events: How many events may wait for the broker in this process.
        outbox: Keeps the events that the broker does not take, for a relay to publish.
        durability: When events are in the outbox: `"flush"`, if the broker refuses them, or `"response"`,
            before the first byte of the response goes out.
        confirm: When the outbox may forget an event: when the broker has confirmed it (`"published"`), or
            when its subscriptions have run (`"handled"`).
        resend_after: With `confirm="handled"`, seconds until an event without all its receipts is published
            once more; longer than events usually wait in their queues.
        relay: Whether this process takes events from the outbox, once it has one to do it for.
        inbox: Remembers what subscriptions with `once=True` have completed.
        dead_letters: Keeps what is given up; the engine's own dead-letter queue does if not given.
        lanes: Where events with an ordering key wait for those before them.
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
        outbox: Outbox | None = None,
        durability: Literal["flush", "response"] = "flush",
        confirm: Literal["published", "handled"] = "published",
        resend_after: float = 60.0,
        relay: bool = True,
        inbox: Inbox | None = None,
        dead_letters: DeadLetters | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        if outbox is None and (durability != "flush" or confirm != "published"):
            raise ConfigurationError(
                f"durability={durability!r} and confirm={confirm!r} need an outbox: pass outbox=…"
            )
        super().__init__(Routes(queue, routes), retry)
        self.destination = f"{self._engine}:{queue}"
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self.flush_deadline = flush_deadline
        self.max_deliveries = max_deliveries
        self.unknown_retry = unknown_retry
        self._fan_outs = frozenset(fan_out_name(each) for each in self.routes)
        self._max_payload_bytes = max_payload_bytes
        self._shutdown_deadline = shutdown_deadline
        self.outbox = outbox
        self.inbox = inbox
        self.dead_letters = dead_letters
        self.lanes = lanes
        self._resend_after = resend_after
        order = None
        if lanes is not None:
            order = Order(
                lanes, self.destination, self._send_in_worker, self._message_in_turn,
                stalled_after=self._longest_silence,
            )  # fmt: skip
        self._order = order
        self.persists_before_response = durability == "response"
        self.confirms_handled = confirm == "handled"
        self._publishing = Publishing(
            lambda messages: self._send(messages, from_web=True),
            begin=self._begin,
            routes=self.routes,
            source=source,
            deadline=flush_deadline,
            max_pending=max_pending_events,
            # Where an event cannot be kept, one failure does not yet speak for those that follow.
            breaker=Breaker(threshold=1 if outbox is not None else 3),
            extensions={RECEIPT_TO: self.destination} if confirm == "handled" else {},
            order=order,
        )
        self._spool: Spool | None = None
        self._relaying: Relaying | None = None
        if outbox is not None:
            self._spool = Spool(
                outbox,
                self.destination,
                confirm=confirm,
                seal=self._publishing.seal,
                deadline=flush_deadline,
                max_pending=max_pending_events,
                after_add=self._start_relaying,
            )
            if relay:
                self._relaying = self.relaying()
        self.flushing = Flushing(self.name, self._publishing, self._spool, resend_after=resend_after)
        self._fan_out = FanOut(
            self.name, self.subscriptions, self.routes, self._send_in_worker, outbox=outbox, order=order
        )
        self.perform = Perform(
            self,
            self.dependency_overrides,
            self.flushing,
            outbox=outbox,
            once=Once(inbox) if inbox is not None else None,
            order=order,
            send=self._send_in_worker,
            routes=self.routes,
        )
        atexit.register(_publish_the_rest, weakref.ref(self))

    # What an engine does

    _engine: str
    """The engine's name, in lower case."""

    @abstractmethod
    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        """Enqueue messages, in their order and in one round trip where the broker can; or raise.

        Parameters:
            from_web: Whether a flush waits for it, whose deadline then bounds every step.
        """

    def _begin(
        self, messages: Callable[[], Sequence[Outgoing]], answered: Callable[[bool], None]
    ) -> Callable[[], None] | None:
        """Enqueue messages from the running event loop, where the engine can do so without waiting.

        Parameters:
            messages: What makes them, if it comes to that.
            answered: To be called on the loop, with whether the broker has confirmed them. If not, `_send`
                gets them.

        Returns:
            What gives them up, though they may arrive; None when nothing has been sent, so that `_send` gets
            them.
        """
        return None

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection that `_send` keeps for the web process; the next flush opens another."""

    # Publishing, in the web process

    def on_dispatch(self, event: Event) -> None:
        """Encode the payload on the line that dispatches it, where a bad one can still be mended.

        Raises:
            UnserialisablePayload: When it cannot travel, with the place in the payload.
            DelayTooLong: When the broker cannot hold the event back until it is due, and there is no outbox.
        """
        if event.due is not None and self.outbox is None:
            self._check_delay(event, event.due)
        if event.ordering_key is not None and self._order is None:
            raise ConfigurationError(
                f"Event {wire_name(event.name)!r} has an ordering key, and {self.name} nothing to keep it in "
                "order with: pass lanes= to the handler."
            )
        encoded = event.encoded
        if encoded is None:
            name, payload = event
            event.encoded = codec.encode(
                payload, event_name=wire_name(name), max_bytes=self._max_payload_bytes
            )
        elif (  # another handler allowed more; a character takes four bytes at most
            len(encoded) * 4 > self._max_payload_bytes
            and (size := len(encoded.encode())) > self._max_payload_bytes
        ):
            raise UnserialisablePayload(
                wire_name(event.name),
                "payload",
                f"takes {size:,} bytes as JSON, more than the {self._max_payload_bytes:,} allowed",
            )

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Publish the events of a flush, or keep them in the outbox, within the deadline.

        Raises:
            NotPublished: When there is no outbox, or it failed, too; the events are reported lost.
            UnserialisablePayload: When a payload cannot travel; the others are published.
        """
        ready: list[Event] = []
        errors: list[Exception] = []
        for event in map(Event.of, events):
            try:
                self.on_dispatch(event)
                ready.append(event)
            except UnserialisablePayload as error:
                tell(Lifecycle.lost, event, handler=self.name, reason=str(error))
                errors.append(error)
        try:
            if ready:
                await self.flushing.flush(ready)
        except NotPublished as refused:
            for each in refused.events:
                tell(Lifecycle.lost, Event.of(each), handler=self.name, reason=str(refused))
            errors.append(refused)
        for reported in errors:
            lifecycle.mark_reported(reported)  # as lost, which says more than failed
        raise_together(errors, f"errors in {self.name}")

    async def handle(self, event: Event) -> None:
        """Publish one event."""
        await self.handle_many([event])

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish events, or keep them in the outbox, and wait until one of the two has them.

        Raises:
            NotPublished: When neither did within the deadline. A broker that did not answer may have them all
                the same.
        """
        await self.flushing.flush(events)

    async def persist(self, events: Sequence[Event]) -> None:
        """Keep events in the outbox before their response goes out, with `durability="response"`.

        Raises:
            StorageError: When the outbox did not take them; they are flushed all the same.
        """
        ready = []
        for event in map(Event.of, events):
            with contextlib.suppress(UnserialisablePayload):  # reported when it is flushed
                self.on_dispatch(event)
                ready.append(event)
        await self.flushing.persist(ready)

    async def forget(self, events: Sequence[Event]) -> None:
        """Forget persisted events, which are not to be flushed after all."""
        await self.flushing.forget(events)

    # The web process's life

    async def on_startup(self) -> None:
        """Check the outbox, and begin to relay what it holds.

        Raises:
            StorageNotReady: When the outbox cannot be used, with what to do about it.
        """
        if self.outbox is not None:
            await asyncio.to_thread(self.outbox.check)
        self._start_relaying()

    async def on_shutdown(self) -> None:
        """Publish what waits, within the shutdown deadline; each flush keeps or reports what it could not."""
        await asyncio.to_thread(self._publishing.shutdown, self._shutdown_deadline)
        await self.flushing.settle(self._shutdown_deadline)
        if self._spool is not None:
            await asyncio.to_thread(self._spool.shutdown, self._shutdown_deadline)
        if self._relaying is not None:
            await asyncio.to_thread(self._relaying.stop, self._shutdown_deadline)
        self._disconnect()

    def relaying(self) -> Relaying:
        """A relay for this handler's entries in its outbox, not started yet.

        Raises:
            ConfigurationError: When it has no outbox.
        """
        if self.outbox is None:
            raise ConfigurationError(f"{self.destination} has no outbox that could be relayed: outbox=…")
        return Relaying(
            self.name, self._publishing, self.outbox, self.destination, resend_after=self._resend_after
        )

    def _start_relaying(self) -> None:
        if self._relaying is not None:
            self._relaying.start()

    # Running, in a worker

    def fan_out(self, *args: Any, **kwargs: Any) -> None:
        """Handle a message to fan-out: find who listens to its events.

        Raises:
            UnreadableEnvelope: When the message holds no event.
        """
        self._fan_out(envelope.read_batch(only_argument(args, kwargs)))

    def given_up(self, subscription: str, event: Event) -> None:
        """Let those go on who waited for a message that has been given up, and is kept.

        Parameters:
            subscription: Its name, or that of fan-out.
        """
        if subscription in self._fan_outs:
            self._fan_out.given_up(event)
        else:
            self.perform.given_up(subscription, event)

    def replay(self, letters: Sequence[DeadLetter]) -> None:
        """Send messages that were given up to their subscriptions once more; their attempts count anew.

        The letters stay where they are: once this has returned, tell their store that they are `replayed`.

        Raises:
            NotPublished: When the broker did not take them.
        """
        try:
            self._send_in_worker([message for each in letters for message in self._messages_of(each)])
        except Exception as error:  # whatever the broker's client raises
            raise NotPublished(f"{type(error).__name__}: {error}") from error

    def _messages_of(self, letter: DeadLetter) -> Sequence[Outgoing]:
        events = events_in([letter.argument])
        if self._order is not None and len(events) == 1 and self._order.concerns(events[0]):
            # It has left its lane when it was given up, and queues up at the end; its turn may not be now.
            target = FAN_OUT_TURN if letter.subscription in self._fan_outs else letter.subscription
            text = envelope.write(codec.decode(letter.argument))
            item = text[1:-1] if is_batch(text) else text
            return self._order.queue_up(target, str(events[0].ordering_key), [(events[0].id, item)])
        return [Outgoing(letter.subscription, letter.queue, letter.argument, letter.id)]

    def sweep_lanes(self) -> None:
        """Send the heads of lanes once more whose messages seem to be lost."""
        if self._order is not None:
            self._order.sweep()

    def diagnose(self) -> Iterable[Diagnosis]:
        """What `fastapi-events doctor` should know of the engine and its broker."""
        return ()

    def _check_once(self, subscription: Subscription) -> None:
        if subscription.once:
            check_once(self.inbox, asking=subscription.name)

    def _send_in_worker(self, messages: Sequence[Outgoing]) -> None:
        if messages:
            self._send(messages, from_web=False)

    def _message_in_turn(self, target: str, item: str, text: str) -> Outgoing:
        routed = self.routes.queue_for_envelope(text)
        if target == FAN_OUT_TURN:
            return fan_out_message(routed, [text], item)
        subscription = self.subscriptions.named(target)
        own = None if subscription is None else subscription.queue
        return Outgoing(target, self.routes.to_subscription(own, routed), text, message_id(item, target))

    def _longest_silence(self) -> float:
        """Seconds for which nobody may work at a message that is not lost: it waits for its retry."""
        policies = [self._retry, *(each.retry for each in self.subscriptions if each.retry is not None)]
        return max(policy.longest_wait for policy in policies) + 2 * LEASE_SECONDS

    def _policy(self, subscription: Subscription) -> RetryPolicy:
        """The subscription's policy, which also knows what no retry can mend."""
        policy = subscription.retry or self._retry
        return policy.giving_up_on(UnreadableEnvelope, InvalidPayload, DeliveredTooOften)


def _publish_the_rest(reference: weakref.ref[TaskQueueHandler]) -> None:
    """Last chance, when the interpreter ends without a lifespan shutdown."""
    handler = reference()
    if handler is None:
        return
    left = handler._publishing.shutdown(handler._shutdown_deadline)  # noqa: SLF001 - our own
    spool = handler._spool  # noqa: SLF001
    if not left:
        return
    reason = "the process ended before the broker took it"
    try:
        if spool is not None:
            spool.add_now(left)
            return
    except StorageError as error:
        reason = f"{reason}; and the outbox did not take it: {error}"
    for event in left:
        tell(Lifecycle.lost, event, handler=handler.name, reason=reason)
