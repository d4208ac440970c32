"""The engine: sends messages to a Dramatiq broker, and makes each subscription an actor."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage

from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.handlers.brokers.rabbitmq import RABBITMQ_LONGEST_DELAY, too_long_for_rabbitmq
from fastapi_events.handlers.dramatiq import diagnosis, installed_brokers
from fastapi_events.handlers.dramatiq.actors import ACTOR, declare
from fastapi_events.handlers.dramatiq.dead_queues import dead_queues
from fastapi_events.handlers.dramatiq.depth import depths
from fastapi_events.handlers.dramatiq.middleware import DEAD, FAILED, middleware_of
from fastapi_events.handlers.dramatiq.options import options_of
from fastapi_events.handlers.dramatiq.queue_search import search
from fastapi_events.handlers.dramatiq.retry_options import tell_exhausted, with_own_terms
from fastapi_events.handlers.task_queue.dead_queues import DeadQueues
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.engine import Actor, Engine, UnknownActor
from fastapi_events.handlers.task_queue.messages import Message, is_older
from fastapi_events.handlers.task_queue.options import EngineOptions
from fastapi_events.handlers.task_queue.queue_search import QueueSearch
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.dead_letters import failure_report
from fastapi_events.handlers.task_queue.worker.outcome import Attempt
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import Catalogue
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.subscriptions.subscription import Subscription

if installed_brokers.redis is not None:
    from dramatiq.brokers.redis import RedisBroker

    from fastapi_events.handlers.dramatiq.redis_publisher import RedisPublisher
    from fastapi_events.storage.redis import RedisStore
if installed_brokers.rabbitmq is not None:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    from fastapi_events.handlers.dramatiq.rabbitmq_publisher import RabbitmqPublisher
    from fastapi_events.handlers.dramatiq.rabbitmq_quorum import QuorumBroker

_MAX_DELAY_SECONDS = 7 * 86_400.0  # Dramatiq's own limit
_QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]*")


class DramatiqEngine(Engine):
    """Dramatiq, by one of its brokers.

    Parameters:
        broker: Which one.
    """

    name = "dramatiq"

    has_quorum_queues = True

    def __init__(self, broker: dramatiq.Broker) -> None:
        self.broker = broker
        self._quorum = False
        self._longest_delay: float | None = None
        self._middleware = middleware_of(self.broker)
        self._publisher = _publisher_for(self.broker)
        self._middleware.publish_by(self._publisher)

    def configure(self, settings: TaskQueueSettings) -> None:
        self._quorum = settings.queue_type == "quorum"
        if self._quorum:
            _check_quorum(self.broker)
        if installed_brokers.redis is not None and isinstance(self._publisher, RedisPublisher):
            self._publisher.prepare(timeout=settings.flush_deadline)
        self._longest_delay = settings.longest_delay
        self._check_policy(settings.retry, asking="DramatiqHandler")

    # Publisher

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry.

        A worker holds it unacknowledged meanwhile. RabbitMQ closes the channel of a worker that holds one for
        longer than the server's consumer timeout, by default 30 minutes: the limit is half of that, unless
        the handler was given another. On other brokers it is Dramatiq's own, seven days.
        """
        if self._longest_delay is not None:
            return self._longest_delay
        return RABBITMQ_LONGEST_DELAY if installed_brokers.is_rabbitmq(self.broker) else _MAX_DELAY_SECONDS

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        outgoing = [_as_dramatiq_has_it(each) for each in messages]
        if self._publisher is not None:
            self._publisher.publish(outgoing, timeout=timeout)
            return
        for message, delay in outgoing:
            self.broker.enqueue(message, delay=delay)

    def ping(self, *, timeout: float) -> None:
        diagnosis.ping(self.broker, timeout=timeout)

    def sends_on_loop(self) -> bool:
        return (
            installed_brokers.redis is not None
            and isinstance(self._publisher, RedisPublisher)
            and self._publisher.sends_on_loop()
        )

    async def send_on_loop(self, messages: Sequence[Message]) -> bool:
        assert isinstance(self._publisher, RedisPublisher)  # noqa: S101 - `sends_on_loop` has said so
        return await self._publisher.publish_on_loop([_as_dramatiq_has_it(each) for each in messages])

    async def close_on_loop(self) -> None:
        if installed_brokers.redis is not None and isinstance(self._publisher, RedisPublisher):
            await self._publisher.close_on_loop()

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()

    def expect(self, actor: UnknownActor) -> None:
        self._middleware.expect(actor)

    # Registration

    @property
    def options(self) -> EngineOptions:
        return options_of(self.broker, ours=(ACTOR,))

    def policy(self, policy: RetryPolicy, options: Mapping[str, Any]) -> RetryPolicy:
        throws = options.get("throws", ())
        return replace(
            policy.giving_up_on(*(throws if isinstance(throws, tuple) else (throws,))),
            max_retries=options.get("max_retries", policy.max_retries),
            min_backoff=options["min_backoff"] / 1000 if "min_backoff" in options else policy.min_backoff,
            max_backoff=options["max_backoff"] / 1000 if "max_backoff" in options else policy.max_backoff,
        )

    def _check_policy(self, policy: RetryPolicy, *, asking: str) -> None:
        if policy.longest_wait <= self.longest_delay:
            return
        if installed_brokers.is_rabbitmq(self.broker):
            raise ConfigurationError(too_long_for_rabbitmq(policy, self.longest_delay, asking=asking))
        raise ConfigurationError(
            f"{asking}: max_backoff is {policy.longest_wait:.0f} s, but Dramatiq delays messages by 7 days "
            f"at most, and this handler by {self.longest_delay:.0f} s."
        )

    def declare(self, actor: Actor) -> None:
        asking = "DramatiqHandler" if actor.subscription is None else actor.name
        if not _QUEUE_NAME.fullmatch(actor.queue):
            raise ConfigurationError(
                f"{asking}: queue {actor.queue!r} must start with a letter or underscore, followed by "
                "letters, digits, dots, dashes or underscores."
            )
        if actor.name in self.broker.actors:
            raise ConfigurationError(
                f"The broker has an actor named {actor.name!r} already; pass name= to register()."
                if actor.subscription is not None
                else f"Another handler publishes to queue {actor.queue!r} of this broker already; "
                "give one of them a queue of its own."
            )
        if actor.subscription is not None:
            self._check_policy(actor.policy, asking=asking)
        if self._quorum:
            quorum: Any = self.broker
            quorum.quorum_queues.add(actor.queue)
        self._middleware.serve(actor.queue, actor.worker)
        declare(self.broker, actor)

    # In a worker

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        attempt = with_own_terms(attempt, options, error)
        # The broker in memory is there for tests, which wait for each attempt.
        return replace(attempt, wait=0.0) if isinstance(self.broker, StubBroker) else attempt

    def refusal(self, options: Mapping[str, Any], argument: str) -> Exception | None:
        max_age = options.get("max_age")
        if max_age is None or not is_older(argument, timedelta(milliseconds=max_age)):
            return None
        return SkipMessage("Message age limit exceeded")

    def gave_up(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> None:
        message, _ = _as_dramatiq_has_it(
            Message(attempt.subscription, attempt.queue, attempt.arguments[0], attempt.message_id)
        )
        tell_exhausted(self.broker, message.asdict(), options, attempt.failed_before, attempt.policy)

    def keep(self, letter: DeadLetter) -> None:
        """Enqueue a message once more with its report, which a worker then rejects into the dead letters.

        What a broker moves to its dead-letter queue is the message as it was sent.
        """
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=letter.queue, actor_name=letter.subscription, args=(letter.argument,), kwargs={},
            options={DEAD: failure_report(letter)}, message_id=letter.id,
        )  # fmt: skip
        if not self._middleware.until_done(partial(self._middleware.enqueue, message), letter.id):
            raise NotPublished("the worker stopped before the broker had the dead letter")

    def catalogue(self) -> Catalogue | None:
        if installed_brokers.is_redis(self.broker):
            prefix = f"fastapi_events:{self.broker.namespace}"
            return RedisStore(self.broker.client, prefix=prefix).catalogue
        return MemoryCatalogue() if isinstance(self.broker, StubBroker) else None

    def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
        return depths(self.broker, queues, timeout=timeout)

    def search(self, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
        return search(self.broker, queues, prefix, timeout=timeout)

    def dead_queues(
        self, handler: str, queues: Collection[str], *, timeout: float, to_take: bool = False
    ) -> AbstractContextManager[DeadQueues]:
        return dead_queues(self.broker, handler, queues, timeout=timeout, to_take=to_take)

    def diagnose(
        self, subscriptions: Sequence[Subscription], queues: Collection[str], *, confirms_handled: bool
    ) -> Iterable[Finding]:
        """What `fastapi-events doctor` should know of Dramatiq's broker."""
        return diagnosis.diagnose(self.broker, queues, quorum=self._quorum, confirms_handled=confirms_handled)


def _as_dramatiq_has_it(message: Message) -> tuple[dramatiq.Message[Any], int | None]:
    options = {FAILED: message.failed} if message.failed else {}
    known: dict[str, Any] = {}
    if message.since is not None:  # Dramatiq counts a message's age from here
        known["message_timestamp"] = int(message.since.timestamp() * 1000)
    outgoing: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=message.queue, actor_name=message.task, args=(message.argument,), kwargs={},
        options=options, message_id=message.id, **known,
    )  # fmt: skip
    return outgoing, int(message.delay * 1000) or None


def _publisher_for(broker: dramatiq.Broker) -> RedisPublisher | RabbitmqPublisher | None:
    """What sends many messages at once; nothing where `enqueue` is somebody's own, which we then call."""
    if installed_brokers.is_redis(broker):
        return RedisPublisher(broker) if type(broker).enqueue is RedisBroker.enqueue else None
    if installed_brokers.is_rabbitmq(broker):
        return RabbitmqPublisher(broker) if type(broker).enqueue is RabbitmqBroker.enqueue else None
    return None


def _check_quorum(broker: Any) -> None:
    if not installed_brokers.is_rabbitmq(broker):
        raise ConfigurationError(
            f"DramatiqHandler: queue_type='quorum' is for RabbitMQ, not for a {type(broker).__name__}."
        )
    if not isinstance(broker, QuorumBroker):
        raise ConfigurationError(
            "DramatiqHandler: queue_type='quorum' needs a broker that declares such queues; pass "
            "fastapi_events.handlers.dramatiq.rabbitmq_quorum.QuorumBroker(…) instead of a RabbitmqBroker(…)."
        )
    if broker.max_priority is not None:
        raise ConfigurationError(
            "DramatiqHandler: quorum queues know no max_priority; leave it out of QuorumBroker(…)."
        )
