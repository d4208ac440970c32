"""Options of `register` on Dramatiq."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

import dramatiq

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting
from fastapi_events.handlers.task_queue.options import (
    Check,
    EngineOptions,
    count,
    duration,
    function,
    integer,
)


def _actor(name: str, value: Any) -> Any:
    if not isinstance(value, (str, dramatiq.Actor)) or not value:
        raise InvalidSetting(f"{name}={checks.shown(value)}: expected an actor, or the name of one.")
    return value.actor_name if isinstance(value, dramatiq.Actor) else value


_CHECKS: Final[Mapping[str, Check]] = {
    "max_age": duration("milliseconds"),
    "max_backoff": duration("milliseconds", positive=False),
    "max_retries": count,
    "min_backoff": duration("milliseconds", positive=False),
    "notify_shutdown": checks.flag,
    "on_failure": _actor,
    "on_retry_exhausted": _actor,
    "on_success": _actor,
    "priority": integer,
    "retry_when": function,
    "throws": checks.error_classes,
    "time_limit": duration("milliseconds"),
}

_NO_RESULT = (
    "is of no use: a subscription has no result; let the function dispatch an event with what it found."
)

_REFUSED: Final[Mapping[str, str]] = {
    "actor_name": "is what name= says here.",
    "pipe_ignore": _NO_RESULT,
    "pipe_target": _NO_RESULT,
    "queue_name": "is what queue= says here.",
    "result_ttl": _NO_RESULT,
    "store_results": _NO_RESULT,
}


def options_of(broker: dramatiq.Broker, *, ours: Collection[str] = ()) -> EngineOptions:
    """What `register` takes with this broker: the options of its middleware, as far as they mean something.

    Parameters:
        ours: Options of our own middleware, which nobody else sets.
    """
    taken = {*broker.actor_options, "priority"} - {*ours}
    return EngineOptions(
        documented="dramatiq.actor with this broker",
        checks={name: check for name, check in _CHECKS.items() if name in taken},
        others=taken - {*_CHECKS, *_REFUSED},
        refused=_REFUSED,
        unit=timedelta(milliseconds=1),
    )
