"""What follows a failure of our tasks: another attempt, or the dead letters."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject, Retry

from fastapi_events.errors import DeliveredTooOften, UnknownSubscription
from fastapi_events.handlers.celery.crash_counter import Deliveries
from fastapi_events.handlers.celery.foreign_messages import UNREADABLE, arguments_of, original_of, unreadable
from fastapi_events.handlers.celery.publishing import CeleryPublisher, queue_of
from fastapi_events.handlers.celery.time_limits import Limits
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.handlers.task_queue.messages import Epitaph, TryLater, epitaph, event_in
from fastapi_events.handlers.task_queue.worker.dead_letters import bury, let_others_go_on
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy

UNKNOWN = "fastapi_events.unknown"
"""The task that takes messages for subscriptions which its worker does not have."""

DEAD = "fastapi_events_dead"
"""The message header that says why a message was given up."""


def dead_queue(queue: str) -> str:
    """The queue that keeps what was given up of another; no worker consumes it."""
    return f"{queue}.dead"


@dataclass(frozen=True, slots=True)
class Binding:
    """What we know of a task of ours."""

    name: str
    queue: str
    policy: RetryPolicy


class Redelivery:
    """Publishes a failed message's successor, and only then lets the message be acknowledged.

    Celery's own `retry()` rejects a message for good when the broker is away just then, and keeps nothing of
    a task that it does not know.
    """

    def __init__(self, app: Celery, publisher: CeleryPublisher, handler: TaskQueueHandler) -> None:
        self._app = app
        self._publisher = publisher
        self._handler = handler
        self._limits = Limits()
        self._deliveries = Deliveries(app)
        self._stopping = threading.Event()

    def start(self, worker: Any) -> None:
        """A worker starts in this process: its pool decides who enforces time limits."""
        self._limits.start(worker)

    def stop(self) -> None:
        """The worker stops: wait for no broker any more."""
        self._stopping.set()

    def guard(self, function: Callable[..., None], binding: Binding) -> Callable[..., None]:
        """The task's function, whose failures end here."""

        def run(task: Task, *args: Any, **kwargs: Any) -> None:
            with self._deliveries.of(task, _queue_of(task) or binding.queue) as deaths:
                try:
                    if deaths >= self._handler.max_crashes:
                        raise DeliveredTooOften(deaths)
                    with self._limits.of(task):
                        function(*args, **kwargs)
                except TryLater as later:
                    self._again(task, binding, args, later, task.request.retries, later.seconds)
                except Exception as error:
                    self._after_failure(task, binding, args, error)

        return run

    def _after_failure(self, task: Task, binding: Binding, args: Sequence[Any], error: Exception) -> None:
        """Publish the next attempt or the dead letter.

        Raises:
            celery.exceptions.Retry: When there is a next attempt.
            celery.exceptions.Reject: When the worker stops while the broker is away; it is delivered again.
        """
        attempt = task.request.retries + 1
        hopeless = isinstance(error, DeliveredTooOften)
        wait = None if hopeless else binding.policy.next_wait(attempt, error)
        queue = _queue_of(task) or binding.queue
        name, subject = binding.name, tuple(args)
        if isinstance(error, UnknownSubscription):
            name, subject = args[0], tuple(args[1:])
        event = event_in(subject)
        if wait is None:
            grave = epitaph(name, error, attempts=attempt)
            self._keep(task.request.id, name, queue, subject, grave)
            tell(Lifecycle.dead, event, subscription=name, reason=grave["reason"], attempts=attempt)
            raise error
        if event is not None:
            tell(Lifecycle.retried, event, subscription=name, error=error, attempt=attempt, wait=wait)
        self._again(task, binding, args, error, attempt, wait)

    def _again(
        self,
        task: Task,
        binding: Binding,
        args: Sequence[Any],
        error: Exception,
        attempt: int,
        wait: float,
    ) -> None:
        queue = _queue_of(task) or binding.queue
        again = task.signature_from_request(task.request, countdown=wait, retries=attempt, queue=queue)
        self.publish_until_done(
            {
                "name": task.name, "args": tuple(args), "task_id": task.request.id, "queue": queue,
                "countdown": wait, "retries": attempt,
            }
        )  # fmt: skip
        raise Retry(exc=error, when=wait, sig=again) from error

    def _keep(self, message_id: str, name: str, queue: str, arguments: Sequence[Any], grave: Epitaph) -> None:
        """Keep a dead letter in the handler's store, or else in a queue that nobody consumes."""
        if not bury(
            self._handler, grave, message_id=message_id, subscription=name, queue=queue, arguments=arguments
        ):
            self.publish_until_done(
                {
                    "name": name, "args": arguments, "task_id": message_id, "queue": dead_queue(queue),
                    "headers": {DEAD: grave},
                }
            )  # fmt: skip
        let_others_go_on(self._handler, name, arguments)

    def publish_until_done(self, message: Mapping[str, Any]) -> None:
        """Publish a message, however long the broker is away.

        Raises:
            celery.exceptions.Reject: When the worker stops meanwhile.
        """
        pause = 0.1
        while True:
            try:
                self._publisher.publish([message])
            except Exception as error:  # whatever a broker's client raises
                self._app.log.get_default_logger().warning(
                    "The successor of message %r cannot be published: %s", message["task_id"], error
                )
                if self._stopping.wait(pause):
                    raise Reject(error, requeue=True) from error
                pause = min(pause * 2, 5.0)
            else:
                return

    # Messages that no task takes

    def keep_unknown(self, message: Any, name: str, identity: str, queue: str) -> None:
        """Keep a message whose task this worker does not have, for one that does."""
        args, kwargs = arguments_of(message)
        self._app.log.get_default_logger().warning(
            "Message %s is for %r, which this worker does not have: it goes to %s", identity, name, UNKNOWN
        )
        self.publish_until_done(
            {"name": UNKNOWN, "args": (name, *args), "kwargs": kwargs, "task_id": identity, "queue": queue}
        )

    def keep_unreadable(self, message: Any, fault: str, queue: str) -> None:
        """Keep a message as a dead letter that is none of Celery's."""
        grave = epitaph(UNREADABLE, unreadable(fault, message), attempts=0)
        self._keep(str(uuid.uuid4()), UNREADABLE, queue, (original_of(message.body),), grave)
        tell(Lifecycle.dead, None, subscription=UNREADABLE, reason=grave["reason"], attempts=0)

    def take_unknown(self, task: Task, *args: Any, **kwargs: Any) -> None:
        """The task `UNKNOWN`: hand a message on, should this worker know its task."""
        policy = self._handler.unknown_retry.within(self._handler.longest_delay)
        queue = _queue_of(task) or self._handler.queue

        def hand_on(name: str, *args: Any, **kwargs: Any) -> None:
            if name not in self._app.tasks:
                raise UnknownSubscription(
                    "this worker does not have the subscription that the message is for"
                )
            self._publisher.publish(
                [{"name": name, "args": args, "kwargs": kwargs, "task_id": task.request.id, "queue": queue}]
            )

        self.guard(hand_on, Binding(UNKNOWN, queue, policy))(task, *args, **kwargs)


def _queue_of(task: Task) -> str | None:
    """The queue that the task's message came from, which a route may have chosen."""
    return queue_of(task.request.delivery_info)
