"""One Redis or Valkey server: its connection, and the scripts that it runs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting, StorageError, StorageFull, StorageNotReady
from fastapi_events.green_threads import real_thread
from fastapi_events.storage.base import Clock, Store
from fastapi_events.storage.redis.clients import client_like
from fastapi_events.storage.redis.combined_scripts import CombinedScripts

_SCHEMES = ("redis", "rediss", "unix")


class Server:
    """A connection to the server, and the scripts that it runs.

    redis-py opens connections anew in a forked process by itself.
    """

    def __init__(self, target: redis.Redis | str, prefix: str, clock: Clock | None) -> None:
        if isinstance(target, str):
            _check_url(target)
        elif not isinstance(target, (redis.Redis, redis.RedisCluster)):
            raise InvalidSetting(
                f"RedisStore({checks.shown(target)}): expected a URL, such as redis://localhost:6379/0, or a "
                "redis.Redis client, which is not one of redis.asyncio."
            )
        checks.text("prefix", prefix, such_as="fastapi_events")
        checks.callable_or_none("clock", clock)
        # A server that does not answer must not hold a thread for ever; our callers know when to try again.
        self._client: Any = (
            redis.Redis.from_url(
                target, socket_timeout=5.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
            )
            if isinstance(target, str)
            else target
        )
        self.target: redis.Redis | str = target
        self.is_ours: bool = isinstance(target, str)
        self._owner = real_thread()
        self._elsewhere: dict[int, Any] = {}
        self.prefix: str = f"{{{prefix}}}:"
        self._clock = clock
        self._scripts: dict[str, Any] = {}
        self._combined = CombinedScripts()

    @property
    def client(self) -> Any:
        """The client; among green threads one for each real thread, since their sockets cannot be shared.

        Raises:
            StorageError: When there can be none beside the one that was given.
        """
        thread = real_thread()
        if thread == self._owner:
            return self._client
        client = self._elsewhere.get(thread)
        if client is None:
            try:
                client = client_like(self._client)
            except TypeError as error:
                raise StorageError(
                    f"Redis: the client has a {type(self._client.connection_pool).__name__}, which cannot be "
                    "made once more for the thread of the event loop; give the store a URL."
                ) from error
            self._elsewhere[thread] = client
        return client

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script, whose text the server is sent only once.

        Scripts that several threads run at the same moment go there and back together.
        """
        client = self.client
        if script not in self._scripts:
            self._scripts[script] = client.register_script(script)
        now = "" if self._clock is None else repr(self._clock())
        with in_our_words():
            return self._combined.run(
                self._scripts[script], (), [self.prefix, now, *map(_argument, arguments)], client
            )

    def check(self) -> None:
        with in_our_words():
            memory = self.client.info("memory")
        if memory.get("maxmemory") and str(memory.get("maxmemory_policy")).startswith("allkeys"):
            raise StorageNotReady(
                f"Redis may evict what it should keep: maxmemory-policy is {memory['maxmemory_policy']}. "
                "Set it to noeviction."
            )

    def close(self) -> None:
        if self.is_ours:
            self._client.close()


class RedisPart(Store):
    """A store on a server that it shares with others."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def check(self) -> None:
        self._server.check()

    def close(self) -> None:
        self._server.close()

    @property
    def place(self) -> Hashable:
        return self._server.target, self._server.prefix


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raise our errors for the driver's."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        text = f"Redis: {type(error).__name__}: {error}"
        if isinstance(error, redis.ReadOnlyError) or "READONLY" in str(error):
            raise StorageNotReady(f"{text} (connect to the primary)") from error
        if any(word in str(error) for word in ("OOM", "MISCONF")):
            raise StorageFull(f"{text} (make room)") from error
        raise StorageError(text) from error


def _check_url(url: str) -> None:
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in _SCHEMES:
        raise InvalidSetting(
            f"RedisStore({url.rpartition('@')[2]!r}): expected the URL of a Redis or Valkey server, such as "
            f"redis://localhost:6379/0; it begins with one of {', '.join(_SCHEMES)}."
        )


def _argument(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def text_of(value: Any) -> str:
    """An answer of the server, whether or not the client decodes answers."""
    return value.decode() if isinstance(value, bytes) else str(value)
