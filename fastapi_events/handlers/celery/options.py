"""Options of `register` on Celery."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, Task

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting
from fastapi_events.handlers.celery.publisher import speaks_amqp
from fastapi_events.handlers.task_queue.options import Check, EngineOptions, duration, function, integer

_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")

MESSAGE_OPTIONS: Final = ("expires", "priority")
"""Those that are of a message, and go with each, rather than of its task."""


def _rate(name: str, value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf
    if not number and not (isinstance(value, str) and _RATE.fullmatch(value)):
        raise InvalidSetting(
            f"{name}={checks.shown(value)}: expected tasks a second, or a text such as '10/m' or '100/h'."
        )
    return value


def _priority(most: int, broker: str) -> Check:
    """The check of a priority.

    One that is out of range kombu changes in silence, and for RabbitMQ no message with it can be encoded.
    """

    def check(name: str, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise InvalidSetting(
                f"{name}={checks.shown(value)}: expected a whole number from 0 to {most} on {broker}."
            )
        return value

    return check


_CHECKS: Final[Mapping[str, Check]] = {
    "after_return": function,
    "before_start": function,
    "expires": duration("seconds"),
    "on_failure": function,
    "on_retry": function,
    "on_success": function,
    "rate_limit": _rate,
    "resultrepr_maxsize": integer,
    "send_events": checks.flag,
    "soft_time_limit": duration("seconds"),
    "time_limit": duration("seconds"),
}

_RETRIES = "would retry beside us; use retry=RetryPolicy()."
_ACKNOWLEDGES = "is ours to say: otherwise an event would vanish with its worker."
_NO_RESULT = (
    "is of no use: a subscription has no result; let the function dispatch an event with what it found."
)
_LATER = "is said where an event is dispatched: dispatch(…, delay=…) or eta=…"
_ROUTES = "is what queue= says here."
_FOLLOWS = "is for tasks with a result; let the function dispatch an event, which others listen to."

_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("autoretry_for", "default_retry_delay", "dont_autoretry_for", "max_retries", "retry_backoff",
         "retry_backoff_max", "retry_jitter", "retry_kwargs", "retry_policy"),
        _RETRIES,
    ),
    **dict.fromkeys(
        ("acks_late", "acks_on_failure_or_timeout", "acks_on_timeout", "reject_on_worker_lost"),
        _ACKNOWLEDGES,
    ),
    **dict.fromkeys(
        ("backend", "ignore_result", "store_eager_result", "store_errors_even_if_ignored", "track_started",
         "trail"),
        _NO_RESULT,
    ),
    **dict.fromkeys(("countdown", "eta"), _LATER),
    **dict.fromkeys(("exchange", "routing_key"), _ROUTES),
    **dict.fromkeys(("link", "link_error"), _FOLLOWS),
    "compression": "is not for our messages, which producers and workers in any language read as JSON.",
    "delivery_mode": "is not for our messages, which always outlive their broker.",
    "serializer": "is not for our messages, which are JSON, whoever sends them.",
    "throws": "is what retry=RetryPolicy(give_up_on=…) says here.",
    "typing": "has no effect: our tasks take one argument, which is read before the function is called.",
}  # fmt: skip


def options_of(app: Celery) -> EngineOptions:
    """What `register` takes with this app: options of a task, and attributes of its own base class."""
    own = {name for name in {*dir(app.Task)} - {*dir(Task)} if not name.startswith("_")}
    priority = _priority(255, "RabbitMQ") if speaks_amqp(app) else _priority(9, "this broker")
    known = {**_CHECKS, "priority": priority}
    return EngineOptions(
        documented="celery.Task",
        checks=known,
        others=own - {*known, *_REFUSED},
        refused=_REFUSED,
    )
