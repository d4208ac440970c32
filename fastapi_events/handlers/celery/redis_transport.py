"""A Redis transport whose worker outlives its server.

```python
celery_app.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
```
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    """A channel that says so when it has lost its connection.

    When the server goes away, kombu closes the channel and then asks it to give back what the worker holds.
    The channel has no connection left to take an address from, and the `AttributeError` ends the worker
    (https://github.com/celery/kombu/issues/582). As an error of the connection it is one that workers expect.
    """

    @property
    def pool(self) -> Any:
        with self._expecting_a_connection():
            return super().pool

    @property
    def async_pool(self) -> Any:
        with self._expecting_a_connection():
            return super().async_pool

    @contextmanager
    def _expecting_a_connection(self) -> Iterator[None]:
        try:
            yield
        except AttributeError as error:
            if self.connection is not None and self.connection.client is not None:
                raise
            raise RedisConnectionError("the channel has lost its connection") from error


class Transport(redis.Transport):
    """kombu's Redis transport, with channels of ours; for `broker_transport`."""

    Channel = Channel
