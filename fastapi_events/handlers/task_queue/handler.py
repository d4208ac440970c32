"""The engine-independent half of a queue handler."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack

from fastapi_events import codec, envelope, lifecycle
from fastapi_events.errors import (
    ConfigurationError,
    DeliveredTooOften,
    InvalidPayload,
    InvalidSetting,
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
from fastapi_events.handlers.task_queue.settings import PARTS, TaskQueueOptions, TaskQueueSettings
from fastapi_events.handlers.task_queue.spool import Spool
from fastapi_events.handlers.task_queue.turns import FAN_OUT_TURN, Once, Order, check_once
from fastapi_events.handlers.task_queue.worker.fan_out import FanOut
from fastapi_events.handlers.task_queue.worker.perform import Perform
from fastapi_events.leases import LEASE_SECONDS
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.subscriptions.subscription import Subscription

# Fan-out fails only with its broker, or when a message is no batch of events.
FAN_OUT_RETRY = RetryPolicy(
    max_retries=20, max_backoff=60.0, give_up_on=(UnreadableEnvelope, DeliveredTooOften)
)


class TaskQueueHandler(Registering):
    """The engine-independent half of a queue handler.

    Parameters:
        settings: See `TaskQueueSettings`, which has the defaults, too.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
    """

    def __init__(self, **settings: Unpack[TaskQueueOptions]) -> None:
        chosen = TaskQueueSettings.of(settings, asking=type(self).__name__, beside=_parameters(type(self)))
        if chosen.queue_type == "quorum" and not self._has_quorum_queues:
            raise InvalidSetting(f"{type(self).__name__}: queue_type='quorum' is for RabbitMQ.")
        super().__init__(Routes(chosen.queue, chosen.routes), chosen.retry)
        self.settings = chosen
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self.flush_deadline = chosen.flush_deadline
        self.max_crashes = chosen.max_crashes
        self.unknown_retry = chosen.unknown_retry
        self.outbox = chosen.outbox
        self.inbox = chosen.inbox
        self.dead_letters = chosen.dead_letters
        self.lanes = chosen.lanes
        self.persists_before_response = chosen.durability == "response"
        self.confirms_handled = chosen.confirm == "handled"
        self._fan_outs = frozenset(fan_out_name(each) for each in self.routes)
        self._max_payload_bytes = chosen.max_payload_bytes
        self._shutdown_deadline = chosen.shutdown_deadline
        order = None
        if self.lanes is not None:
            order = Order(
                self.lanes, self.name, self._send_in_worker, self._message_in_turn,
                stalled_after=self._longest_silence,
            )  # fmt: skip
        self._order = order
        self._publishing = Publishing(
            lambda messages: self._send(messages, from_web=True),
            begin=self._begin,
            routes=self.routes,
            source=chosen.source,
            deadline=chosen.flush_deadline,
            max_pending=chosen.max_pending_events,
            # Where an event cannot be kept, one failure does not yet speak for those that follow.
            breaker=Breaker(threshold=1 if self.outbox is not None else 3),
            extensions={RECEIPT_TO: self.name} if self.confirms_handled else {},
            order=order,
        )
        self._spool: Spool | None = None
        self._relaying: Relaying | None = None
        if self.outbox is not None:
            self._spool = Spool(
                self.outbox,
                self.name,
                confirm=chosen.confirm,
                seal=self._publishing.seal,
                deadline=chosen.flush_deadline,
                max_pending=chosen.max_pending_events,
                after_add=self._start_relaying,
            )
            if chosen.relay:
                self._relaying = self.relaying()
        self.flushing = Flushing(self.name, self._publishing, self._spool, resend_after=chosen.resend_after)
        self._fan_out = FanOut(
            self.name, self.subscriptions, self.routes, self._send_in_worker, outbox=self.outbox, order=order
        )
        self.perform = Perform(
            self,
            self.dependency_overrides,
            self.flushing,
            outbox=self.outbox,
            once=Once(self.inbox) if self.inbox is not None else None,
            order=order,
            send=self._send_in_worker,
            routes=self.routes,
        )
        atexit.register(_publish_the_rest, weakref.ref(self))

    # What an engine does

    _engine: str
    """The engine's name, in lower case."""

    _has_quorum_queues = False
    """Whether `queue_type="quorum"` means something to it."""

    @property
    def name(self) -> str:
        """Engine and queue, such as `dramatiq:shop`: how logs, metrics, commands and stores call it."""
        return f"{self._engine}:{self.queue}"

    def __repr__(self) -> str:
        count = len(list(self.subscriptions))
        facts = [f"{type(self).__name__} {self.name}", f"{count} subscription{'' if count == 1 else 's'}"]
        facts += [part for part in PARTS if getattr(self, part) is not None]
        return f"<{', '.join(facts)}>"

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
            event.encoded = codec.encode(
                event.full_payload, event_name=wire_name(event.name), max_bytes=self._max_payload_bytes
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
            raise ConfigurationError(f"{self.name} has no outbox that could be relayed: outbox=…")
        return Relaying(
            self.name, self._publishing, self.outbox, self.name, resend_after=self.settings.resend_after
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


def _parameters(handler: type[TaskQueueHandler]) -> frozenset[str]:
    """What its constructor takes beside the settings of all queue handlers."""
    found = inspect.signature(handler.__init__).parameters.values()
    return frozenset(each.name for each in found if each.kind is each.KEYWORD_ONLY)


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
