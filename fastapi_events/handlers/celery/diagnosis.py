"""Would this Celery app lose events, or leave them lying? What `fastapi-events doctor` asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from celery import Celery

from fastapi_events.handlers.brokers.rabbitmq import diagnose_queues
from fastapi_events.handlers.brokers.redis import diagnose_server
from fastapi_events.handlers.celery.alternatives import connected
from fastapi_events.handlers.celery.publisher import speaks_amqp
from fastapi_events.handlers.task_queue.diagnosis import Finding

_ANSWER_SECONDS = 2.0
_VISIBILITY_SECONDS = 3_600.0  # kombu's own
_LATE_SECONDS = 1_200.0  # what the longest wait of a retry needs, by default

_TRANSPORT = "fastapi_events.handlers.celery.redis_transport:Transport"

Options = Mapping[str, Mapping[str, Any]]


def ping(app: Celery, *, timeout: float) -> None:
    """Ask an app's broker for an answer.

    Parameters:
        timeout: Seconds for each step.

    Raises:
        Exception: What its client raises, when there is none.
    """
    with connected(app, timeout=timeout) as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            channel.client.ping()


def diagnose(
    app: Celery, options: Options, queues: Collection[str], *, quorum: bool, confirms_handled: bool
) -> Iterator[Finding]:
    """What is to be said about an app and its broker.

    Parameters:
        options: Of each subscription, by name.
        queues: Those of the handler.
        quorum: Whether they are to be quorum queues.
        confirms_handled: Whether an outbox keeps events until their functions have run.
    """
    on_redis = app.connection_for_write().transport.driver_type == "redis"
    try:
        with connected(app, timeout=_ANSWER_SECONDS) as connection:
            if on_redis:
                yield from diagnose_server(
                    connection.default_channel.client, confirms_handled=confirms_handled
                )
            else:
                yield Finding("ok", "broker", "reachable")
    except Exception as error:  # whatever the client raises
        yield Finding("danger", "broker", f"cannot be reached: {str(error) or repr(error)}")
    if on_redis:
        yield from _on_redis(app, options, confirms_handled=confirms_handled)
    if speaks_amqp(app):
        yield from _on_rabbitmq(app, queues, quorum=quorum)
    yield from _workers(app)


def _on_redis(app: Celery, options: Options, *, confirms_handled: bool) -> Iterator[Finding]:
    if confirms_handled:
        yield Finding("ok", "confirmation", "handled: what is lost on the way to a worker is sent again")
    else:
        yield Finding(
            "danger",
            "confirmation",
            "Celery takes a message out of Redis before it notes that it has it: one whose answer is lost on "
            "the wire is gone. This set-up needs an outbox and confirm='handled'.",
        )
    if app.conf.broker_transport != _TRANSPORT:
        yield Finding(
            "advice",
            "transport",
            "a worker that holds a message ends when its Redis goes away; set broker_transport to "
            f"'{_TRANSPORT}', or see that workers are started again.",
        )
    yield from _visibility(app, options, confirms_handled=confirms_handled)


def _visibility(app: Celery, options: Options, *, confirms_handled: bool) -> Iterator[Finding]:
    visible = float(app.conf.broker_transport_options.get("visibility_timeout", _VISIBILITY_SECONDS))
    yield _comeback(visible, confirms_handled=confirms_handled)
    limits = {name: _time_limit(app, own) for name, own in options.items()}
    unlimited = sorted(name for name, limit in limits.items() if limit is None)
    late = sorted(name for name, limit in limits.items() if limit is not None and limit >= visible)
    if unlimited:
        yield Finding(
            "advice",
            "time limits",
            f"none for {_some(unlimited)}: what runs for longer than the visibility timeout of "
            f"{visible:,.0f} s is run by another worker as well; set task_time_limit.",
        )
    if late:
        yield Finding(
            "advice",
            "time limits",
            f"{_some(late)} may run for longer than the visibility timeout of {visible:,.0f} s, after which "
            "another worker runs it as well; raise broker_transport_options['visibility_timeout'].",
        )


def _comeback(visible: float, *, confirms_handled: bool) -> Finding:
    """When what a worker held that was killed runs elsewhere."""
    back = f"their messages are back after the visibility timeout, {visible:,.0f} s"
    if visible <= _LATE_SECONDS:
        return Finding("ok", "killed workers", back)
    if confirms_handled:
        return Finding("ok", "killed workers", f"{back}; the outbox sends their events again before that")
    return Finding(
        "advice",
        "killed workers",
        f"{back}. Lower broker_transport_options['visibility_timeout'] to what the longest function and "
        "wait of a retry need, or give the handler an outbox and confirm='handled', which sends them again.",
    )


def _on_rabbitmq(app: Celery, queues: Collection[str], *, quorum: bool) -> Iterator[Finding]:
    if not app.conf.broker_transport_options.get("confirm_publish"):
        yield Finding(
            "advice",
            "confirms",
            "ours are confirmed; what your own code sends by delay() is not without "
            "broker_transport_options={'confirm_publish': True}.",
        )
    yield diagnose_queues(queues, quorum=quorum)


def _workers(app: Celery) -> Iterator[Finding]:
    if app.conf.worker_prefetch_multiplier != 1:
        yield Finding(
            "advice",
            "prefetch",
            f"worker_prefetch_multiplier is {app.conf.worker_prefetch_multiplier}: messages wait behind a "
            "slow one while other workers are idle, and count as delivered when the worker is killed; set 1.",
        )


def _time_limit(app: Celery, options: Mapping[str, Any]) -> float | None:
    limit = options.get("time_limit") or app.conf.task_time_limit
    return None if limit is None else float(limit)


def _some(names: Collection[str]) -> str:
    first = ", ".join(list(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} others"
