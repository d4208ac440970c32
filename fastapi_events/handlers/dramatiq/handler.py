"""The handler: publishes to a Dramatiq broker, and makes each subscription an actor."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any, Unpack

import dramatiq
import dramatiq.broker

from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.dramatiq import diagnosis
from fastapi_events.handlers.dramatiq.middleware import BINDING, Binding, guarded, left_to_us, middleware_of
from fastapi_events.handlers.rabbitmq import RABBITMQ_LONGEST_DELAY, too_long_for_rabbitmq
from fastapi_events.handlers.task_queue import FAN_OUT_RETRY, TaskQueueHandler, TaskQueueOptions
from fastapi_events.handlers.task_queue.messages import Diagnosis, Outgoing, fan_out_name
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.subscription import Subscription

_redis: ModuleType | None
try:
    from dramatiq.brokers import redis as _redis

    from fastapi_events.handlers.dramatiq.redis_pipeline import RedisPublisher
except ImportError:  # only RabbitMQ's client is installed
    _redis = None

_rabbitmq: ModuleType | None
try:
    from dramatiq.brokers import rabbitmq as _rabbitmq

    from fastapi_events.handlers.dramatiq.quorum import QuorumBroker
    from fastapi_events.handlers.dramatiq.rabbitmq_publisher import RabbitmqPublisher
except ImportError:  # only that of Redis is
    _rabbitmq = None

_MAX_DELAY_SECONDS = 7 * 86_400.0  # Dramatiq's own limit
_QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")


class DramatiqHandler(TaskQueueHandler):
    """Publishes events to a Dramatiq broker, and runs subscriptions as actors of its workers.

    Parameters:
        broker: Dramatiq's global broker if not given.
        settings: See `TaskQueueSettings`; `queue_type="quorum"` needs a `QuorumBroker`.

    Raises:
        InvalidSetting: When there is no setting of a name, or it cannot have its value.
        ConfigurationError: When there is no broker, it cannot do what is asked, or another handler has the
            queue.
    """

    def __init__(self, broker: dramatiq.Broker | None = None, **settings: Unpack[TaskQueueOptions]) -> None:
        super().__init__(**settings)
        self.broker = _checked_broker(broker)
        self._quorum = self.settings.queue_type == "quorum"
        if self._quorum:
            _check_quorum(self.broker)
        self._check_policy(self.settings.retry, asking="DramatiqHandler")
        self._middleware = middleware_of(self.broker)
        self._publisher = _publisher_for(self.broker)
        for each in self.routes:
            _check_queue(each, asking="DramatiqHandler")
            name = fan_out_name(each)
            if name in self.broker.actors:
                raise ConfigurationError(
                    f"Another handler publishes to queue {each!r} of this broker already; "
                    "give one of them a queue of its own."
                )
            self._add_actor(name, each, self.fan_out, Binding(name, FAN_OUT_RETRY, handler=self), {})
            self._middleware.serve(each, self)

    _engine = "dramatiq"
    _has_quorum_queues = True
    _options_of = "dramatiq.actor with this broker"
    _time_unit = timedelta(milliseconds=1)

    def _declare(self, subscription: Subscription) -> None:
        queue = subscription.queue or self.queue
        _check_queue(queue, asking=subscription.name)
        if subscription.name in self.broker.actors:
            raise ConfigurationError(
                f"The broker has an actor named {subscription.name!r} already; pass name= to register()."
            )
        options = dict(subscription.options)
        binding = Binding(
            subscription.name,
            self._policy(subscription),
            retry_when=options.pop("retry_when", None),
            on_retry_exhausted=options.pop("on_retry_exhausted", None),
            handler=self,
        )
        self._check_policy(binding.policy, asking=subscription.name)
        self._middleware.serve(queue, self)
        self._add_actor(subscription.name, queue, partial(self.perform, subscription), binding, options)

    def _add_actor(
        self,
        name: str,
        queue: str,
        function: Callable[..., None],
        binding: Binding,
        options: dict[str, Any],
    ) -> None:
        if self._quorum:
            quorum: Any = self.broker
            quorum.quorum_queues.add(queue)
        options = {**options, **left_to_us(self.broker), BINDING: binding}
        dramatiq.actor(actor_name=name, queue_name=queue, broker=self.broker, **options)(guarded(function))

    def _policy(self, subscription: Subscription) -> RetryPolicy:
        """The subscription's policy, in which Dramatiq's own options count as well."""
        policy = super()._policy(subscription)
        options = subscription.options
        throws = options.get("throws", ())
        return replace(
            policy.giving_up_on(*(throws if isinstance(throws, tuple) else (throws,))),
            max_retries=options.get("max_retries", policy.max_retries),
            min_backoff=options["min_backoff"] / 1000 if "min_backoff" in options else policy.min_backoff,
            max_backoff=options["max_backoff"] / 1000 if "max_backoff" in options else policy.max_backoff,
        )

    def _known_options(self) -> Collection[str]:
        return {*self.broker.actor_options, "priority"} - {BINDING}

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry.

        A worker holds it unacknowledged meanwhile. RabbitMQ closes the channel of a worker that holds one for
        longer than the server's consumer timeout, by default 30 minutes: the limit is half of that, unless
        the handler was given another. On other brokers it is Dramatiq's own, seven days.
        """
        if self.settings.longest_delay is not None:
            return self.settings.longest_delay
        return RABBITMQ_LONGEST_DELAY if _on_rabbitmq(self.broker) else _MAX_DELAY_SECONDS

    def _check_policy(self, policy: RetryPolicy, *, asking: str) -> None:
        if policy.longest_wait <= self.longest_delay:
            return
        if _on_rabbitmq(self.broker):
            raise ConfigurationError(too_long_for_rabbitmq(policy, self.longest_delay, asking=asking))
        raise ConfigurationError(
            f"{asking}: max_backoff is {policy.longest_wait:.0f} s, but Dramatiq delays messages by 7 days "
            f"at most, and this handler by {self.longest_delay:.0f} s."
        )

    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        outgoing = [_as_dramatiq_has_it(each) for each in messages]
        if self._publisher is not None:
            self._publisher.publish(outgoing, timeout=self.flush_deadline if from_web else None)
            return
        for message, delay in outgoing:
            self.broker.enqueue(message, delay=delay)

    def _begin(
        self, messages: Callable[[], Sequence[Outgoing]], answered: Callable[[bool], None]
    ) -> Callable[[], None] | None:
        if not isinstance(self._publisher, RedisPublisher):
            return None
        return self._publisher.begin(lambda: [_as_dramatiq_has_it(each) for each in messages()], answered)

    def _disconnect(self) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def diagnose(self) -> Iterable[Diagnosis]:
        """What `fastapi-events doctor` should know of Dramatiq's broker."""
        return diagnosis.diagnose(
            self.broker, self.queues, quorum=self._quorum, confirms_handled=self.confirms_handled
        )


def _as_dramatiq_has_it(outgoing: Outgoing) -> tuple[dramatiq.Message[Any], int | None]:
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=outgoing.queue, actor_name=outgoing.task, args=(outgoing.argument,), kwargs={}, options={},
        message_id=outgoing.id,
    )  # fmt: skip
    return message, int(outgoing.delay * 1000) or None


def _checked_broker(broker: Any) -> dramatiq.Broker:
    if broker is None:
        # dramatiq.get_broker() would make one up, which nobody serves.
        broker = dramatiq.broker.global_broker
        if broker is None:
            raise ConfigurationError(
                "Dramatiq has no broker yet: pass one to DramatiqHandler, or call dramatiq.set_broker first."
            )
    if not isinstance(broker, dramatiq.Broker):
        raise ConfigurationError(f"DramatiqHandler({broker!r}): expected a dramatiq.Broker.")
    return broker


def _check_queue(queue: str, *, asking: str) -> None:
    if not _QUEUE_NAME.fullmatch(queue):
        raise ConfigurationError(
            f"{asking}: queue {queue!r} must start with a letter or underscore, followed by letters, digits, "
            "dots, dashes or underscores."
        )


def _publisher_for(broker: dramatiq.Broker) -> RedisPublisher | RabbitmqPublisher | None:
    """What sends many messages at once; nothing where `enqueue` is somebody's own, which we then call."""
    if _redis is not None and isinstance(broker, _redis.RedisBroker):
        return RedisPublisher(broker) if type(broker).enqueue is _redis.RedisBroker.enqueue else None
    if _rabbitmq is not None and isinstance(broker, _rabbitmq.RabbitmqBroker):
        return RabbitmqPublisher(broker) if type(broker).enqueue is _rabbitmq.RabbitmqBroker.enqueue else None
    return None


def _on_rabbitmq(broker: dramatiq.Broker) -> bool:
    return _rabbitmq is not None and isinstance(broker, _rabbitmq.RabbitmqBroker)


def _check_quorum(broker: Any) -> None:
    if not _on_rabbitmq(broker):
        raise ConfigurationError(
            f"DramatiqHandler: queue_type='quorum' is for RabbitMQ, not for a {type(broker).__name__}."
        )
    if not isinstance(broker, QuorumBroker):
        raise ConfigurationError(
            "DramatiqHandler: queue_type='quorum' needs a broker that declares such queues; pass "
            "fastapi_events.handlers.dramatiq.quorum.QuorumBroker(…) instead of a RabbitmqBroker(…)."
        )
    if broker.max_priority is not None:
        raise ConfigurationError(
            "DramatiqHandler: quorum queues know no max_priority; leave it out of QuorumBroker(…)."
        )
