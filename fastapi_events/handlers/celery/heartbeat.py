"""Notices that a worker no longer consumes, and ends it for its supervisor to start another."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state

from fastapi_events.background_thread import BackgroundThread
from fastapi_events.handlers.celery.publisher import CeleryPublisher

logger: logging.Logger = logging.getLogger(__name__)

HEARTBEAT = "fastapi_events.heartbeat"
"""The task that does nothing: a worker sends it to itself, through the broker."""

_QUEUE_EXPIRES_SECONDS = 3_600.0
"""How long the queue of a worker that has ended stays."""

_EXIT_SECONDS = 10.0
_EX_SOFTWARE = 70


class Heartbeat:
    """Sends messages through the broker to the worker itself, and ends it when they do not arrive.

    After the loss of a connection a worker may seem to live and consume nothing
    (https://github.com/celery/celery/issues/8030). Whatever task arrives is a sign of life; a worker that has
    tasks in its hands is left alone, and so is one whose broker does not take the heartbeat.

    Parameters:
        silent_after: Seconds without a sign of life, for a worker that has nothing else to do.
    """

    def __init__(self, app: Celery, publisher: CeleryPublisher, *, silent_after: float) -> None:
        self._app = app
        self._publisher = publisher
        self._silent_after = silent_after
        self._alive_at = time.monotonic()
        self._queue = ""
        self._thread = BackgroundThread(self._watch, name="fastapi-events-heartbeat")
        if HEARTBEAT not in app.tasks:
            app.task(_do_nothing, name=HEARTBEAT, lazy=False, shared=False, ignore_result=True)
        heartbeat = self

        class HeartbeatStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery comes without types
            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, parent: Any) -> None:
                heartbeat.start(parent)

        app.steps["consumer"].add(HeartbeatStep)
        # With an id, since before Celery 5.7 it takes the same method of two objects for one receiver.
        signals.celeryd_after_setup.connect(self._on_setup, dispatch_uid=id(self))
        signals.task_received.connect(self._on_sign_of_life, dispatch_uid=id(self))

    def start(self, consumer: Any) -> None:
        """The worker consumes, for the first time or once more."""
        self._queue = _queue_of(consumer.hostname)
        self._alive_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """The worker stops, and will consume no more."""
        self._thread.stop(0)

    def _on_setup(self, instance: Any = None, **_: Any) -> None:
        """Let the worker consume its heartbeat, whatever -Q says, from when it consumes anything.

        A queue that is added to a consumer later makes it begin at once, before it has been told what to do
        with messages: those that wait already would end the worker.
        """
        if instance is not None and instance.app is self._app:
            self._app.amqp.queues.select_add(_queue_of(instance.hostname), expires=_QUEUE_EXPIRES_SECONDS)

    def _on_sign_of_life(self, sender: Any = None, **_: Any) -> None:
        if getattr(sender, "app", None) is self._app:
            self._alive_at = time.monotonic()

    def _watch(self, stopping: threading.Event) -> None:
        queue = self._queue
        while not stopping.wait(self._silent_after / 4):
            if state.reserved_requests or not self._send(queue):
                self._alive_at = time.monotonic()
            elif time.monotonic() - self._alive_at > self._silent_after:
                _end_worker(self._silent_after)
                return

    def _send(self, queue: str) -> bool:
        try:
            # A heartbeat that is not consumed in time is worthless.
            self._publisher.publish([{"name": HEARTBEAT, "queue": queue, "expires": self._silent_after}])
        except Exception as error:  # whatever a broker's client raises
            logger.debug("The broker does not take the worker's heartbeat: %s", error)
            return False
        return True


def _end_worker(silent_for: float) -> None:
    logger.critical(
        "This worker has consumed nothing for %.0f s, not even what it sent to itself: it ends.", silent_for
    )
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_EXIT_SECONDS)
    os._exit(_EX_SOFTWARE)


def _queue_of(hostname: str) -> str:
    return f"{HEARTBEAT}.{hostname}"


def _do_nothing() -> None:
    """The task `HEARTBEAT`."""
