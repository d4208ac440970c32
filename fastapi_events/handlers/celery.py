"""Handle events in Celery workers.

```python
celery_app = Celery("shop", broker="redis://localhost:6379/0")
events = CeleryHandler(celery_app)
```
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi_events.constants import DEFAULT_QUEUE
from fastapi_events.errors import (
    ConfigurationError,
    MissingDependencyError,
    UnknownSubscription,
)
from fastapi_events.handlers.messages import Outgoing, epitaph, event_in
from fastapi_events.handlers.task_queue import FAN_OUT_RETRY, TaskQueueHandler
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.subscription import Subscription

try:
    from celery import Celery, Task, signals
    from celery.exceptions import Reject, Retry
except ImportError as missing:
    raise MissingDependencyError("celery", "celery") from missing

UNKNOWN = "fastapi_events.unknown"
"""The task that takes messages for subscriptions which its worker does not have."""

DEAD = "fastapi_events_dead"
"""The message header that says why a message was given up."""

# Celery's repr of the arguments costs most of the time that building a message takes, and shows the payload.
_NO_REPR = {"argsrepr": "(…)", "kwargsrepr": "{}"}

# Retries of Celery's own, beside which ours would multiply.
_RETRY_OPTIONS = frozenset(
    ("autoretry_for", "dont_autoretry_for", "retry_backoff", "retry_backoff_max", "retry_jitter",
     "retry_kwargs", "max_retries", "default_retry_delay")
)  # fmt: skip

_WORKER_SECONDS = 5.0
"""How long a worker waits for an answer from the broker, before it tries again."""


class CeleryHandler(TaskQueueHandler):
    """Publishes events through a Celery app's broker, and runs subscriptions as tasks of its workers.

    Every task is acknowledged late, rejected when its process is lost, and leaves no result.

    Parameters:
        app: The Celery app.
        queue: Where fan-out messages wait, and those of subscriptions that name no queue of their own.
        retry: When a failed subscription runs again, unless it says so itself.
        settings: See `TaskQueueHandler`.

    Raises:
        ConfigurationError: When there is no app, or another handler has the queue.
    """

    def __init__(
        self,
        app: Celery,
        *,
        queue: str = DEFAULT_QUEUE,
        retry: RetryPolicy = RetryPolicy(),
        **settings: Any,
    ) -> None:
        super().__init__(queue=queue, retry=retry, **settings)
        if not isinstance(app, Celery):
            raise ConfigurationError(f"CeleryHandler({app!r}): expected a celery.Celery app.")
        if self._fan_out_name in app.tasks:
            raise ConfigurationError(
                f"Another handler publishes to queue {queue!r} of this app already; "
                "give one of them a queue of its own."
            )
        self.app = app
        self._priorities: dict[str, int] = {}
        self._connections = threading.local()
        self._stopping = threading.Event()
        self._check_policy(retry, asking="CeleryHandler")
        half = self._longest_wait() / 2  # for those policies that nobody may have chosen
        self._add_task(self._fan_out_name, queue, self.fan_out, FAN_OUT_RETRY.within(half), {})
        if UNKNOWN not in app.tasks:
            self._add_task(UNKNOWN, queue, self._take_unknown, self._unknown_retry.within(half), {})
        # Celery keeps only weak references to bound methods: the handler is forgotten with its last user.
        signals.celeryd_init.connect(self._on_worker_init)
        signals.worker_shutting_down.connect(self._on_worker_stop)
        signals.task_unknown.connect(self._on_unknown_task)

    # Registration

    def _declare(self, subscription: Subscription) -> None:
        def perform(*args: Any, **kwargs: Any) -> None:
            self.perform(subscription, *args, **kwargs)

        if subscription.name in self.app.tasks:
            raise ConfigurationError(
                f"The app has a task named {subscription.name!r} already; pass name= to register()."
            )
        policy = self._policy(subscription)
        self._check_policy(policy, asking=subscription.name)
        queue = subscription.queue or self.queue
        options = dict(subscription.options)
        if "priority" in options:  # of a message: as a task's attribute Celery is about to drop it
            self._priorities[subscription.name] = options.pop("priority")
        self._add_task(subscription.name, queue, perform, policy, options)

    def _add_task(
        self,
        name: str,
        queue: str,
        function: Callable[..., None],
        policy: RetryPolicy,
        options: Mapping[str, Any],
    ) -> None:
        binding = _Binding(name, queue, policy)

        def run(task: Task, *args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except Exception as error:
                self._after_failure(task, binding, args, error)

        defaults = {"acks_late": True, "reject_on_worker_lost": True, "ignore_result": True}
        self.app.task(run, name=name, bind=True, lazy=False, shared=False, **{**defaults, **options})

    def _check_options(self, options: Mapping[str, Any], *, asking: str) -> None:
        known = {name for name in dir(self.app.Task) if not name.startswith("_")} - _RETRY_OPTIONS
        for option in options:
            if option in _RETRY_OPTIONS:
                raise ConfigurationError(
                    f"{asking}: {option!r} would retry beside us; use retry=RetryPolicy()."
                )
            if option not in known:
                close = difflib.get_close_matches(option, {*known, "queue", "retry", "name", "event_name"}, 1)
                hint = f"did you mean {close[0]!r}?" if close else "it is no attribute of celery.Task."
                raise ConfigurationError(f"{asking}: unknown option {option!r}; {hint}")

    def _check_policy(self, policy: RetryPolicy, *, asking: str) -> None:
        longest = self._longest_wait()
        if policy.longest_wait >= longest:
            raise ConfigurationError(
                f"{asking}: max_backoff is {policy.longest_wait:.0f} s, but Redis delivers a message that "
                f"waits for {longest:.0f} s once more; raise broker_transport_options['visibility_timeout'] "
                "or lower max_backoff."
            )

    def _longest_wait(self) -> float:
        # A message that waits for its retry is unacknowledged. Once it has waited longer than the visibility
        # timeout, Redis hands it to another worker as well, again and again.
        if str(self.app.conf.broker_url).startswith("amqp"):
            return float("inf")
        return float(self.app.conf.broker_transport_options.get("visibility_timeout", 3_600))

    # Sending

    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        self._publish(
            [
                {"name": each.task, "args": (each.argument,), "task_id": each.id, "queue": each.queue}
                for each in messages
            ],
            timeout=self.flush_deadline if from_web else _WORKER_SECONDS,
        )

    def _publish(self, messages: Sequence[Mapping[str, Any]], *, timeout: float = _WORKER_SECONDS) -> None:
        fresh = self._connection() is None
        try:
            self._publish_once(messages, timeout)
        except Exception as error:
            self._close_connection()
            if fresh or isinstance(error, TimeoutError) or "timed out" in str(error).lower():
                raise
            # The server has closed the connection since, as servers do with idle ones; a new one does.
            self._publish_once(messages, timeout)

    def _publish_once(self, messages: Sequence[Mapping[str, Any]], timeout: float) -> None:
        connection = self._connection() or self._connect(timeout)
        producer = self.app.amqp.Producer(connection, auto_declare=False)
        with producer.batch():
            for message in messages:
                if message["name"] in self._priorities:
                    message = {**message, "priority": self._priorities[message["name"]]}
                self.app.send_task(
                    **message, **_NO_REPR, producer=producer, serializer="json", ignore_result=True,
                    retry=False, add_to_parent=False,
                )  # fmt: skip

    def _connection(self) -> Any:
        """This thread's connection, if it has one: connections are not for sharing, least across a fork."""
        pid, connection = getattr(self._connections, "current", (None, None))
        return connection if pid == os.getpid() else None

    def _connect(self, timeout: float) -> Any:
        """A connection of which every step is bounded; by default Celery may wait for ever."""
        bounds: dict[str, Any]
        if str(self.app.conf.broker_write_url).startswith("amqp"):
            bounds = {"read_timeout": timeout, "write_timeout": timeout, "confirm_publish": True}
        else:
            bounds = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        connection = self.app.connection_for_write(
            connect_timeout=timeout, transport_options={**bounds, "max_retries": 0}
        )
        self._connections.current = os.getpid(), connection
        connection.default_channel  # noqa: B018 - connects now, with the options above
        return connection

    def _close_connection(self) -> None:
        connection = self._connection()
        self._connections.current = None, None
        if connection is not None:
            connection.release()

    def _disconnect(self) -> None:
        # Connections belong to the threads that opened them, which close them when they end.
        self._connections = threading.local()

    # What follows a failure, in a worker

    def _after_failure(self, task: Task, binding: _Binding, args: Sequence[Any], error: Exception) -> None:
        """Publish the next attempt or the dead letter; only then is the message acknowledged.

        Raises:
            celery.exceptions.Retry: When there is a next attempt.
            celery.exceptions.Reject: When the worker stops while the broker is away; it is delivered again.
        """
        attempt = task.request.retries + 1
        wait = binding.policy.next_wait(attempt, error)
        name, subject = binding.name, tuple(args)
        if isinstance(error, UnknownSubscription):
            name, subject = args[0], tuple(args[1:])
        event = event_in(subject)
        if wait is None:
            grave = epitaph(name, error, attempts=attempt)
            self._publish_until_done(
                {
                    "name": name, "args": subject, "task_id": task.request.id,
                    "queue": dead_queue(binding.queue), "headers": {DEAD: grave},
                }
            )  # fmt: skip
            tell(Lifecycle.dead, event, subscription=name, reason=grave["reason"], attempts=attempt)
            raise error
        if event is not None:
            tell(Lifecycle.retried, event, subscription=name, error=error, attempt=attempt, wait=wait)
        again = task.signature_from_request(
            task.request, countdown=wait, retries=attempt, queue=binding.queue
        )
        self._publish_until_done(
            {
                "name": task.name, "args": tuple(args), "task_id": task.request.id, "queue": binding.queue,
                "countdown": wait, "retries": attempt,
            }
        )  # fmt: skip
        raise Retry(exc=error, when=wait, sig=again) from error

    def _publish_until_done(self, message: Mapping[str, Any]) -> None:
        pause = 0.1
        while True:
            try:
                self._publish([message])
            except Exception as error:  # whatever a broker's client raises
                self.app.log.get_default_logger().warning(
                    "The successor of message %r cannot be published: %s", message["task_id"], error
                )
                if self._stopping.wait(pause):
                    raise Reject(error, requeue=True) from error
                pause = min(pause * 2, 5.0)
            else:
                return

    # Messages for subscriptions that this worker does not have

    def _on_unknown_task(self, message: Any = None, name: str | None = None, **_: Any) -> None:
        """Keep a message that Celery has rejected, which means dropped, because it does not know the task."""
        queue = (message.delivery_info or {}).get("routing_key")
        if queue != self.queue and queue not in {each.queue for each in self.subscriptions}:
            return
        args, kwargs, *_rest = message.decode()
        self._publish_until_done(
            {
                "name": UNKNOWN, "args": (name, *args), "kwargs": kwargs, "task_id": message.headers["id"],
                "queue": queue,
            }
        )  # fmt: skip

    def _take_unknown(self, name: str, *args: Any, **kwargs: Any) -> None:
        if name not in self.app.tasks:
            raise UnknownSubscription("this worker does not have the subscription that the message is for")
        self._publish([{"name": name, "args": args, "kwargs": kwargs}])

    # The worker's life

    def _on_worker_init(self, instance: Any = None, **_: Any) -> None:
        """Let a worker without -Q consume every queue that we use, beside Celery's default one."""
        if instance is not None and instance.app is self.app:
            for queue in dict.fromkeys([self.queue, *(each.queue for each in self.subscriptions)]):
                self.app.amqp.queues.select_add(queue)

    def _on_worker_stop(self, **_: Any) -> None:
        self._stopping.set()


@dataclass(frozen=True, slots=True)
class _Binding:
    name: str
    queue: str
    policy: RetryPolicy


def dead_queue(queue: str) -> str:
    """The queue that keeps what was given up of another; no worker consumes it."""
    return f"{queue}.dead"
