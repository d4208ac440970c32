"""The handler: publishes to a Dramatiq broker, and makes each subscription an actor."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

import dramatiq
import dramatiq.broker
from dramatiq.common import current_millis, dq_name

from fastapi_events.constants import DEFAULT_QUEUE
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.dramatiq.redelivery import BINDING, Binding, guarded, left_to_us, middleware_of
from fastapi_events.handlers.messages import Outgoing, fan_out_name
from fastapi_events.handlers.task_queue import FAN_OUT_RETRY, TaskQueueHandler
from fastapi_events.retry import RetryPolicy
from fastapi_events.subscriptions.subscription import Subscription

_redis: ModuleType | None
try:
    from dramatiq.brokers import redis as _redis

    from fastapi_events.handlers.dramatiq import redis_pipeline
except ImportError:  # only RabbitMQ's client is installed
    _redis = None

_MAX_DELAY_SECONDS = 7 * 86_400  # Dramatiq's own limit
_QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")


class DramatiqHandler(TaskQueueHandler):
    """Publishes events to a Dramatiq broker, and runs subscriptions as actors of its workers.

    Parameters:
        broker: Dramatiq's global broker if not given.
        queue: Where fan-out messages wait, and those of subscriptions that name no queue of their own.
        retry: When a failed subscription runs again, unless it says so itself.
        settings: See `TaskQueueHandler`.

    Raises:
        ConfigurationError: When there is no broker, or another handler has the queue.
    """

    def __init__(
        self,
        broker: dramatiq.Broker | None = None,
        *,
        queue: str = DEFAULT_QUEUE,
        retry: RetryPolicy = RetryPolicy(),
        **settings: Any,
    ) -> None:
        super().__init__(queue=queue, retry=retry, **settings)
        self.broker = _checked_broker(broker)
        self._check_policy(retry, asking="DramatiqHandler")
        self._middleware = middleware_of(self.broker)
        self._client: Any = None
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
    _options_of = "dramatiq.actor with this broker"

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

    @staticmethod
    def _check_policy(policy: RetryPolicy, *, asking: str) -> None:
        if policy.longest_wait > _MAX_DELAY_SECONDS:
            raise ConfigurationError(f"{asking}: Dramatiq delays messages by 7 days at most (max_backoff).")

    def _send(self, messages: Sequence[Outgoing], *, from_web: bool) -> None:
        outgoing: list[tuple[dramatiq.Message[Any], int | None]] = [
            (
                dramatiq.Message(
                    queue_name=each.queue, actor_name=each.task, args=(each.argument,), kwargs={}, options={},
                    message_id=each.id,
                ),
                int(each.delay * 1000) or None,
            )
            for each in messages
        ]  # fmt: skip
        if _pipelines(self.broker):
            self._pipeline(outgoing, from_web=from_web)
        else:
            for message, delay in outgoing:
                self.broker.enqueue(message, delay=delay)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _pipeline(
        self, messages: Sequence[tuple[dramatiq.Message[Any], int | None]], *, from_web: bool
    ) -> None:
        broker: Any = self.broker
        copies = [(_for_redis(message, delay), delay) for message, delay in messages]
        queues: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        for message, delay in copies:
            broker.emit_before("enqueue", message, delay)
            queues[message.queue_name].append((message.options["redis_message_id"], message.encode()))
        client = broker.client
        if from_web:
            client = self._client = self._client or redis_pipeline.publishing_client(
                broker.client, timeout=self.flush_deadline
            )
        redis_pipeline.enqueue(client, broker.namespace, queues)
        for message, delay in copies:
            broker.emit_after("enqueue", message, delay)


def _for_redis(message: dramatiq.Message[Any], delay: int | None) -> dramatiq.Message[Any]:
    """The copy that Dramatiq's own `enqueue` would store, which has an id of its own.

    Parameters:
        delay: Milliseconds; such a message waits in a queue beside its own.
    """
    options: dict[str, Any] = {"redis_message_id": str(uuid.uuid4())}
    if delay is None:
        return message.copy(options=options)
    return message.copy(
        queue_name=dq_name(message.queue_name), options={**options, "eta": current_millis() + delay}
    )


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


def _pipelines(broker: dramatiq.Broker) -> bool:
    return (
        _redis is not None
        and isinstance(broker, _redis.RedisBroker)
        and type(broker).enqueue is _redis.RedisBroker.enqueue
    )
