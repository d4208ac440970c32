"""The handler: publishes through a Celery app's broker, and makes each subscription a task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from celery import Celery, signals

from fastapi_events.constants import DEFAULT_QUEUE
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.celery.publishing import CeleryPublisher
from fastapi_events.handlers.celery.redelivery import UNKNOWN, Binding, Redelivery
from fastapi_events.handlers.messages import Outgoing, fan_out_name
from fastapi_events.handlers.task_queue import FAN_OUT_RETRY, TaskQueueHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.subscription import Subscription

# Retries of Celery's own, beside which ours would multiply.
_RETRY_OPTIONS = frozenset(
    ("autoretry_for", "dont_autoretry_for", "retry_backoff", "retry_backoff_max", "retry_jitter",
     "retry_kwargs", "max_retries", "default_retry_delay")
)  # fmt: skip


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
        self.app = app
        self._priorities: dict[str, int] = {}
        self._publisher = CeleryPublisher(app)
        self._redelivery = Redelivery(app, self._publisher, self)
        self._check_policy(retry, asking="CeleryHandler")
        half = self._longest_wait() / 2  # for those policies that nobody may have chosen
        for each in self.routes:
            if fan_out_name(each) in app.tasks:
                raise ConfigurationError(
                    f"Another handler publishes to queue {each!r} of this app already; "
                    "give one of them a queue of its own."
                )
            self._add_task(fan_out_name(each), each, self.fan_out, FAN_OUT_RETRY.within(half), {})
        if UNKNOWN not in app.tasks:
            policy = self.unknown_retry.within(half)
            self._add_task(UNKNOWN, queue, self._redelivery.take_unknown, policy, {})
        # Celery keeps only weak references to bound methods: the handler is forgotten with its last user.
        signals.celeryd_init.connect(self._on_worker_init)
        signals.worker_shutting_down.connect(self._on_worker_stop)
        signals.task_unknown.connect(self._on_unknown_task)

    # Registration

    _engine = "celery"
    _options_of = "celery.Task"

    def _declare(self, subscription: Subscription) -> None:
        if subscription.name in self.app.tasks:
            raise ConfigurationError(
                f"The app has a task named {subscription.name!r} already; pass name= to register()."
            )
        policy = self._policy(subscription)
        self._check_policy(policy, asking=subscription.name)
        options = dict(subscription.options)
        if "priority" in options:  # of a message: as a task's attribute Celery is about to drop it
            self._priorities[subscription.name] = options.pop("priority")
        perform = functools.partial(self.perform, subscription)
        self._add_task(subscription.name, subscription.queue or self.queue, perform, policy, options)

    def _add_task(
        self,
        name: str,
        queue: str,
        function: Callable[..., None],
        policy: RetryPolicy,
        options: Mapping[str, Any],
    ) -> None:
        run = self._redelivery.guard(function, Binding(name, queue, policy))
        defaults = {"acks_late": True, "reject_on_worker_lost": True, "ignore_result": True}
        self.app.task(run, name=name, bind=True, lazy=False, shared=False, **{**defaults, **options})

    def _known_options(self) -> Collection[str]:
        return {name for name in dir(self.app.Task) if not name.startswith("_")} - _RETRY_OPTIONS

    def _refused_options(self) -> Mapping[str, str]:
        return dict.fromkeys(_RETRY_OPTIONS, "would retry beside us; use retry=RetryPolicy().")

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
        tasks = [self._task_message(each) for each in messages]
        if from_web:
            self._publisher.publish(tasks, timeout=self.flush_deadline)
        else:
            self._publisher.publish(tasks)

    def _task_message(self, message: Outgoing) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": message.task, "args": (message.argument,), "task_id": message.id, "queue": message.queue,
        }  # fmt: skip
        if message.delay:
            arguments["countdown"] = message.delay
        if message.task in self._priorities:
            arguments["priority"] = self._priorities[message.task]
        return arguments

    def _disconnect(self) -> None:
        self._publisher.disconnect()

    # The worker's life

    def _on_worker_init(self, instance: Any = None, **_: Any) -> None:
        """Let a worker without -Q consume every queue that we use, beside Celery's default one."""
        if instance is not None and instance.app is self.app:
            for queue in self.queues:
                self.app.amqp.queues.select_add(queue)

    def _on_worker_stop(self, **_: Any) -> None:
        self._redelivery.stop()

    def _on_unknown_task(self, message: Any = None, name: str | None = None, **_: Any) -> None:
        queue = (message.delivery_info or {}).get("routing_key")
        if queue in self.queues:
            self._redelivery.keep_unknown(message, name, queue)
