"""Connections to the first of a Celery app's brokers that can be reached, whose every step is bounded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from celery import Celery

T = TypeVar("T")

SHORTEST_WAIT_SECONDS = 0.001

_STEPS = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")
"""What bounds the steps of a connection to Redis, and of one to RabbitMQ."""


@contextlib.contextmanager
def connected(app: Celery, *, timeout: float) -> Iterator[Any]:
    """A connection of kombu's to the first of an app's brokers that can be reached.

    Parameters:
        timeout: Seconds to connect, and to wait for each answer.

    Raises:
        Exception: What the client raises, when there is none.
    """
    connection = first_reached(app, lambda url, left: connect(app, url, timeout=left), timeout=timeout)
    with connection:
        yield connection


def first_reached(
    app: Celery,
    connect: Callable[[str | None, float], T],
    *,
    timeout: float,
    beginning_with: str | None = None,
) -> T:
    """Connect to the first of an app's brokers that can be reached.

    Parameters:
        connect: Called with a broker's URL and its seconds.
        timeout: Seconds for all of them; one that does not answer has its share of what is left.
        beginning_with: The one to try first; the others stay in their order.
    """
    deadline = time.monotonic() + timeout
    urls = alternatives(app)
    urls.sort(key=lambda url: url != beginning_with)
    for others, url in zip(range(len(urls) - 1, -1, -1), urls, strict=True):
        left = max((deadline - time.monotonic()) / (others + 1), SHORTEST_WAIT_SECONDS)
        try:
            return connect(url, left)
        except Exception:  # whatever the client raises whose server is away
            if not others:
                raise
    raise AssertionError("an app has a broker")


def alternatives(app: Celery) -> list[str | None]:
    """The brokers of an app, in the order in which its `broker_failover_strategy` tries them.

    Returns:
        Their URLs; None alone where there is one broker, whose settings say more than a URL. Sentinels are
        one: kombu asks all of them by itself.
    """
    connection = app.connection_for_write()
    known: list[str] = list(dict.fromkeys(connection.alt))
    if len(known) < 2 or known[0].startswith("sentinel"):
        return [None]
    cycle: Any = connection.cycle  # kombu has taken the first
    ordered = dict.fromkeys([known[0], *(next(cycle) for _ in known)])
    return [*ordered, *(url for url in known if url not in ordered)]


def connect(app: Celery, url: str | None, *, timeout: float, **settings: Any) -> Any:
    """Connect once, with bounds for each step.

    Parameters:
        url: Which of the app's brokers; None where it has one.
        timeout: Seconds to connect, and to wait for each answer; for all Sentinels, where they lead to it.
        settings: Of kombu's connection. Its `transport_options` stand beside the bounds.
    """
    options = {
        "max_retries": 0,
        **dict.fromkeys(_STEPS, timeout),
        **sentinel_options(app, url, timeout=timeout),
    }
    options.update(settings.pop("transport_options", {}))
    connection = app.connection_for_write(url, connect_timeout=timeout, transport_options=options, **settings)
    try:
        connection.default_channel  # noqa: B018 - connects now, with the options above
    except BaseException:
        connection.release()
        raise
    return connection


def sentinel_options(app: Celery, url: str | None = None, *, timeout: float) -> dict[str, Any]:
    """Transport options that bound the questions to an app's Sentinels, beside what it has set for them.

    Returns:
        The options; empty where it has no Sentinels.
    """
    connection = app.connection_for_write(url)
    sentinels = [each for each in connection.alt or [connection.as_uri()] if each.startswith("sentinel")]
    if not sentinels:
        return {}
    from fastapi_events.storage.redis.clients import sentinel_bounds  # here, since others need no redis-py

    own = app.conf.broker_transport_options.get("sentinel_kwargs") or {}
    return {"sentinel_kwargs": {**own, **sentinel_bounds(own, timeout, len(sentinels))}}
