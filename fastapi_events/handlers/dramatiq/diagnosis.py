"""Would this Dramatiq broker lose events, or leave them lying? What `fastapi-events doctor` asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import dramatiq

from fastapi_events.handlers.brokers.rabbitmq import diagnose_queues
from fastapi_events.handlers.dramatiq import installed_brokers
from fastapi_events.handlers.task_queue.diagnosis import Finding

if installed_brokers.redis is not None:
    from fastapi_events.handlers.brokers.redis import diagnose_server
    from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
    from fastapi_events.handlers.dramatiq.redis_publisher import publishing_client
if installed_brokers.rabbitmq is not None:
    import pika

_ANSWER_SECONDS = 2.0

_LOOKS_A_SECOND = 1.33
"""How often an idle worker of Dramatiq's looks into a queue, by default."""

_LATE_SECONDS = 30.0
"""After which the messages of a killed worker should be back."""


def ping(broker: Any, *, timeout: float) -> None:
    """Ask a broker for an answer.

    Parameters:
        timeout: Seconds for each step.

    Raises:
        Exception: What its client raises, when there is none.
    """
    if installed_brokers.is_redis(broker):
        client = publishing_client(broker.client, timeout=timeout)
        try:
            client.ping()
        finally:
            client.close()
    elif installed_brokers.is_rabbitmq(broker):
        connect(broker, timeout=timeout).close()


def diagnose(
    broker: dramatiq.Broker, queues: Collection[str], *, quorum: bool, confirms_handled: bool
) -> Iterator[Finding]:
    """What is to be said about a broker.

    Parameters:
        queues: Those of the handler.
        quorum: Whether they are to be quorum queues.
        confirms_handled: Whether an outbox keeps events until their functions have run.
    """
    if installed_brokers.is_redis(broker):
        yield from _on_redis(broker, confirms_handled=confirms_handled)
    elif installed_brokers.is_rabbitmq(broker):
        yield from _on_rabbitmq(broker, queues, quorum=quorum)
    else:
        yield Finding("advice", "broker", f"a {type(broker).__name__}, of which nothing is known here")


def _on_redis(broker: Any, *, confirms_handled: bool) -> Iterator[Finding]:
    client = publishing_client(broker.client, timeout=_ANSWER_SECONDS)
    try:
        yield from diagnose_server(client, confirms_handled=confirms_handled)
    except Exception as error:  # whatever the client raises
        yield Finding("danger", "broker", f"cannot be reached: {str(error) or repr(error)}")
    finally:
        client.close()
    if not isinstance(broker, SafeRedisBroker):
        yield Finding(
            "advice",
            "workers",
            "a RedisBroker leaves messages lying that it was given and never got, and those that it fetched "
            "beside an unreadable one, and begins up to a second late when it is idle; SafeRedisBroker "
            "takes the same arguments and does neither.",
        )
    yield _comeback(broker)


def _comeback(broker: Any) -> Finding:
    """When the messages of a worker that was killed are delivered again."""
    sweep = 1_000_000 / max(broker.maintenance_chance, 1) / _LOOKS_A_SECOND
    if isinstance(broker, SafeRedisBroker) and broker.maintenance_chance:
        sweep = broker.sweeps_every
    seconds = broker.heartbeat_timeout / 1000 + sweep
    if seconds <= _LATE_SECONDS:
        return Finding("ok", "killed workers", f"their messages are back after some {seconds:.0f} s")
    return Finding(
        "advice",
        "killed workers",
        f"on a quiet queue their messages are back after some {seconds:,.0f} s; "
        f"{type(broker).__name__}(…, heartbeat_timeout=15_000, maintenance_chance=300_000) makes it 20.",
    )


def _on_rabbitmq(broker: Any, queues: Collection[str], *, quorum: bool) -> Iterator[Finding]:
    try:
        connection = connect(broker, timeout=_ANSWER_SECONDS)
    except Exception as error:  # several kinds, and socket.gaierror
        yield Finding("danger", "broker", f"cannot be reached: {str(error) or repr(error)}")
    else:
        connection.close()
        yield Finding("ok", "broker", "reachable")
    if not broker.confirm_delivery:
        yield Finding(
            "danger",
            "confirms",
            "what a worker enqueues, a retry too, is not confirmed; pass confirm_delivery=True to "
            f"{type(broker).__name__}.",
        )
    yield diagnose_queues(queues, quorum=quorum)


def connect(broker: Any, *, timeout: float) -> Any:
    """A connection to RabbitMQ whose every step is bounded, and that is tried once."""
    several = broker.parameters if isinstance(broker.parameters, (list, tuple)) else [broker.parameters]
    return pika.BlockingConnection([_bounded(each, timeout) for each in several])


def _bounded(parameters: Any, timeout: float) -> Any:
    """A client of the same server that neither retries nor waits long."""
    copy = pika.ConnectionParameters(
        host=parameters.host,
        port=parameters.port,
        virtual_host=parameters.virtual_host,
        credentials=parameters.credentials,
        ssl_options=parameters.ssl_options,
        client_properties=parameters.client_properties,
    )
    copy.connection_attempts = 1
    copy.socket_timeout = copy.stack_timeout = copy.blocked_connection_timeout = timeout
    return copy
