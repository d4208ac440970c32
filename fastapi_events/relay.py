"""The relay as a process of its own: takes events from outboxes to brokers, and rings lost bells of lanes.

The web process relays its own events as long as it runs. A process of its own goes on when no web process
does, and several may run at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue import TaskQueueHandler

logger: logging.Logger = logging.getLogger(__name__)

_EXPIRE_EVERY_SECONDS = 30.0


class Relay:
    """Relays for handlers, until it is told to stop.

    Parameters:
        handlers: Those with an outbox, lanes or an inbox.

    Raises:
        ConfigurationError: When none of them has anything to relay.
        StorageNotReady: When a store cannot be used.
    """

    def __init__(self, handlers: Iterable[TaskQueueHandler]) -> None:
        self._handlers = [each for each in handlers if each.outbox or each.lanes or each.inbox]
        if not self._handlers:
            raise ConfigurationError(
                "There is nothing to relay: no handler has an outbox, lanes or an inbox."
            )
        for handler in self._handlers:
            for store in (handler.outbox, handler.lanes, handler.inbox):
                if store is not None:
                    store.check()
        self._stopping = threading.Event()
        self._relay_thread = [each.relay_thread() for each in self._handlers if each.outbox is not None]
        self._lookouts = [each.worker.lookout for each in self._handlers if each.worker.lookout is not None]

    def run(self) -> None:
        """Relay until `stop` is called from another thread or a signal handler."""
        for lookout in self._lookouts:
            lookout.start()
        for each in self._relay_thread:
            each.start()
        next_time = time.monotonic()
        while not self._stopping.wait(max(next_time - time.monotonic(), 0.0)):
            self.expire()
            next_time = time.monotonic() + _EXPIRE_EVERY_SECONDS
        for each in self._relay_thread:
            each.stop(timeout=10.0)
        for lookout in self._lookouts:
            lookout.stop()

    def stop(self) -> None:
        """Let the batches in hand be published, and end."""
        self._stopping.set()

    def expire(self) -> None:
        """Forget what the inbox need not remember any longer."""
        for handler in self._handlers:
            if handler.inbox is not None:
                self._try(handler.inbox.expire)

    @staticmethod
    def _try(action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # the store's or the broker's; it is tried again in a while
            logger.warning("The inbox has to wait: %s: %s", type(error).__name__, error)
