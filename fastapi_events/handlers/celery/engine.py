"""The engine: publishes through a Celery app's broker, and makes each subscription a task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, cast

from celery import Celery
from celery.exceptions import TaskRevokedError

from fastapi_events.errors import ConfigurationError, MissingDependencyError
from fastapi_events.handlers.brokers.rabbitmq import RABBITMQ_LONGEST_DELAY, too_long_for_rabbitmq
from fastapi_events.handlers.celery import diagnosis
from fastapi_events.handlers.celery.alternatives import sentinel_options
from fastapi_events.handlers.celery.dead_queues import DEAD, dead_queues
from fastapi_events.handlers.celery.depth import dead_queue, depths
from fastapi_events.handlers.celery.eager import is_eager, log_letter, run_in_place
from fastapi_events.handlers.celery.heartbeat import Heartbeat
from fastapi_events.handlers.celery.options import MESSAGE_OPTIONS, options_of
from fastapi_events.handlers.celery.publisher import CeleryPublisher, check_content, speaks_amqp
from fastapi_events.handlers.celery.queue_search import search
from fastapi_events.handlers.celery.quorum import quorum_queue
from fastapi_events.handlers.celery.tasks import Tasks, item_attempt
from fastapi_events.handlers.celery.time_limits import KILL_GRACE_SECONDS, TIME_LIMIT
from fastapi_events.handlers.celery.unclaimed import Responsible, answer_for
from fastapi_events.handlers.celery.worker_signals import WorkerSignals
from fastapi_events.handlers.task_queue.dead_queues import DeadQueues, NoDeadQueues
from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.engine import Actor, Engine
from fastapi_events.handlers.task_queue.in_place import raise_at_flush
from fastapi_events.handlers.task_queue.messages import Message, is_older
from fastapi_events.handlers.task_queue.options import EngineOptions
from fastapi_events.handlers.task_queue.queue_search import QueueSearch
from fastapi_events.handlers.task_queue.settings import TaskQueueSettings
from fastapi_events.handlers.task_queue.worker.dead_letters import failure_report
from fastapi_events.handlers.task_queue.worker.outcome import Attempt
from fastapi_events.handlers.task_queue.worker.worker import Worker
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import Catalogue
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.subscriptions.subscription import Subscription

_redis: ModuleType | None
try:
    from fastapi_events.storage import redis as _redis
except MissingDependencyError:  # the broker is another one
    _redis = None

_CATALOGUE_SECONDS = 5.0

_NO_RETRIES: Mapping[str, Any] = {
    "autoretry_for": (), "dont_autoretry_for": (), "retry_backoff": False, "retry_backoff_max": 600,
    "retry_jitter": True, "retry_kwargs": {}, "max_retries": None, "default_retry_delay": 180,
}  # fmt: skip
"""Retries of Celery's own, beside which ours would multiply."""

# What all subscriptions' tasks have in common, whatever the app's base class for tasks sets.
_OURS: Mapping[str, Any] = {
    **_NO_RETRIES,
    "acks_late": True, "reject_on_worker_lost": True, "acks_on_timeout": False, "acks_on_failure": True,
    "ignore_result": True, "expires": None,
}  # fmt: skip


class CeleryEngine(Engine):
    """Celery, by one of its apps.

    Parameters:
        app: Which one.
        silent_after: See `CeleryHandler`.
    """

    name = "celery"
    has_quorum_queues = True

    def __init__(self, app: Celery, *, silent_after: float | None = None) -> None:
        self.app = app
        self._quorum = False
        self._longest_delay: float | None = None
        self._publisher = CeleryPublisher(app)
        self._tasks = Tasks(app, self._publisher)
        self._message_options: dict[str, dict[str, Any]] = {}
        self._worker: Worker | None = None
        self._catalogue_connection: Any = None  # kept: the client of the catalogue ends with it
        self._heartbeat = None
        if silent_after is not None:
            self._heartbeat = Heartbeat(app, self._publisher, silent_after=silent_after)
        self._signals = WorkerSignals(app, self._tasks, self._heartbeat)  # kept: Celery does not

    def configure(self, settings: TaskQueueSettings) -> None:
        check_content(self.app)
        self._quorum = settings.queue_type == "quorum"
        if self._quorum and not speaks_amqp(self.app):
            raise ConfigurationError(
                "CeleryHandler: queue_type='quorum' is for RabbitMQ, not for this broker."
            )
        self._longest_delay = settings.longest_delay
        self._check_policy(settings.retry, asking="CeleryHandler")

    # Publisher

    @property
    def runs_in_place(self) -> bool:
        return is_eager(self.app)

    @property
    def longest_delay(self) -> float:
        """Seconds that a message may wait for its time, as before a retry.

        A worker holds it unacknowledged meanwhile. Redis hands it to another worker as well after the
        visibility timeout, again and again; RabbitMQ closes the channel of a worker that holds one for longer
        than the server's consumer timeout, by default 30 minutes. The limit is half of that, unless the
        handler was given another.
        """
        if self._longest_delay is not None:
            return self._longest_delay
        if speaks_amqp(self.app):
            return RABBITMQ_LONGEST_DELAY
        return float(self.app.conf.broker_transport_options.get("visibility_timeout", 3_600)) / 2

    def send(self, messages: Sequence[Message], *, timeout: float | None = None) -> None:
        if self.runs_in_place:
            run_in_place(self.app, messages)
            return
        tasks = [self._task_message(each) for each in messages]
        if timeout is None:
            self._publisher.publish(tasks)
        else:
            self._publisher.publish(tasks, timeout=timeout)

    def ping(self, *, timeout: float) -> None:
        if not self.runs_in_place:
            diagnosis.ping(self.app, timeout=timeout)

    def _task_message(self, message: Message) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": message.task, "args": (message.argument,), "task_id": message.id, "queue": message.queue,
        }  # fmt: skip
        if message.delay:
            arguments["countdown"] = message.delay
        if message.failed:
            arguments["retries"] = message.failed
        options = self._options_of(message.task)
        if options.get("priority") is not None:
            arguments["priority"] = options["priority"]
        if options.get("expires") is not None:
            since = message.since or datetime.now(UTC)
            arguments["expires"] = since + timedelta(seconds=options["expires"])
        if self._quorum and message.queue not in self.app.amqp.queues:  # of a function that others have
            self.app.amqp.queues.add(quorum_queue(message.queue))
        return arguments

    def _options_of(self, task: str) -> Mapping[str, Any]:
        """What goes with the messages to a task, which may be one that only other workers have."""
        own = self._message_options.get(task)
        if own is not None or self._worker is None:
            return own or {}
        listed = self._worker.fleet.listed(task)
        return {} if listed is None else {"priority": listed.priority, "expires": listed.expires}

    def close(self) -> None:
        self._publisher.disconnect()

    # Registration

    @property
    def options(self) -> EngineOptions:
        return options_of(self.app)

    def declare(self, actor: Actor) -> None:
        if actor.name in self.app.tasks:
            raise ConfigurationError(
                f"The app has a task named {actor.name!r} already; pass name= to register()."
                if actor.subscription is not None
                else f"Another handler publishes to queue {actor.queue!r} of this app already; "
                "give one of them a queue of its own."
            )
        if actor.subscription is not None:
            self._check_policy(actor.policy, asking=actor.name)
        if self._quorum:
            self.app.amqp.queues.add(quorum_queue(actor.queue))
        settings: dict[str, Any] = {**_OURS, **actor.options}
        # Of messages: as a task's attributes they mean nothing where messages are sent by its name.
        self._message_options[actor.name] = {
            option: actor.options[option] for option in MESSAGE_OPTIONS if option in actor.options
        }
        settings.pop("priority", None)
        settings["expires"] = None
        if settings.get("time_limit"):
            settings[TIME_LIMIT] = settings["time_limit"]
            settings["time_limit"] += KILL_GRACE_SECONDS
        run = self._tasks.function_of(actor)
        self.app.task(run, name=actor.name, bind=True, lazy=False, shared=False, **settings)
        if self._worker is None:
            self._worker = actor.worker
            self._signals.serve(actor.worker, quorum=self._quorum)
            answer_for(self.app, Responsible(actor.worker, self._tasks), **_OURS)

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

    # In a worker

    def described(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> Attempt | None:
        found = item_attempt(attempt, error)
        return replace(found, wait=0.0) if found is not None and self.runs_in_place else found

    def refusal(self, options: Mapping[str, Any], argument: str) -> Exception | None:
        expires = options.get("expires")
        if expires is None or not is_older(argument, timedelta(seconds=expires)):
            return None
        error: Exception = TaskRevokedError("expired")
        return error

    def gave_up(self, attempt: Attempt, options: Mapping[str, Any], error: BaseException) -> None:
        if self.runs_in_place and self.app.conf.task_eager_propagates:
            raise_at_flush(error)

    def keep(self, letter: DeadLetter) -> None:
        """Publish a message once more with its report, to a queue that nobody consumes."""
        if self.runs_in_place:
            log_letter(letter)
            return
        self._tasks.publish_until_done(
            {
                "name": letter.subscription, "args": (letter.argument,), "task_id": letter.id,
                "queue": dead_queue(letter.queue), "headers": {DEAD: failure_report(letter)},
            }
        )  # fmt: skip

    def catalogue(self) -> Catalogue | None:
        if self.runs_in_place:
            return MemoryCatalogue()
        bounds = sentinel_options(self.app, timeout=_CATALOGUE_SECONDS)
        connection = self.app.connection_for_write(transport_options=bounds)
        kind = connection.transport.driver_type
        if kind == "memory":
            return MemoryCatalogue()
        if kind != "redis" or _redis is None:
            return None
        # The pool of a kombu channel is configured by the URL, TLS and Sentinel included.
        # Its client is of no use: with a prefix for all keys it changes arguments of scripts, too.
        self._catalogue_connection = connection
        channel = connection.default_channel
        prefix = f"{channel.global_keyprefix}fastapi_events:celery"
        store = _redis.RedisStore(_redis.redis.Redis(connection_pool=channel.pool), prefix=prefix)
        return cast("Catalogue", store.catalogue)

    def depths(self, queues: Collection[str], *, timeout: float) -> Sequence[QueueDepth]:
        if self.runs_in_place:
            return [QueueDepth(queue=each, ready=0, in_hand=0, delayed=0) for each in queues]
        return depths(self.app, queues, timeout=timeout)

    def search(self, queues: Collection[str], prefix: str, *, timeout: float) -> QueueSearch:
        return QueueSearch() if self.runs_in_place else search(self.app, queues, prefix, timeout=timeout)

    def dead_queues(
        self, handler: str, queues: Collection[str], *, timeout: float, to_take: bool = False
    ) -> AbstractContextManager[DeadQueues]:
        if self.runs_in_place:
            return nullcontext(NoDeadQueues())
        return dead_queues(self.app, handler, queues, timeout=timeout)

    def diagnose(
        self, subscriptions: Sequence[Subscription], queues: Collection[str], *, confirms_handled: bool
    ) -> Iterable[Finding]:
        """What `fastapi-events doctor` should know of the app and its broker."""
        return diagnosis.diagnose(
            self.app,
            {each.name: each.options for each in subscriptions},
            queues,
            quorum=self._quorum,
            confirms_handled=confirms_handled,
        )
