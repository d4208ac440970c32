"""How many workers have crashed over a message, counted where the broker itself does not.

Counted are starts whose process has gone, not deliveries: a worker that dies takes with it what it had
fetched in advance, and that did nothing wrong, and a connection may be cut with nobody dying at all. What ran
beside the culprit did nothing wrong either. Messages that may have killed a worker are therefore run one
after the other, and a start counts only then. A message that cannot have been delivered before costs nothing.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.common import current_millis

from fastapi_events import processes
from fastapi_events.handlers.dramatiq import installed_brokers
from fastapi_events.ids import random_id

if installed_brokers.redis is not None:
    from fastapi_events.storage.redis.combined_scripts import CombinedScripts

_REMEMBERED_SECONDS = 86_400
_LONGEST_WAIT_SECONDS = 30.0
_MOST_REMEMBERED = 10_000
_AT_ONCE = 10
_BROKER_SECONDS = 5.0
_FIRST = "first"

_BEGIN = """
local first = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return first
"""

_END = "return redis.call('DEL', KEYS[1])"


class CrashCounter:
    """Counts nothing: for brokers in memory, whose messages die with their worker.

    Parameters:
        who: Names the process, in which the counter may be a fork's.
    """

    def __init__(self, broker: dramatiq.Broker, who: Callable[[], str]) -> None:
        self._broker: Any = broker
        self._who = who
        self._counted: dict[int, str] = {}
        self._gate = threading.Lock()
        self._inside: int | None = None
        self._lives: dict[str, None] = {}
        """Starts whose count could not be deleted, though this process has outlived them."""

    def before(self, message: MessageProxy) -> int:
        """How often a worker has died while it ran this message, which is about to start.

        Waits until no other is run that may have killed one, if this one may.
        """
        if not self._may_be_redelivered(message):
            return 0
        key = self._key(message)
        try:
            if self._is_first_start(key):
                crashes = 0
            else:
                # One that runs long need not hold up the others for ever: few of them are poisonous.
                if self._gate.acquire(timeout=_LONGEST_WAIT_SECONDS):
                    self._inside = id(message)
                crashes = self._crashes(sum(map(processes.has_gone, self._started(key))))
        except Exception as error:  # whatever a broker's client raises; rather run than lost
            self._broker.logger.warning(
                "The crashes of message %r cannot be counted: %s", message.message_id, error
            )
            return 0
        self._counted[id(message)] = key
        return crashes

    def ended(self, message: MessageProxy) -> None:
        """The message was run, to whatever end, and its worker is alive."""
        key = self._counted.pop(id(message), None)
        if key is not None:
            try:
                for each in [key, *islice(self._lives, _AT_ONCE)]:
                    self._forget(each)
                    self._lives.pop(each, None)
            except Exception as error:  # whatever a broker's client raises
                self._broker.logger.warning("The count of %s cannot be deleted yet: %s", key, error)
                if len(self._lives) < _MOST_REMEMBERED:  # it expires
                    self._lives[key] = None
        if self._inside == id(message):
            self._inside = None
            self._gate.release()

    def _may_be_redelivered(self, message: MessageProxy) -> bool:
        return False

    def _key(self, message: MessageProxy) -> str:
        raise NotImplementedError

    def _is_first_start(self, key: str) -> bool:
        """Count a start if it is known to be the first; whether it is."""
        return False

    def _started(self, key: str) -> Sequence[str]:
        """Note a start; who has begun before, and was not heard of since."""
        raise NotImplementedError

    def _crashes(self, gone: int) -> int:
        """How many crashes there were, with those of which there is no note."""
        return gone

    def _forget(self, key: str) -> None:
        raise NotImplementedError


class _OnRedis(CrashCounter):
    """On Redis a message bears no mark of being redelivered.

    Only a message that is older than `heartbeat_timeout` can be one. The first start of most messages is
    therefore not known, so that one more worker may die than `max_crashes` says.
    """

    def _may_be_redelivered(self, message: MessageProxy) -> bool:
        times = (message.message_timestamp, message.options.get("requeue_timestamp"))
        age = current_millis() - max((each for each in times if isinstance(each, int)), default=0)
        # One that comes from the future was sent by a machine whose clock is ahead, and may be of any age.
        return not 0 <= age < self._broker.heartbeat_timeout

    def _key(self, message: MessageProxy) -> str:
        return f"{self._broker.namespace}:{message.queue_name}.starts.{message.options['redis_message_id']}"

    def __init__(self, broker: dramatiq.Broker, who: Callable[[], str]) -> None:
        super().__init__(broker, who)
        client: Any = self._broker.client
        self._combined = CombinedScripts()
        self._begin, self._end = client.register_script(_BEGIN), client.register_script(_END)

    def _is_first_start(self, key: str) -> bool:
        return bool(self._run(self._begin, key, _FIRST, self._who(), _REMEMBERED_SECONDS))

    def _started(self, key: str) -> Sequence[str]:
        pipeline = self._broker.client.pipeline(transaction=True)
        pipeline.hvals(key)
        pipeline.hset(key, random_id(), self._who())
        pipeline.expire(key, _REMEMBERED_SECONDS)
        return [each.decode() for each in pipeline.execute()[0]]

    def _forget(self, key: str) -> None:
        self._run(self._end, key)

    def _run(self, script: Any, key: str, *arguments: object) -> Any:
        """Run a script, together with those of other threads: in a backlog all messages are this old."""
        return self._combined.run(script, [key], arguments, self._broker.client)


class _OnRabbitmq(CrashCounter):
    """RabbitMQ says that a message was delivered before, and not how often; a queue for it has the rest.

    Each start puts the name of its process into that queue, which expires by itself. Of the first delivery
    there is no note: it may have ended with a cut connection, and counts with the first that has one.
    """

    def _may_be_redelivered(self, message: MessageProxy) -> bool:
        return bool(getattr(message, "redelivered", False))

    def _key(self, message: MessageProxy) -> str:
        return f"{message.queue_name}.starts.{message.message_id}"

    def __init__(self, broker: dramatiq.Broker, who: Callable[[], str], pika: Any) -> None:
        super().__init__(broker, who)
        self._persistent = pika.BasicProperties(delivery_mode=2)
        self._connect = pika.BlockingConnection

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        # A new connection each time: it is rare, and one that the server blocks must not delay others.
        found = self._broker.parameters
        several = [copy.copy(each) for each in (found if isinstance(found, list) else [found])]
        for each in several:
            each.blocked_connection_timeout = each.socket_timeout = _BROKER_SECONDS
            each.stack_timeout = each.socket_timeout
        connection = self._connect(several)
        try:
            yield connection.channel()
        finally:
            connection.close()

    def _started(self, key: str) -> Sequence[str]:
        with self._channel() as channel:
            channel.confirm_delivery()
            channel.queue_declare(
                queue=key, durable=True, arguments={"x-expires": _REMEMBERED_SECONDS * 1000}
            )
            # They are not acknowledged, so that they return to the queue when the connection ends.
            before = [body.decode() for _, _, body in iter(lambda: channel.basic_get(key), (None,) * 3)]
            channel.basic_publish(
                exchange="", routing_key=key, body=self._who().encode(), properties=self._persistent
            )
        return before

    def _crashes(self, gone: int) -> int:
        return gone + 1 if gone else 0

    def _forget(self, key: str) -> None:
        with self._channel() as channel:
            channel.queue_delete(queue=key)


def crash_counter_on(broker: dramatiq.Broker, *, who: Callable[[], str] = processes.identity) -> CrashCounter:
    """What counts on a broker of this kind.

    Parameters:
        who: Names the process.
    """
    if installed_brokers.is_redis(broker):
        return _OnRedis(broker, who)
    if installed_brokers.rabbitmq is not None and installed_brokers.is_rabbitmq(broker):
        return _OnRabbitmq(broker, who, installed_brokers.rabbitmq.pika)
    return CrashCounter(broker, who)
