"""Dramatiq's Redis broker, whose consumers strand no message and wait for the next one in the server."""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import cached_property
from typing import Any

from dramatiq.broker import Consumer
from dramatiq.common import dq_name

from fastapi_events.errors import MissingDependencyError

try:
    from dramatiq.brokers.redis import RedisBroker
    from redis.commands.core import Script
except ImportError as _missing:
    raise MissingDependencyError("redis", "dramatiq") from _missing

from fastapi_events.handlers.dramatiq.redis_arrivals import Arrivals
from fastapi_events.handlers.dramatiq.redis_consumer import SafeConsumer
from fastapi_events.storage.redis.combined_scripts import CombinedScripts

_SWEEP_EVERY = 3.0
"""Seconds; and not less often than three times in a heartbeat timeout."""


class SafeRedisBroker(RedisBroker):
    """Dramatiq's Redis broker, of which a worker loses sight of no message, and begins each at once.

    Takes the same parameters, uses the same keys, and may share a Redis with Dramatiq's own. What differs is
    how its workers consume:

    - An idle worker waits in the server for whatever anybody sends, and has it some milliseconds later.
      Dramatiq's looks again and again, less and less often, up to once a second.
    - A delayed message is enqueued when its time comes. Dramatiq's may be a second late.
    - A message that cannot be read is moved to the dead letters of the handler whose queue it is, or else to
      Dramatiq's, with the reason, and the others go on.
      Dramatiq's consumer starts over, and strands what it had fetched in one go with that message
      (https://github.com/Bogdanp/dramatiq/pull/375).
    - Messages that the server has handed out, but that never arrived or were dropped when the connection
      broke, go back into their queue. Dramatiq leaves them until the worker ends, delayed ones included.
    - After a broken connection a worker looks again within half a second. Dramatiq's stands still for three.
    - An acknowledgement that times out is repeated, like one whose connection is lost.
    - What threads acknowledge at the same moment goes to the server in one round trip, which lets a busy
      worker make a fifth more calls.

    Where a worker cannot wait, because the server is older than Redis 6.2 or forbids `BLMOVE`, it says so
    once, and looks as often as Dramatiq's own.

    Parameters:
        heartbeat_timeout: Milliseconds after which a silent worker counts as dead; Dramatiq's own is 60,000.
        maintenance_chance: How often, in a million looks into a queue, a worker takes back what dead ones
            held; Dramatiq's own is 1,000, which on a quiet queue takes a quarter of an hour. A worker with
            nothing to fetch does so every three seconds as well, or at a third of a `heartbeat_timeout` below
            nine; never, if this is 0.
        settings: The other parameters of Dramatiq's `RedisBroker`.
    """

    def __init__(
        self, *, heartbeat_timeout: int = 15_000, maintenance_chance: int = 300_000, **settings: Any
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            heartbeat_timeout=heartbeat_timeout, maintenance_chance=maintenance_chance, **settings
        )
        # What its threads acknowledge, fetch and enqueue at the same moment goes to the server together.
        self.scripts["dispatch"] = _CombinedScript(self.client, self.scripts["dispatch"].script)
        self._held: dict[str, set[str]] = defaultdict(set)
        self._of_thread = threading.local()
        self._cannot_wait = False
        self.looked_at: dict[str, float] = {}
        """When each consumer last looked into its queue, on the monotonic clock."""

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Create a consumer; see Dramatiq's own."""
        if queue_name == dq_name(queue_name):
            # Only the consumer's thread holds delayed messages, and has given up those of its last consumer.
            self._held[queue_name].clear()
        return SafeConsumer(
            self,
            super().consume(queue_name, prefetch, timeout=0),  # it returns at once; the waiting is done here
            self._arrivals(queue_name),
            queue_name,
            prefetch=prefetch,
            timeout=timeout / 1000,
            held=self._held[queue_name],
        )

    @property
    def sweeps_every(self) -> float:
        """Seconds after which a worker with nothing to fetch takes back what dead ones held."""
        return min(_SWEEP_EVERY, float(self.heartbeat_timeout) / 3000)

    @property
    def can_wait(self) -> bool:
        """Whether its workers wait in the server, as far as that is known."""
        return not self._cannot_wait

    def look_instead(self, reason: object) -> None:
        """Have the workers look again and again from now on, since waiting in the server is impossible."""
        if not self._cannot_wait:
            self._cannot_wait = True
            self.logger.warning(
                "The server does not let workers wait for messages (%s): they look instead, up to once in "
                "dramatiq_worker_timeout milliseconds. Redis 6.2 or newer, or Valkey, with BLMOVE allowed, "
                "lets them wait.", reason,
            )  # fmt: skip

    def sweep(self, queue_name: str) -> None:
        """Show that this worker is alive, and take back into a queue what dead ones held of it."""
        self._sweeper.do_requeue(queue_name)

    @cached_property
    def _sweeper(self) -> Any:
        """A broker that leaves nothing to chance: giving back nothing, it does no more than sweep."""
        sweeper = RedisBroker(
            client=self.client,
            middleware=[],
            namespace=self.namespace,
            heartbeat_timeout=self.heartbeat_timeout,
            dead_message_ttl=self.dead_message_ttl,
            maintenance_chance=1_000_000 if self.maintenance_chance else 0,
        )
        sweeper.broker_id = self.broker_id
        return sweeper

    def _arrivals(self, queue: str) -> Arrivals:
        """What waits for a queue in this thread; a worker that was paused makes another consumer there."""
        known: dict[str, Arrivals] = self._of_thread.__dict__
        if queue not in known:
            known[queue] = Arrivals(self.client, f"{self.namespace}:{queue}")
        return known[queue]


class _CombinedScript(Script):
    """A script of Dramatiq's, run together with what other threads have run."""

    def __init__(self, registered_client: Any, script: Any) -> None:
        super().__init__(registered_client, script)
        self._combined = CombinedScripts()

    def __call__(self, keys: Any = None, args: Any = None, client: Any = None) -> Any:
        if client is not None:
            return super().__call__(keys, args, client)
        return self._combined.run(self, keys or (), args or (), self.registered_client)
