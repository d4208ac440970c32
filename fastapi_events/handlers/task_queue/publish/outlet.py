"""The ways out of a web process, built from a handler's settings: to broker, outbox and lanes."""

from __future__ import annotations

import asyncio

from fastapi_events.errors import ConfigurationError, StorageError
from fastapi_events.handlers.task_queue.encryption import Encryption
from fastapi_events.handlers.task_queue.engine import Engine
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.messages import RECEIPT_TO
from fastapi_events.handlers.task_queue.ordering import Order
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.publish.encoder import Encoder
from fastapi_events.handlers.task_queue.publish.flush_outcome import Flusher
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.outbox_writer import OutboxWriter
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.publish.sealer import Sealer
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings
from fastapi_events.lifecycle import Lifecycle, tell


class Outlet:
    """Takes a handler's events out of the web process.

    Parameters:
        handler_name: Who publishes, stores and loses, in the words of the lifecycle hooks.
        engine: Sends the messages.
        settings: The handler's.
        routes: Which queue an event goes to.
        fleet: Whose catalogue says that a relay is at work.
        order: The lanes of events with an ordering key, if the handler has some.
        encryption: For what is sensitive, if it is to be encrypted.
    """

    def __init__(
        self,
        handler_name: str,
        engine: Engine,
        settings: TaskQueueSettings,
        *,
        routes: Routes,
        fleet: Fleet,
        order: Order | None,
        encryption: Encryption | None,
    ) -> None:
        self._fleet = fleet
        self._handler_name = handler_name
        self._settings = settings
        self.encoder: Encoder = Encoder(settings, encryption)
        sealer = Sealer(
            settings.source,
            {RECEIPT_TO: handler_name} if settings.confirm == "handled" else {},
            encryption=encryption,
        )
        self.publisher: Publisher = Publisher(
            engine,
            routes=routes,
            sealer=sealer,
            deadline=settings.flush_deadline,
            max_pending=settings.max_pending_events,
            # Where an event cannot be kept, one failure does not yet speak for those that follow.
            breaker=CircuitBreaker(threshold=1 if settings.outbox is not None else 3),
        )
        outbox_breaker = CircuitBreaker()
        self.lane_writer: LaneWriter | None = None
        if order is not None:
            self.lane_writer = LaneWriter(
                order,
                routes=routes,
                sealer=sealer,
                deadline=settings.flush_deadline,
                max_pending=settings.max_pending_events,
                outbox=settings.outbox,
                outbox_breaker=outbox_breaker,
                sender=engine,
            )
        self.outbox_writer: OutboxWriter | None = None
        self.relay_thread: RelayThread | None = None
        if settings.outbox is not None:
            if settings.relay:
                self.relay_thread = self.new_relay_thread()
            self.outbox_writer = OutboxWriter(
                settings.outbox,
                handler_name,
                confirm=settings.confirm,
                sealer=sealer,
                deadline=settings.flush_deadline,
                max_pending=settings.max_pending_events,
                relay=self.relay_thread,
                breaker=outbox_breaker,
            )
        self.flusher: Flusher = Flusher(
            handler_name,
            self.publisher,
            self.outbox_writer,
            lanes=self.lane_writer,
            resend_after=settings.resend_after,
        )

    def new_relay_thread(self) -> RelayThread:
        """A relay for the handler's entries in its outbox, not started yet.

        Raises:
            ConfigurationError: When it has no outbox.
        """
        if self._settings.outbox is None:
            raise ConfigurationError(f"{self._handler_name} has no outbox that could be relayed: outbox=…")
        return RelayThread(
            self._handler_name,
            self.publisher,
            self._settings.outbox,
            self._handler_name,
            resend_after=self._settings.resend_after,
            order=self.lane_writer,
            fleet=self._fleet,
        )

    def start_relaying(self) -> None:
        """Begin to relay what the outbox holds, unless another process is to do that."""
        if self.relay_thread is not None:
            self.relay_thread.start()

    async def shutdown(self, deadline: float) -> None:
        """Publish what waits; each flush keeps or reports what it could not.

        Parameters:
            deadline: Seconds that each of the ways has.
        """
        if self.lane_writer is not None:
            await asyncio.to_thread(self.lane_writer.shutdown, deadline)
        await asyncio.to_thread(self.publisher.shutdown, deadline)
        await self.flusher.settle(deadline)
        if self.outbox_writer is not None:
            await asyncio.to_thread(self.outbox_writer.shutdown, deadline)
        if self.relay_thread is not None:
            await asyncio.to_thread(self.relay_thread.stop, deadline)

    def publish_the_rest(self, deadline: float) -> None:
        """Publish, keep or report what waits as the interpreter ends without a shutdown."""
        left = self.publisher.shutdown(deadline)
        if self.lane_writer is not None:
            left += self.lane_writer.shutdown(deadline)
        if not left:
            return
        reason = "the process ended before the broker took it"
        try:
            if self.outbox_writer is not None:
                self.outbox_writer.write_now(left)
                return
        except StorageError as error:
            reason = f"{reason}; and the outbox did not take it: {error}"
        for event in left:
            tell(Lifecycle.lost, event, handler=self._handler_name, reason=reason)
