"""Says in the catalogue that a relay of this process is at work, for whoever asks how the fleet is."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Protocol

from fastapi_events.background_thread import BackgroundThread
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.ids import random_id
from fastapi_events.storage.catalogue import RELAY_HEARTBEAT_SECONDS, Relay

logger: logging.Logger = logging.getLogger(__name__)

_STOP_SECONDS = 2.0


class Relaying(Protocol):
    """The relay."""

    @property
    def silent_for(self) -> float | None:
        """Seconds since it has published what the outbox held; None where it does not run."""


class RelayPresence:
    """Announces a relay every few seconds, in a thread of its own: the relay waits for no catalogue.

    Parameters:
        handler: The handler's name.
        fleet: Has the catalogue, if there is one.
        relay: The relay.
    """

    def __init__(self, handler: str, fleet: Fleet, relay: Relaying) -> None:
        self._handler = handler
        self._fleet = fleet
        self._relay = relay
        self._thread = BackgroundThread(self._work, name=f"fastapi-events-relay-presence-{handler}")

    def start(self) -> None:
        """The relay begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """The relay ends."""
        self._thread.stop(_STOP_SECONDS)

    def _work(self, stopping: threading.Event) -> None:
        own = Relay(id=random_id(), host=socket.gethostname(), pid=os.getpid())
        announced = False
        while True:
            behind = self._relay.silent_for
            if behind is not None:
                announced = self._write(own, behind) or announced
            if stopping.wait(RELAY_HEARTBEAT_SECONDS):
                break
        if announced:
            self._write(own, None)

    def _write(self, own: Relay, behind: float | None) -> bool:
        """Say that it is alive, and how far behind; or that it ends."""
        try:
            catalogue = self._fleet.catalogue
            if catalogue is None:
                return False
            if behind is None:
                catalogue.relay_ended(self._handler, own.id)
            else:
                catalogue.relay_heard(self._handler, own, behind=behind)
        except Exception as error:  # of a store or a broker that is away
            logger.debug("The relay could not say how it is: %s", error)
            return False
        return True
