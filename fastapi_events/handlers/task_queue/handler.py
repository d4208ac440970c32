"""The engine-independent half of a queue handler."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Unpack

from fastapi_events import checks, codec, lifecycle, redaction
from fastapi_events.dispatch_options import check_header_names
from fastapi_events.errors import (
    ConfigurationError,
    InvalidSetting,
    NotPublished,
    StorageError,
    UnserialisablePayload,
    raise_together,
)
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.handlers.strict_names import unknown_name
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.handlers.task_queue.engine import Actor, Engine, unknown_actor
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.health import Health, HealthCheck
from fastapi_events.handlers.task_queue.in_place import failures_in_place
from fastapi_events.handlers.task_queue.messages import RECEIPT_TO, fan_out_name
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.pausing import Pausing
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.publish.flush_outcome import Flusher
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.outbox_writer import OutboxWriter
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.registration import Registering
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.settings import PARTS, TaskQueueOptions, TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.replay import Pace
from fastapi_events.handlers.task_queue.worker.worker import FAN_OUT_RETRY, Worker
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.recorder import recorder_of
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.catalogue import Catalogue, Pause
from fastapi_events.storage.dead_letters import DeadLetter, DeadLetters
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.storage.outbox import Entry, Outbox
from fastapi_events.subscriptions.subscription import Subscription


class TaskQueueHandler(Registering):
    """Publishes events to a task queue, and runs subscriptions in its workers.

    Parameters:
        engine: The task queue: Dramatiq, Celery, or another one.
        settings: See `TaskQueueSettings`, which has the defaults, too.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
    """

    def __init__(self, engine: Engine, **settings: Unpack[TaskQueueOptions]) -> None:
        chosen = TaskQueueSettings.of(settings, asking=type(self).__name__, beside=_parameters(type(self)))
        if chosen.queue_type == "quorum" and not engine.has_quorum_queues:
            raise InvalidSetting(f"{type(self).__name__}: queue_type='quorum' is for RabbitMQ.")
        engine.configure(chosen)
        super().__init__(engine, Routes(chosen.queue, chosen.routes), chosen.retry)
        self.settings = chosen
        self._encryption = None if chosen.encrypt is None else Encryption(chosen.encrypt)
        redaction.use(self, chosen.redact, None if chosen.encrypt is None else chosen.encrypt[1])
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        """Dependencies to replace, for tests: `handler.dependency_overrides[get_session] = fake_session`."""
        self.outbox: Outbox | None = chosen.outbox
        self.inbox: Inbox | None = chosen.inbox
        self.dead_letters: DeadLetters | None = chosen.dead_letters
        self.lanes: Lanes | None = chosen.lanes
        self.journal: Journal | None = chosen.journal
        self.audit: Audit = Audit(f"{engine.name}:{chosen.queue}", chosen.journal)
        """Who did what to its events."""
        self._recorder = None if chosen.journal is None else recorder_of(chosen.journal)
        if self._recorder is not None:
            self._recorder.attach(self, payloads=chosen.journal_payloads)
        self.persists_before_response: bool = chosen.durability == "response"
        self.confirms_handled: bool = chosen.confirm == "handled"
        self._max_payload_bytes = chosen.max_payload_bytes
        self._shutdown_deadline = chosen.shutdown_deadline
        self._catalogue_is_said = "catalogue" in settings
        self.fleet: Fleet = Fleet(self, forget_after=chosen.forget_after)
        """What this process knows of the handler's other workers."""
        self._pausing = Pausing(self, self.fleet, self.audit)
        addresses = Addresses(self.routes, self.subscriptions, self.fleet)
        order = None if self.lanes is None else Order(self.lanes, self.name, engine)
        self._order = order
        sealer = Sealer(
            chosen.source,
            {RECEIPT_TO: self.name} if self.confirms_handled else {},
            encryption=self._encryption,
        )
        self._publisher = Publisher(
            engine,
            routes=self.routes,
            sealer=sealer,
            deadline=chosen.flush_deadline,
            max_pending=chosen.max_pending_events,
            # Where an event cannot be kept, one failure does not yet speak for those that follow.
            breaker=CircuitBreaker(threshold=1 if self.outbox is not None else 3),
        )
        self._lane_writer: LaneWriter | None = None
        if order is not None:
            self._lane_writer = LaneWriter(
                order,
                routes=self.routes,
                sealer=sealer,
                deadline=chosen.flush_deadline,
                max_pending=chosen.max_pending_events,
                outbox=self.outbox,
                sender=engine,
            )
        self._outbox_writer: OutboxWriter | None = None
        self._relay_thread: RelayThread | None = None
        if self.outbox is not None:
            if chosen.relay:
                self._relay_thread = self.relay_thread()
            self._outbox_writer = OutboxWriter(
                self.outbox,
                self.name,
                confirm=chosen.confirm,
                sealer=sealer,
                deadline=chosen.flush_deadline,
                max_pending=chosen.max_pending_events,
                relay=self._relay_thread,
            )
        self.flusher: Flusher = Flusher(
            self.name,
            self._publisher,
            self._outbox_writer,
            lanes=self._lane_writer,
            resend_after=chosen.resend_after,
        )
        self.worker: Worker = Worker(
            self,
            engine,
            addresses,
            self.flusher,
            self.dependency_overrides,
            context_from=chosen.context_from,
            encryption=self._encryption,
            unknown_retry=chosen.unknown_retry.within(engine.longest_delay),
            max_crashes=chosen.max_crashes,
            outbox=self.outbox,
            inbox=self.inbox,
            dead_letters=self.dead_letters,
            order=order,
            keeps_unmatched=chosen.unmatched == "keep",
        )
        """What the engine's workers call."""
        self._health = HealthCheck(
            self.name,
            engine,
            self._publisher,
            outbox=self.outbox,
            relay=self._relay_thread,
            max_pending=chosen.max_pending_events,
            timeout=chosen.flush_deadline,
        )
        policy = FAN_OUT_RETRY.within(engine.longest_delay)
        for each in self.routes:
            engine.declare(
                Actor(name=fan_out_name(each), queue=each, policy=policy, options={}, worker=self.worker)
            )
        atexit.register(_publish_the_rest, weakref.ref(self))

    def _declare(self, subscription: Subscription) -> None:
        self.engine.declare(
            Actor(
                name=subscription.name,
                queue=subscription.queue or self.queue,
                policy=subscription.retry or self.settings.retry,
                options=subscription.options,
                worker=self.worker,
                subscription=subscription,
            )
        )

    @property
    def name(self) -> str:  # type: ignore[override]  # of a queue handler it is not for anybody to assign
        """Engine and queue, such as `dramatiq:shop`: how logs, metrics, commands and stores call it."""
        return f"{self.engine.name}:{self.queue}"

    def __repr__(self) -> str:
        subscriptions = checks.counted(len(self.subscriptions), "subscription")
        facts = [f"{type(self).__name__} {self.name}", subscriptions]
        facts += [part for part in PARTS if getattr(self.settings, part) is not None]
        return f"<{', '.join(facts)}>"

    @cached_property
    def catalogue(self) -> Catalogue | None:
        """Where its workers announce themselves and find the others; None where each knows itself only.

        One in memory, which a store may bring, does not stand in for what the broker can keep for all.
        """
        given = self.settings.catalogue
        if self._catalogue_is_said or not (given is None or isinstance(given, MemoryCatalogue)):
            return given
        of_broker = self.engine.catalogue()
        return given if of_broker is None else of_broker

    @property
    def knows_itself_only(self) -> bool:
        """Whether no other process can have its catalogue."""
        catalogue = self.catalogue
        in_memory = isinstance(catalogue, MemoryCatalogue) and not self._catalogue_is_said
        return catalogue is None or in_memory

    def expect(self, name: str, queue: str) -> None:
        """Messages may come to a queue for a function that only other workers have."""
        self.engine.expect(unknown_actor(self.worker, name, queue))

    def listens(self, name: EventName) -> bool:
        """Whether a function of this process or of the other workers listens to an event of this name.

        Also where that cannot be found out.
        """
        return self.fleet.listens(name)

    def listens_to(self) -> list[str]:
        """What they listen to, as far as this process knows."""
        return self.fleet.patterns()

    # Publisher, in the web process

    def on_dispatch(self, event: Event) -> None:
        """Encode the payload on the line that dispatches it, where a bad one can still be mended.

        Raises:
            UnserialisablePayload: When it cannot travel, with the place in the payload.
            UnknownEventName: With `strict_names`, when nobody listens to its name, and it has no schema.
            DelayTooLong: When the broker cannot hold the event back until it is due, and there is no outbox.
            ConfigurationError: When `headers_from` gives a header a name that cannot travel.
        """
        if self.settings.strict_names and registry.get(event.name) is None and not self.listens(event.name):
            raise unknown_name(event.name, self.name, self.listens_to())
        if event.due is not None and self.outbox is None:
            self._check_delay(event, event.due)
        if event.ordering_key is not None and self._order is None:
            raise ConfigurationError(
                f"Event {wire_name(event.name)!r} has an ordering key, and {self.name} nothing to keep it in "
                "order with: pass lanes= to the handler."
            )
        encoded = event.encoded
        if encoded is None and self.settings.headers_from is not None:
            headers = self.settings.headers_from()
            check_header_names(headers)
            for name, value in headers.items():
                event.headers.setdefault(name, value)
        if encoded is None:
            schema = registry.get(event.name)
            sensitive = [] if schema is None else list(redaction.places_in(schema))
            event.encoded = codec.encode(
                event.full_payload, event_name=wire_name(event.name), max_bytes=self._max_payload_bytes,
                sensitive=sensitive,
            )  # fmt: skip
            if sensitive:
                event.headers[redaction.SENSITIVE] = redaction.written(dict.fromkeys(sensitive))
        elif (  # another handler allowed more; a character takes four bytes at most
            len(encoded) * 4 > self._max_payload_bytes
            and (size := len(encoded.encode())) > self._max_payload_bytes
        ):
            raise UnserialisablePayload(
                wire_name(event.name),
                "payload",
                f"takes {size:,} bytes as JSON, more than the {self._max_payload_bytes:,} allowed",
            )
        if self._encryption is not None:
            self._encryption.lock(event)

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Publish the events of a flush, or keep them in the outbox, within the deadline.

        Raises:
            NotPublished: When there is no outbox, or it failed, too; the events are reported lost.
            UnserialisablePayload: When a payload cannot travel; the others are published.
        """
        ready: list[Event] = []
        errors: list[BaseException] = []
        for event in map(Event.of, events):
            try:
                self.on_dispatch(event)
                ready.append(event)
            except UnserialisablePayload as error:
                tell(Lifecycle.lost, event, handler=self.name, reason=str(error))
                errors.append(error)
        failed: Sequence[BaseException] = ()
        try:
            if ready:
                with failures_in_place() as failed:
                    await self.flusher.flush(ready)
        except NotPublished as refused:
            for each in refused.events:
                tell(Lifecycle.lost, Event.of(each), handler=self.name, reason=str(refused))
            errors.append(refused)
        errors += failed
        for reported in errors:
            lifecycle.mark_reported(reported)  # as lost or dead, which says more than failed
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
        await self.flusher.flush(events)

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
        await self.flusher.persist(ready)

    async def forget(self, events: Sequence[Event]) -> None:
        """Forget persisted events, which are not to be flushed after all."""
        await self.flusher.forget(events)

    # The web process's life

    def entries(self, events: Sequence[Event]) -> list[Entry]:
        """The outbox entries for these events; the caller inserts them in its own transaction."""
        return self.flusher.entries(events)

    def committed(self, events: Sequence[Event], since: float) -> None:
        """Take note that a transaction with the entries of these events is committed; `publish` follows.

        Parameters:
            since: When the entries were made, on the monotonic clock.
        """
        self.flusher.committed(events, since)

    async def on_startup(self) -> None:
        """Check the outbox, and begin to relay what it holds.

        Raises:
            StorageNotReady: When the outbox cannot be used, with what to do about it.
        """
        if self.outbox is not None:
            await asyncio.to_thread(self.outbox.check)
        self._start_relaying()
        if self.settings.strict_names:
            await asyncio.to_thread(self.fleet.look)

    async def on_shutdown(self) -> None:
        """Publish what waits, within the shutdown deadline; each flush keeps or reports what it could not."""
        if self._lane_writer is not None:
            await asyncio.to_thread(self._lane_writer.shutdown, self._shutdown_deadline)
        await asyncio.to_thread(self._publisher.shutdown, self._shutdown_deadline)
        await self.flusher.settle(self._shutdown_deadline)
        if self._outbox_writer is not None:
            await asyncio.to_thread(self._outbox_writer.shutdown, self._shutdown_deadline)
        if self._relay_thread is not None:
            await asyncio.to_thread(self._relay_thread.stop, self._shutdown_deadline)
        await asyncio.to_thread(self.worker.leave)
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.flush, self._shutdown_deadline)
        await self.engine.close_on_loop()
        self.engine.close()

    def relay_thread(self) -> RelayThread:
        """A relay for this handler's entries in its outbox, not started yet.

        Raises:
            ConfigurationError: When it has no outbox.
        """
        if self.outbox is None:
            raise ConfigurationError(f"{self.name} has no outbox that could be relayed: outbox=…")
        return RelayThread(
            self.name,
            self._publisher,
            self.outbox,
            self.name,
            resend_after=self.settings.resend_after,
            order=self._lane_writer,
        )

    def _start_relaying(self) -> None:
        if self._relay_thread is not None:
            self._relay_thread.start()

    # Looking after it

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry: the engine's say."""
        return self.engine.longest_delay

    def pause(
        self, subscription: str, *, duration: float | timedelta | None = None, by: str | None = None
    ) -> Pause:
        """Let a subscription start nothing new, on all workers, within two seconds.

        Its messages wait, and count no attempts; other subscriptions go on. A restart of workers keeps it
        paused.

        Parameters:
            subscription: Its name.
            duration: Seconds, or a `timedelta`, until it goes on by itself; None until it is resumed.
            by: Who pauses it, or why; the user and the machine if not given.

        Raises:
            ConfigurationError: When there is no such subscription, or the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.pause(subscription, duration=duration, by=by)

    def resume(self, subscription: str) -> bool:
        """Let a subscription go on. What has waited is looked at again within 20 seconds.

        Returns:
            Whether it was paused.

        Raises:
            ConfigurationError: When there is no such subscription, or the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.resume(subscription)

    def paused(self) -> Sequence[Pause]:
        """The subscriptions that are paused, by name.

        Raises:
            ConfigurationError: When the handler has no catalogue.
            StorageError: When the catalogue fails.
        """
        return self._pausing.paused()

    def replay(self, letters: Sequence[DeadLetter], *, by: str | None = None) -> None:
        """Send messages that were given up to their subscriptions once more; their attempts count anew.

        The letters stay where they are: once this has returned, tell their store that they are `replayed`.

        Raises:
            NotPublished: When the broker did not take them.
        """
        self.worker.dead_letters.replay(letters)
        self.audit.note("replayed", _ids_of(letters), count=len(letters), by=by)

    def replay_all(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        matching: LetterFilter | None = None,
        rate: float | None = None,
        max_in_flight: int | None = None,
        by: str | None = None,
    ) -> Iterator[int]:
        """Replay dead letters step by step, so that it can be interrupted and begun again.

        A letter is discarded once the broker has confirmed its message. Whatever ends this halfway, what is
        left are the letters that have not been replayed; at most a step of them is sent twice, with the same
        ids. Letters that are kept meanwhile, because they failed again, are left, however soon that was.

        Parameters:
            subscription: Only letters to this subscription.
            event_name: Only letters about this event.
            matching: Only letters that this filter means.
            rate: So many a second, at most.
            max_in_flight: So many at most that are replayed and whose functions have not ended.
            by: Who does it, for the audit trail; the user of this process if not given.

        Returns:
            How many were replayed, after each step.

        Raises:
            ConfigurationError: When the handler has no store of dead letters, or no journal to tell what is
                in flight.
            NotPublished: When the broker did not take them.
            StorageError: When the store fails.
        """
        wanted = matching or LetterFilter()
        wanted = replace(
            wanted,
            subscription=subscription or wanted.subscription,
            event_name=event_name or wanted.event_name,
        )
        steps = self.worker.dead_letters.replay_all(wanted, Pace(rate, max_in_flight, self.journal))
        return self._counted(steps, "replayed", wanted, by)

    def discard(
        self, letters: Sequence[DeadLetter], *, matching: LetterFilter | None = None, by: str | None = None
    ) -> int:
        """Remove dead letters for ever, and count those that were there.

        Parameters:
            matching: The filter that has chosen them, for the audit trail.
            by: Who does it; the user of this process if not given.

        Raises:
            ConfigurationError: When the handler has no store of dead letters.
        """
        if self.dead_letters is None:
            raise ConfigurationError(f"{self.name} has no store of dead letters: dead_letters=…")
        count = self.dead_letters.discard([each.id for each in letters])
        subject = _ids_of(letters) if matching is None else str(matching)
        self.audit.note("discarded", subject, count=count, by=by)
        return count

    def _counted(
        self, steps: Iterator[int], what: str, matching: LetterFilter, by: str | None
    ) -> Iterator[int]:
        done = 0
        try:
            for count in steps:
                done += count
                yield count
        finally:
            if done:
                self.audit.note(what, str(matching), count=done, by=by)

    async def health(self) -> Health:
        """How the handler is in this process, found out within its `flush_deadline`."""
        return await self._health.health()

    def look_after_lanes(self) -> int:
        """Tell workers once more of events with an ordering key that nobody has come for.

        Returns:
            Of how many lanes they were told.

        Raises:
            StorageError: When the lanes cannot be asked.
        """
        return 0 if self._order is None else self._order.look()

    def diagnose(self) -> Iterable[Finding]:
        """What `fastapi-events doctor` should know of the engine and its broker."""
        return self.engine.diagnose(
            list(self.subscriptions), self.queues, confirms_handled=self.confirms_handled
        )


def _ids_of(letters: Sequence[DeadLetter]) -> str:
    named = ", ".join(each.id for each in letters[:3])
    return f"{named} and {len(letters) - 3} more" if len(letters) > 3 else named


def _parameters(handler: type[TaskQueueHandler]) -> frozenset[str]:
    """What its constructor takes beside the settings of all queue handlers."""
    found = inspect.signature(handler.__init__).parameters.values()
    return frozenset(each.name for each in found if each.kind is each.KEYWORD_ONLY)


def _publish_the_rest(reference: weakref.ref[TaskQueueHandler]) -> None:
    """Last chance, when the interpreter ends without a lifespan shutdown."""
    handler = reference()
    if handler is None:
        return
    left = handler._publisher.shutdown(handler._shutdown_deadline)  # noqa: SLF001 - our own
    if (lanes := handler._lane_writer) is not None:  # noqa: SLF001
        left += lanes.shutdown(handler._shutdown_deadline)  # noqa: SLF001
    writer = handler._outbox_writer  # noqa: SLF001
    if not left:
        return
    reason = "the process ended before the broker took it"
    try:
        if writer is not None:
            writer.write_now(left)
            return
    except StorageError as error:
        reason = f"{reason}; and the outbox did not take it: {error}"
    for event in left:
        tell(Lifecycle.lost, event, handler=handler.name, reason=reason)
