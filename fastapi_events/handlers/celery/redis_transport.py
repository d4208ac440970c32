"""A Redis transport whose worker outlives its server, and what other programs put into its queues.

```python
celery_app.conf.broker_transport = "fastapi_events.handlers.celery.redis_transport:Transport"
```
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from pydantic_core import from_json
from redis.exceptions import ConnectionError as RedisConnectionError

from fastapi_events.handlers.celery.redis_client import KeepsClient

_UNREADABLE_TYPE = "application/x-fastapi-events-unreadable"
"""The content type of what was found in a queue and is no message."""


class Channel(KeepsClient, redis.Channel):
    """A channel that says so when it has lost its connection, and makes a message of what is none.

    When the server goes away, kombu closes the channel and then asks it to give back what the worker holds.
    The channel has no connection left to take an address from, and the `AttributeError` ends the worker
    (https://github.com/celery/kombu/issues/582). As an error of the connection it is one that workers expect.

    What is no message of kombu's ends the worker as well, when it has left the queue. It becomes a message
    whose body it is, which a worker can keep.
    """

    @cached_property
    def client(self) -> Any:
        """The connection through which messages come."""
        client = super().client
        client.set_response_callback("BRPOP", self._readable)
        return client

    @property
    def pool(self) -> Any:
        with self._expecting_a_connection():
            return super().pool

    @property
    def async_pool(self) -> Any:
        with self._expecting_a_connection():
            return super().async_pool

    def _readable(self, reply: Any, **_options: Any) -> Any:
        """A queue's key and what was taken from it, as a message that can be received."""
        if not reply:
            return reply
        key, item = reply
        if _is_usual(item):
            return reply
        try:
            message = self.Message(loads(bytes_to_str(item)), channel=self)  # type: ignore[no-untyped-call]
            found = {"exchange", "routing_key"} <= message.delivery_info.keys()
        except Exception:  # of whatever it lacks
            found = False
        return (key, item) if found else (key, self._wrapped(key, item))

    def _wrapped(self, key: Any, item: Any) -> str:
        queue = bytes_to_str(key).removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
        raw = item.encode() if isinstance(item, str) else item
        return str(
            dumps(
                {
                    "body": base64.b64encode(raw).decode(), "content-type": _UNREADABLE_TYPE,
                    "content-encoding": "binary", "headers": {},
                    "properties": {
                        "body_encoding": "base64", "delivery_mode": 2, "delivery_tag": str(uuid.uuid4()),
                        "priority": 0, "delivery_info": {"exchange": "", "routing_key": queue},
                    },
                }
            )
        )  # fmt: skip

    @contextmanager
    def _expecting_a_connection(self) -> Iterator[None]:
        try:
            yield
        except AttributeError as error:
            if self.connection is not None and self.connection.client is not None:
                raise
            raise RedisConnectionError("the channel has lost its connection") from error


def _is_usual(item: Any) -> bool:
    """Whether something is a message as kombu makes them, found out in a fraction of the time of reading one.

    Of others nothing is said: kombu has to read them once more than it does anyway.
    """
    try:
        if b"__type__" in item:  # which kombu would make objects of
            return False
        message = from_json(item, cache_strings="keys")
        headers, properties = message["headers"], message["properties"]
        usual: bool = (
            properties["body_encoding"] == "base64"
            and "delivery_tag" in properties
            and {"exchange", "routing_key"} <= properties["delivery_info"].keys()
            and isinstance(headers, dict)
            and "compression" not in headers
        )
        binascii.a2b_base64(message["body"])
    except Exception:  # of whatever it lacks
        return False
    return usual


class Transport(redis.Transport):
    """kombu's Redis transport with this module's channels; for `broker_transport`."""

    Channel = Channel
