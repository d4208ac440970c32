"""The handler: publishes through a Celery app's broker, and makes each subscription a task."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Unpack

from celery import Celery, signals
from kombu.entity import Exchange, Queue

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.celery import diagnosis
from fastapi_events.handlers.celery.consumer import use_in
from fastapi_events.handlers.celery.heartbeat import Pulse
from fastapi_events.handlers.celery.publishing import CeleryPublisher, speaks_amqp
from fastapi_events.handlers.celery.tasks import Binding, Redelivery
from fastapi_events.handlers.celery.time_limits import KILL_GRACE_SECONDS, TIME_LIMIT
from fastapi_events.handlers.celery.unclaimed import Owner, join_owners
from fastapi_events.handlers.rabbitmq import RABBITMQ_LONGEST_DELAY, too_long_for_rabbitmq
from fastapi_events.handlers.task_queue import FAN_OUT_RETRY, TaskQueueHandler, TaskQueueOptions
from fastapi_events.handlers.task_queue.messages import Diagnosis, Outgoing, fan_out_name
from fastapi_events.handlers.task_queue.settings import Seconds
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.subscription import Subscription

# Retries of Celery's own, beside which ours would multiply.
_RETRY_OPTIONS = frozenset(
    ("autoretry_for", "dont_autoretry_for", "retry_backoff", "retry_backoff_max", "retry_jitter",
     "retry_kwargs", "max_retries", "default_retry_delay")
)  # fmt: skip

# What our tasks have in common.
_OURS: Mapping[str, Any] = {
    "acks_late": True, "reject_on_worker_lost": True, "acks_on_timeout": False, "ignore_result": True,
}  # fmt: skip


class CeleryHandler(TaskQueueHandler):
    """Publishes events through a Celery app's broker, and runs subscriptions as tasks of its workers.

    Every task is acknowledged late, goes back to the broker when its process is lost or killed for its time
    limit, and leaves no result.

    Parameters:
        app: The Celery app.
        silent_after: Seconds, or a `timedelta`, after which a worker ends that has nothing to do and does not
            receive what it sends to itself, for its supervisor to start another; None, the default, never.
        settings: See `TaskQueueSettings`.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
        ConfigurationError: When there is no app, its broker cannot do what is asked, or another handler has
            the queue.
    """

    def __init__(
        self, app: Celery, *, silent_after: Seconds | None = None, **settings: Unpack[TaskQueueOptions]
    ) -> None:
        super().__init__(**settings)
        silent_after = checks.seconds_or_none("silent_after", silent_after, positive=True)
        if not isinstance(app, Celery):
            raise ConfigurationError(f"CeleryHandler({app!r}): expected a celery.Celery app.")
        self._quorum = self.settings.queue_type == "quorum"
        if self._quorum and not speaks_amqp(app):
            raise ConfigurationError(
                "CeleryHandler: queue_type='quorum' is for RabbitMQ, not for this broker."
            )
        self.app = app
        self._priorities: dict[str, int] = {}
        self._publisher = CeleryPublisher(app)
        self._redelivery = Redelivery(app, self._publisher, self)
        self._check_policy(self.settings.retry, asking="CeleryHandler")
        for each in self.routes:
            if fan_out_name(each) in app.tasks:
                raise ConfigurationError(
                    f"Another handler publishes to queue {each!r} of this app already; "
                    "give one of them a queue of its own."
                )
            self._add_task(
                fan_out_name(each), each, self.fan_out, FAN_OUT_RETRY.within(self.longest_delay), {}
            )
        join_owners(app, Owner(self, self._redelivery), **_OURS)
        self._pulse = None
        if silent_after is not None:
            self._pulse = Pulse(app, self._publisher, silent_after=silent_after)
        # Celery keeps only weak references to bound methods: the handler is forgotten with its last user.
        signals.celeryd_init.connect(self._on_worker_init)
        signals.worker_init.connect(self._on_worker_start)
        signals.worker_shutting_down.connect(self._on_worker_stop)

    # Registration

    _engine = "celery"
    _has_quorum_queues = True
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
        if self._quorum:
            self.app.amqp.queues.add(_quorum_queue(queue))
        run = self._redelivery.guard(function, Binding(name, queue, policy))
        settings: dict[str, Any] = {**_OURS, **options}
        if settings.get("time_limit"):
            settings[TIME_LIMIT] = settings["time_limit"]
            settings["time_limit"] += KILL_GRACE_SECONDS
        self.app.task(run, name=name, bind=True, lazy=False, shared=False, **settings)

    def _known_options(self) -> Collection[str]:
        return {name for name in dir(self.app.Task) if not name.startswith("_")} - _RETRY_OPTIONS

    def _refused_options(self) -> Mapping[str, str]:
        return dict.fromkeys(_RETRY_OPTIONS, "would retry beside us; use retry=RetryPolicy().")

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry.

        A worker holds it unacknowledged meanwhile. Redis hands it to another worker as well after the
        visibility timeout, again and again; RabbitMQ closes the channel of a worker that holds one for longer
        than the server's consumer timeout, by default 30 minutes. The limit is half of that, unless the
        handler was given another.
        """
        if self.settings.longest_delay is not None:
            return self.settings.longest_delay
        if speaks_amqp(self.app):
            return RABBITMQ_LONGEST_DELAY
        return float(self.app.conf.broker_transport_options.get("visibility_timeout", 3_600)) / 2

    def _check_policy(self, policy: RetryPolicy, *, asking: str) -> None:
        if policy.longest_wait <= self.longest_delay:
            return
        if speaks_amqp(self.app):
            raise ConfigurationError(too_long_for_rabbitmq(policy, self.longest_delay, asking=asking))
        raise ConfigurationError(
            f"{asking}: max_backoff is {policy.longest_wait:.0f} s, but Redis delivers a message once more "
            f"that waits for the visibility timeout: half of it, {self.longest_delay:.0f} s, is the limit. "
            "Raise broker_transport_options['visibility_timeout'] or lower max_backoff."
        )

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

    def diagnose(self) -> Iterable[Diagnosis]:
        """What `fastapi-events doctor` should know of the app and its broker."""
        return diagnosis.diagnose(
            self.app,
            {each.name: each.options for each in self.subscriptions},
            self.queues,
            quorum=self._quorum,
            confirms_handled=self.confirms_handled,
        )

    # The worker's life

    def _on_worker_init(self, instance: Any = None, **_: Any) -> None:
        """Let a worker without -Q consume every queue that we use, and survive a broker that was away."""
        if instance is not None and instance.app is self.app:
            for queue in self.queues:
                self.app.amqp.queues.select_add(_quorum_queue(queue) if self._quorum else queue)
            if speaks_amqp(self.app):
                # After a connection was lost, Celery 5.7 lets a thread that acknowledges restore the prefetch
                # count while the consumer waits on the same connection: each reads what the other waits for.
                self.app.conf.worker_enable_prefetch_count_reduction = False

    def _on_worker_start(self, sender: Any = None, **_: Any) -> None:
        if sender is not None and sender.app is self.app:
            self._redelivery.start(sender)
            use_in(sender)

    def _on_worker_stop(self, **_: Any) -> None:
        self._redelivery.stop()
        if self._pulse is not None:
            self._pulse.stop()


def _quorum_queue(name: str) -> Queue:
    """A quorum queue, on an exchange of a type through which Celery lets messages wait in RabbitMQ itself.

    With other exchanges a worker would hold them, and has no room for others meanwhile: on quorum queues its
    prefetch count cannot grow.
    """
    exchange = Exchange(f"{name}.topic", type="topic")
    return Queue(name, exchange, routing_key=name, queue_arguments={"x-queue-type": "quorum"})
