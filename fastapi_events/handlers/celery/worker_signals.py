"""What is done as a worker of Celery's starts, stops and ends: the signals that it sends."""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from fastapi_events import recorder
from fastapi_events.handlers.celery.consumer import use_in
from fastapi_events.handlers.celery.consumption import report_from
from fastapi_events.handlers.celery.heartbeat import Heartbeat
from fastapi_events.handlers.celery.publisher import speaks_amqp
from fastapi_events.handlers.celery.quorum import quorum_queue
from fastapi_events.handlers.celery.tasks import Tasks
from fastapi_events.handlers.task_queue.worker.reporter import reporter
from fastapi_events.handlers.task_queue.worker.worker import Worker


class WorkerSignals:
    """Hears the signals of an app's workers in this process, for as long as somebody keeps it.

    Parameters:
        app: Whose workers.
        tasks: Told of the start and the end.
        heartbeat: Stopped with the worker, if there is one.
    """

    def __init__(self, app: Celery, tasks: Tasks, heartbeat: Heartbeat | None) -> None:
        self._app = app
        self._tasks = tasks
        self._heartbeat = heartbeat
        self._worker: Worker | None = None
        self._quorum = False
        report_from(app)
        # Celery keeps only weak references to bound methods: these are forgotten with their engine.
        # With an id, since before 5.7 it takes the same method of two objects for one receiver.
        for signal, receiver in (
            (signals.celeryd_init, self._on_worker_init),
            (signals.worker_init, self._on_worker_start),
            (signals.worker_ready, self._on_worker_ready),
            (signals.worker_shutting_down, self._on_worker_stop),
            (signals.worker_shutdown, self._on_worker_end),
            (signals.worker_process_shutdown, self._on_process_end),
            (signals.task_revoked, self._on_revoked),
        ):
            signal.connect(receiver, dispatch_uid=id(self))

    def serve(self, worker: Worker, *, quorum: bool) -> None:
        """Let a handler's worker start and end with Celery's.

        Parameters:
            quorum: Whether its queues are quorum queues.
        """
        self._worker = worker
        self._quorum = quorum

    def _on_worker_init(self, instance: Any = None, **_: Any) -> None:
        """Let a worker without -Q consume every queue that we use, and survive a broker that was away."""
        if instance is None or instance.app is not self._app or self._worker is None:
            return
        for queue in self._worker.queues:
            self._app.amqp.queues.select_add(quorum_queue(queue) if self._quorum else queue)
        if speaks_amqp(self._app):
            # After a connection was lost, Celery 5.7 lets a thread that acknowledges restore the prefetch
            # count while the consumer waits on the same connection: each reads what the other waits for.
            self._app.conf.worker_enable_prefetch_count_reduction = False

    def _on_worker_start(self, sender: Any = None, **_: Any) -> None:
        if sender is not None and sender.app is self._app:
            reporter.boot("celery")
            self._tasks.start(sender)
            use_in(sender)
            if self._worker is not None:
                queues = self._app.amqp.queues
                # That a message is sent to a queue shall not make this worker consume it.
                queues.select(list(queues.consume_from))
                self._worker.fleet.boot(list(queues.consume_from), engine="celery")

    def _on_worker_ready(self, sender: Any = None, **_: Any) -> None:
        if sender is not None and sender.app is self._app and self._worker is not None:
            self._worker.start()

    def _on_worker_end(self, sender: Any = None, **_: Any) -> None:
        if sender is not None and sender.app is self._app and self._worker is not None:
            self._worker.leave()
            reporter.end()

    def _on_process_end(self, **_: Any) -> None:
        recorder.flush_all()  # a process of the pool ends without `atexit`

    def _on_worker_stop(self, **_: Any) -> None:
        self._tasks.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _on_revoked(self, sender: Any = None, request: Any = None, expired: bool = False, **_: Any) -> None:
        if sender is not None and sender.app is self._app and self._worker is not None:
            self._tasks.keep_revoked(self._worker, sender, request, expired=expired)
