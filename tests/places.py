"""Places where subscriptions run, behind one face, for tests that hold for all of them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import celery
import celery.signals
import dramatiq
import kombu.pools
import pika
import redis
from celery.contrib.testing.worker import start_worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DEAD, DramatiqHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue.messages import fan_out_name
from fastapi_events.retry import RetryPolicy
from fastapi_events.scope import collect_events

QUICK = RetryPolicy(max_retries=2, min_backoff=0.01, max_backoff=0.02)


class Place:
    """A handler, and a way to wait until nothing is left to do."""

    handler: Any

    def dispatch(self, *args: Any, **kwargs: Any) -> None:
        """Dispatch one event in a scope of its own, and wait until all that follows is done."""

        async def scope() -> None:
            async with collect_events([self.handler], raise_errors=False):
                dispatch(*args, **kwargs)

        asyncio.run(scope())
        self.settle()

    def settle(self) -> None:
        """Wait until every message has been handled, retries included."""


class Local(Place):
    def __init__(self) -> None:
        self.handler = LocalHandler()


@dataclass(frozen=True)
class Sent:
    """A message as it was handed to the broker."""

    task: str
    queue: str
    id: str
    argument: Any


@dataclass(frozen=True)
class Dead:
    """A message that was given up."""

    task: str
    arguments: tuple[Any, ...]
    report: dict[str, Any]


class QueuePlace(Place):
    """A task queue, whatever its engine: a worker of two threads in this process, on an empty broker."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def work(self) -> None:
        """Start the worker: by then every function must be registered, as in a worker process."""
        raise NotImplementedError

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        """Put a message of any kind into a queue, as another program might, with the engine's own means."""
        raise NotImplementedError

    def dead(self, queue: str = "events") -> list[Dead]:
        """What was given up of a queue."""
        raise NotImplementedError

    def reasons(self, queue: str = "events") -> list[str]:
        """Why it was."""
        return [dead.report["reason"] for dead in self.dead(queue)]

    @property
    def queues(self) -> set[str]:
        return set(self.handler.queues)

    def close(self) -> None:
        raise NotImplementedError


class Dramatiq(QueuePlace):
    def __init__(self, broker: dramatiq.Broker, **settings: Any) -> None:
        super().__init__()
        self.broker: Any = broker
        self.broker.add_middleware(_Listening(self.sent))
        self.handler = DramatiqHandler(broker, **{"retry": QUICK, "unknown_retry": QUICK, **settings})
        self.worker: dramatiq.Worker | None = None

    def work(self) -> None:
        if self.worker is None:
            self.worker = dramatiq.Worker(self.broker, worker_timeout=20, worker_threads=2)
            self.worker.start()

    def settle(self) -> None:
        self.work()
        extra: dict[str, Any] = {"interval": 10}
        if isinstance(self.broker, StubBroker):
            extra = {"fail_fast": False}
        elif isinstance(self.broker, RabbitmqBroker):
            extra = {"idle_time": 10}
        for _ in range(3):  # what one queue has sent to another is waited for as well
            for queue in self.queues:
                self.broker.join(queue, timeout=30_000, **extra)
            assert self.worker is not None
            self.worker.join()

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        self.broker.enqueue(
            dramatiq.Message(
                queue_name=queue, actor_name=task or fan_out_name(self.handler.queue), args=arguments,
                kwargs={}, options={},
            )
        )  # fmt: skip

    def dead(self, queue: str = "events") -> list[Dead]:
        # What has no report was replaced by another message: on RabbitMQ the copy cannot be removed.
        return [
            Dead(message.actor_name, message.args, message.options[DEAD])
            for message in self.rejected(queue)
            if DEAD in message.options
        ]

    def rejected(self, queue: str = "events") -> list[Any]:
        """The messages in Dramatiq's dead-letter queue, as they are."""
        if isinstance(self.broker, StubBroker):
            return list(self.broker.dead_letters_by_queue[queue])
        if isinstance(self.broker, RabbitmqBroker):
            bodies = waiting_in(self.broker.parameters, f"{queue}.XQ")
            return [dramatiq.Message.decode(body) for _, body in bodies]
        stored = self.broker.client.hvals(f"{self.broker.namespace}:{queue}.XQ.msgs")
        return sorted(map(dramatiq.Message.decode, stored), key=lambda message: message.message_timestamp)

    def close(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        asyncio.run(self.handler.on_shutdown())
        self.broker.close()


class _Listening(Middleware):
    def __init__(self, sent: list[Sent]) -> None:
        self.sent = sent

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.sent.append(
            Sent(
                message.actor_name,
                message.queue_name,
                message.message_id,
                message.args[:1] and message.args[0],
            )
        )


@celery.signals.setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """A worker in our process must not take the log away from pytest; being asked is enough for Celery."""


class OnCelery(QueuePlace):
    """Celery, with its worker in a thread."""

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__()
        # A prefix of its own keeps the tests apart on one server.
        self.prefix = f"test-{uuid.uuid4()}:"
        self.app = celery.Celery(self.prefix, broker=url, set_as_current=False)
        self.configure(url)
        self.app.conf.worker_prefetch_multiplier = 1
        self.handler = CeleryHandler(self.app, **{"retry": QUICK, "unknown_retry": QUICK, **settings})
        self._worker = ExitStack()
        self._working = False
        # Here and below with an id: before 5.7 Celery takes the same method of two objects for one receiver.
        celery.signals.before_task_publish.connect(self._listen, dispatch_uid=id(self))

    def _listen(self, sender: str, body: Any, routing_key: str, headers: Any, **_: Any) -> None:
        if sender in self.app.tasks or routing_key in self.queues:
            self.sent.append(Sent(sender, routing_key, headers["id"], body[0][:1] and body[0][0]))

    def work(self) -> None:
        if not self._working:
            self._working = True
            worker = self._worker.enter_context(
                start_worker(
                    self.app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="critical",
                    queues=sorted(self.queues),
                )
            )  # fmt: skip
            # An idle worker looks up every ten seconds only: being told to stop wakes it.
            self._worker.callback(self.app.control.shutdown, destination=[worker.hostname])

    def settle(self) -> None:
        self.work()
        quiet, deadline = 0, time.monotonic() + 30
        # On Redis a message is nowhere for a moment, between the queue and what is unacknowledged.
        while quiet < 10:
            assert time.monotonic() < deadline, "the queues do not become empty"
            quiet = 0 if self.waiting() else quiet + 1
            time.sleep(0.01)

    def send(self, *arguments: Any, task: str | None = None, queue: str = "events") -> None:
        # Celery's own pool remembers which queues it has declared, longer than they last here.
        with self.app.connection_for_write() as connection:
            self.app.send_task(
                task or fan_out_name(self.handler.queue), args=arguments, queue=queue, ignore_result=True,
                producer=self.app.amqp.Producer(connection, auto_declare=False),
            )  # fmt: skip

    def close(self) -> None:
        celery.signals.before_task_publish.disconnect(dispatch_uid=id(self))
        self._worker.close()
        asyncio.run(self.handler.on_shutdown())
        self.app.close()

    def configure(self, url: str) -> None:
        """Prepare for the broker, before there is a handler."""
        raise NotImplementedError

    def waiting(self) -> int:
        """How many messages are still to be handled."""
        raise NotImplementedError


class OnCeleryAndRedis(OnCelery):
    def configure(self, url: str) -> None:
        self.app.conf.broker_transport_options = {"global_keyprefix": self.prefix}
        self.redis: Any = redis.Redis.from_url(url)

    def waiting(self) -> int:
        waiting = sum(self.redis.llen(f"{self.prefix}{queue}") for queue in self.queues)
        return int(waiting + self.redis.hlen(f"{self.prefix}unacked"))

    def dead(self, queue: str = "events") -> list[Dead]:
        found = []
        for raw in reversed(self.redis.lrange(f"{self.prefix}{queue}.dead", 0, -1)):
            message = json.loads(raw)
            arguments = json.loads(base64.b64decode(message["body"]))[0]
            headers = message["headers"]
            found.append(Dead(headers["task"], tuple(arguments), headers["fastapi_events_dead"]))
        return found

    def close(self) -> None:
        super().close()
        for key in self.redis.scan_iter(f"{self.prefix}*"):
            self.redis.delete(key)
        self.redis.close()


class OnCeleryAndRabbitmq(OnCelery):
    """RabbitMQ does not tell what is unacknowledged: what is sent and what is handled are counted."""

    def configure(self, url: str) -> None:
        self.url = url
        self._handled = 0
        celery.signals.task_postrun.connect(self._on_handled, dispatch_uid=id(self))
        celery.signals.task_unknown.connect(self._on_unknown, dispatch_uid=id(self))

    def _on_handled(self, task: Any, **_: Any) -> None:
        if task.app is self.app:
            self._handled += 1

    def _on_unknown(self, sender: Any, **_: Any) -> None:
        if sender.app is self.app:
            self._handled += 1

    def waiting(self) -> int:
        return sum(not each.queue.endswith(".dead") for each in self.sent) - self._handled

    def dead(self, queue: str = "events") -> list[Dead]:
        return [
            Dead(headers["task"], tuple(json.loads(body)[0]), headers["fastapi_events_dead"])
            for headers, body in waiting_in(pika.URLParameters(self.url), f"{queue}.dead")
        ]

    def close(self) -> None:
        celery.signals.task_postrun.disconnect(dispatch_uid=id(self))
        celery.signals.task_unknown.disconnect(dispatch_uid=id(self))
        super().close()
        kombu.pools.reset()  # connections that all apps with this URL share, and none closes


def waiting_in(parameters: Any, queue: str) -> list[tuple[dict[str, Any], bytes]]:
    """Headers and bodies of all messages of a queue of RabbitMQ, which stay there."""
    found = []
    connection = pika.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        while (got := channel.basic_get(queue))[0] is not None:
            found.append((got[1].headers or {}, got[2]))
    except pika.exceptions.ChannelClosedByBroker:
        pass  # no such queue
    finally:
        connection.close()
    return found


@contextmanager
def _empty_rabbitmq(url: str, queues: set[str]) -> Iterator[None]:
    """Delete a handler's queues before and after: tests share the server and use the same names."""

    def delete() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        for queue in queues:
            for name in (queue, f"{queue}.DQ", f"{queue}.XQ", f"{queue}.dead"):
                channel.queue_delete(name)
        connection.close()

    delete()
    try:
        yield
    finally:
        delete()


@contextmanager
def celery_on_redis(url: str, **settings: Any) -> Iterator[OnCelery]:
    place = OnCeleryAndRedis(url, **settings)
    yield place
    place.close()


@contextmanager
def celery_on_rabbitmq(url: str, **settings: Any) -> Iterator[OnCelery]:
    queues = {"events", "kitchen"}
    with _empty_rabbitmq(url, queues):
        place = OnCeleryAndRabbitmq(url, **settings)
        try:
            yield place
        finally:
            queues |= place.queues
            place.close()


@contextmanager
def dramatiq_on_rabbitmq(url: str, broker: Any = RabbitmqBroker, **settings: Any) -> Iterator[Dramatiq]:
    queues = {"events", "kitchen"}
    with _empty_rabbitmq(url, queues):
        place = Dramatiq(broker(url=url, confirm_delivery=True), **settings)
        try:
            yield place
        finally:
            queues |= place.queues
            place.close()


@contextmanager
def dramatiq_on_stub(**settings: Any) -> Iterator[Dramatiq]:
    place = Dramatiq(StubBroker(), **settings)
    yield place
    place.close()


@contextmanager
def dramatiq_on_redis(url: str, **settings: Any) -> Iterator[Dramatiq]:
    place = Dramatiq(RedisBroker(url=url, namespace=f"test-{uuid.uuid4()}"), **settings)
    yield place
    place.close()
    for key in place.broker.client.scan_iter(f"{place.broker.namespace}:*"):
        place.broker.client.delete(key)
    place.broker.client.connection_pool.disconnect()  # a pool of its own is not closed with the client
