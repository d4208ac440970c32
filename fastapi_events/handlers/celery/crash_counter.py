"""How many workers have crashed over a message, which no broker counts.

Counted are starts whose process has gone, not deliveries: a worker that dies takes with it what it had
fetched in advance and what it ran beside the culprit, and that did nothing wrong, and a connection may be cut
with nobody dying at all. Messages that may have killed a worker are therefore run one after the other, and a
start counts only then. A message that was not delivered before costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from celery import Celery, Task
from kombu.entity import Queue

from fastapi_events import processes
from fastapi_events.handlers.celery.alternatives import connected
from fastapi_events.per_process import PerProcess

_REMEMBERED_SECONDS = 86_400
_LONGEST_WAIT_SECONDS = 30.0
_BROKER_SECONDS = 5.0
_MOST_REMEMBERED = 10_000
_AT_ONCE = 10


class CrashCounter:
    """Counts starts in the broker: each puts the name of its process into a queue, which expires by itself.

    Parameters:
        who: Names the process.
    """

    def __init__(self, app: Celery, *, who: Callable[[], str] = processes.identity) -> None:
        self._app = app
        self._who = who
        self._gate = PerProcess(threading.Lock)  # after a fork, the thread that held it does not exist
        self._lives: PerProcess[dict[str, None]] = PerProcess(dict)
        """Starts whose count could not be deleted, though this process has outlived them."""

    @contextmanager
    def before(self, task: Task, queue: str) -> Iterator[int]:
        """Run a message within the block; it is told how many workers have crashed over it.

        Waits until no other is run in this process that may have killed one, if this one may. Of such a
        message the broker says that it was delivered before, and there is no note of that first start: it may
        have ended with a cut connection, and counts with the first that has one.
        """
        if not (task.request.delivery_info or {}).get("redelivered"):
            yield 0
            return
        key = f"{queue}.starts.{task.request.id}"
        gate = self._gate.get()
        # One that runs long need not hold up the others for ever: few of them are poisonous.
        inside = gate.acquire(timeout=_LONGEST_WAIT_SECONDS)
        before: Sequence[str] | None = None
        try:
            before = self._started(key)
            gone = sum(map(processes.has_gone, before or ()))
            yield gone + 1 if gone else 0
        finally:  # to whatever end: its worker is alive
            if before is not None:
                for each in [key, *islice(self._lives.get(), _AT_ONCE)]:
                    self._forget(each)
            if inside:
                gate.release()

    def _started(self, key: str) -> Sequence[str] | None:
        """Note a start; who has begun before and was not heard of since, None if nobody can tell."""
        try:
            with self._connection() as connection:
                channel = connection.default_channel
                channel.queue_declare(
                    queue=key, durable=True, auto_delete=False,
                    arguments={"x-expires": _REMEMBERED_SECONDS * 1_000},
                )  # fmt: skip
                queue = Queue(key)(channel)
                before = list(iter(lambda: queue.get(no_ack=False, accept=["text/plain"]), None))
                for each in before:
                    each.requeue()
                connection.Producer(auto_declare=False).publish(self._who(), exchange="", routing_key=key)
                return [str(each.payload) for each in before]
        except Exception as error:  # whatever a broker's client raises; rather run than lost
            self._warn("The start of %s cannot be counted: %s", key, error)
            return None

    def _forget(self, key: str) -> None:
        try:
            with self._connection() as connection:
                connection.default_channel.queue_purge(key)  # on Redis, an empty queue is none
                connection.default_channel.queue_delete(key)
        except Exception as error:  # whatever a broker's client raises
            self._warn("The count of %s cannot be deleted yet: %s", key, error)
            if len(self._lives.get()) < _MOST_REMEMBERED:  # it expires
                self._lives.get()[key] = None
        else:
            self._lives.get().pop(key, None)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        # A connection for each time: it is rare, and comes from any thread of any process.
        with connected(self._app, timeout=_BROKER_SECONDS) as connection:
            yield connection

    def _warn(self, text: str, *values: object) -> None:
        self._app.log.get_default_logger().warning(text, *values)
