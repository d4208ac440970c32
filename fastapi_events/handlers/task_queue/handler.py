"""The engine-independent half of a queue handler."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Unpack

from fastapi_events import checks, lifecycle, redaction
from fastapi_events.errors import (
    ConfigurationError,
    InvalidSetting,
    NotPublished,
    UnserialisablePayload,
    raise_together,
)
from fastapi_events.event import Event, EventName, wire_name
from fastapi_events.handlers.strict_names import unknown_name
from fastapi_events.handlers.task_queue.addresses import Addresses
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.handlers.task_queue.engine import Actor, Engine, unknown_actor
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.health import HealthCheck
from fastapi_events.handlers.task_queue.in_place import failures_in_place
from fastapi_events.handlers.task_queue.messages import fan_out_name
from fastapi_events.handlers.task_queue.operations import Operations
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.pausing import Pausing
from fastapi_events.handlers.task_queue.publish.flush_outcome import Flusher
from fastapi_events.handlers.task_queue.publish.outlet import Outlet
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.settings import PARTS, TaskQueueOptions, TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.worker import FAN_OUT_RETRY, Worker
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.recorder import recorder_of
from fastapi_events.registry.payload_schema import registry
from fastapi_events.storage.catalogue import Catalogue
from fastapi_events.storage.dead_letters import DeadLetters
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.storage.outbox import Entry, Outbox
from fastapi_events.subscriptions.signature import signature_of
from fastapi_events.subscriptions.subscription import Subscription


class TaskQueueHandler(Operations):
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
        encryption = None if chosen.encrypt is None else Encryption(chosen.encrypt)
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
        self._catalogue_is_said = "catalogue" in settings
        self.fleet: Fleet = Fleet(self, forget_after=chosen.forget_after)
        """What this process knows of the handler's other workers."""
        self._pausing = Pausing(self, self.fleet, self.audit)
        addresses = Addresses(self.routes, self.subscriptions, self.fleet)
        order = None if self.lanes is None else Order(self.lanes, self.name, engine)
        self._order = order
        self._outlet = Outlet(
            self.name,
            engine,
            chosen,
            routes=self.routes,
            fleet=self.fleet,
            order=order,
            encryption=encryption,
        )
        self.flusher: Flusher = self._outlet.flusher
        self.worker: Worker = Worker(
            self,
            engine,
            addresses,
            self.flusher,
            self.dependency_overrides,
            context_from=chosen.context_from,
            encryption=encryption,
            unknown_retry=chosen.unknown_retry.within(engine.longest_delay),
            max_crashes=chosen.max_crashes,
            audit=self.audit,
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
            self._outlet.publisher,
            outbox=self.outbox,
            relay=self._outlet.relay_thread,
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
    def may_have_catalogue(self) -> bool:
        """Whether the settings give the handler a catalogue; no broker is asked."""
        return self.settings.catalogue is not None or not self._catalogue_is_said

    @property
    def has_worker_here(self) -> bool:
        """Whether this process is one of its workers."""
        return self.fleet.has_worker_here

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
        self._outlet.encoder.encode(event)

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
        lifecycle.mark_reported(*errors)  # as lost or dead, which is more precise than failed
        try:
            raise_together(errors, f"errors in {self.name}")
        finally:
            del errors, failed  # they hold this frame by their tracebacks

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
        if self.flusher.persisted is not None:
            await self.flusher.persisted.persist(ready)

    async def forget(self, events: Sequence[Event]) -> None:
        """Forget persisted events, which are not to be flushed after all."""
        if self.flusher.persisted is not None:
            await self.flusher.persisted.forget(events)

    # The web process's life

    def entries(self, events: Sequence[Event]) -> list[Entry]:
        """The outbox entries for these events; the caller inserts them in its own transaction."""
        assert self.flusher.persisted is not None  # noqa: S101 - the caller has asked for the outbox
        return self.flusher.persisted.entries(events)

    def committed(self, events: Sequence[Event], since: float) -> None:
        """Take note that a transaction with the entries of these events is committed; `publish` follows.

        Parameters:
            since: When the entries were made, on the monotonic clock.
        """
        assert self.flusher.persisted is not None  # noqa: S101 - it has made the entries
        self.flusher.persisted.committed(events, since)

    async def on_startup(self) -> None:
        """Check the outbox, and begin to relay what it holds.

        Raises:
            StorageNotReady: When the outbox cannot be used, with what to do about it.
        """
        if self.outbox is not None:
            await asyncio.to_thread(self.outbox.check)
        self._outlet.start_relaying()
        if self.settings.strict_names:
            await asyncio.to_thread(self.fleet.look)

    async def on_shutdown(self) -> None:
        """Publish what waits, within the shutdown deadline; each flush keeps or reports what it could not."""
        deadline = self.settings.shutdown_deadline
        await self._outlet.shutdown(deadline)
        await asyncio.to_thread(self.worker.leave)
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.flush, deadline)
        await self.engine.close_on_loop()
        self.engine.close()

    def relay_thread(self) -> RelayThread:
        """A relay for this handler's entries in its outbox, not started yet.

        Raises:
            ConfigurationError: When it has no outbox.
        """
        return self._outlet.new_relay_thread()


def _parameters(handler: type[TaskQueueHandler]) -> frozenset[str]:
    """What its constructor takes beside the settings of all queue handlers."""
    found = signature_of(handler.__init__).parameters.values()
    return frozenset(each.name for each in found if each.kind is each.KEYWORD_ONLY)


def _publish_the_rest(reference: weakref.ref[TaskQueueHandler]) -> None:
    """Last chance, when the interpreter ends without a lifespan shutdown."""
    handler = reference()
    if handler is not None:
        handler._outlet.publish_the_rest(handler.settings.shutdown_deadline)  # noqa: SLF001 - our own
