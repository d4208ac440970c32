"""Messages of a Redis queue that the server has handed to this worker, and that never arrived."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from dramatiq.common import current_millis, q_name

from fastapi_events.checks import counted
from fastapi_events.handlers.dramatiq.foreign_messages import fault_in, letter_of, substitute, worker_of
from fastapi_events.handlers.task_queue.worker.dead_letters import UNREADABLE
from fastapi_events.lifecycle import Lifecycle, tell

if TYPE_CHECKING:
    from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker

_MOVE_TO_DEAD = """
if redis.call("srem", KEYS[1], ARGV[1]) == 0 then
    return 0
end
redis.call("hdel", KEYS[2], ARGV[1])
if ARGV[3] == "" then
    return 1
end
redis.call("zadd", KEYS[3], ARGV[2], ARGV[1])
redis.call("hset", KEYS[4], ARGV[1], ARGV[3])
return 1
"""
"""Takes away what this worker holds; into Dramatiq's dead letters, if there is a substitute to read."""


class StrandedMessages:
    """What Redis believes to be in this process, of one queue.

    Parameters:
        queue: By its name in Redis, that of delayed messages included.
    """

    def __init__(self, broker: SafeRedisBroker, queue: str) -> None:
        self._broker = broker
        self._queue = queue
        self._move_to_dead = broker.client.register_script(_MOVE_TO_DEAD)
        self._acks = f"{broker.namespace}:__acks__.{broker.broker_id}.{queue}"
        self._bodies = f"{broker.namespace}:{queue}.msgs"
        self._dead = f"{broker.namespace}:{q_name(queue)}.XQ"

    def give_back(self, *, but: Collection[str]) -> None:
        """Find messages that Redis believes to be here and that are not, and put them where they belong.

        Parameters:
            but: The Redis ids of those that are; others may take some away meanwhile.
        """
        held = set(but)  # before Redis is asked: from here on it can only shrink
        stranded = [
            identity
            for identity in map(_text, self._broker.client.smembers(self._acks))
            if identity not in held
        ]
        if stranded:
            bodies = self._broker.client.hmget(self._bodies, stranded)
            readable = [
                identity
                for identity, body in zip(stranded, bodies, strict=True)
                if body is None or not self._give_up_if_unreadable(identity, body)
            ]
            if readable:
                self._broker.logger.warning(
                    "%s of queue %r left Redis for this worker and did not arrive: enqueued again.",
                    counted(len(readable), "message"), self._queue,
                )  # fmt: skip
                self._broker.do_requeue(self._queue, *readable)

    def _give_up_if_unreadable(self, identity: str, body: bytes) -> bool:
        fault = fault_in(body, self._queue, identity)
        if fault is None:
            return False
        queue = q_name(self._queue)
        worker = worker_of(self._broker, queue)
        letter = letter_of(worker, body, queue, identity, fault)
        stored = worker is not None and worker.dead_letters.is_stored(letter)
        instead = b"" if stored else substitute(letter, identity).encode()
        keys = [self._acks, self._bodies, self._dead, f"{self._dead}.msgs"]
        if self._move_to_dead(keys=keys, args=[identity, current_millis(), instead]):
            tell(Lifecycle.dead, None, subscription=UNREADABLE, reason=letter.reason, attempts=0)
        return True


def _text(identity: bytes | str) -> str:
    return identity.decode() if isinstance(identity, bytes) else identity
