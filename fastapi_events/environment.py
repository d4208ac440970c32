"""The environment variables that are read while events are dispatched and handled."""

from __future__ import annotations

import os

from fastapi_events.constants import (
    FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR,
    FASTAPI_EVENTS_USE_SPAN_LINKING_ENV_VAR,
)

try:
    from posix import environ as _posix_environ
except ImportError:  # Windows
    _posix_environ = {}

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


# `os.environ` raises two errors inside to say that a variable is not set, which takes half as long as all the
# rest of a `dispatch()`. On POSIX it keeps what it holds in the dict `posix.environ`, where a look costs
# nothing; that it does is not taken on trust.
_environ = os.environ
_shared = any(each is _posix_environ for each in vars(_environ).values())
_DISABLE_DISPATCH = FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR.encode()


def dispatch_disabled() -> bool:
    """A truth value: whether `dispatch()` does nothing; read at each call, so that a test can switch it."""
    if _shared and os.environ is _environ and _DISABLE_DISPATCH not in _posix_environ:
        return False
    return _flag(FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR, default=False)


def span_linking() -> bool:
    """A truth value: whether a handler's span links to the one that dispatched, or else is its child."""
    return _flag(FASTAPI_EVENTS_USE_SPAN_LINKING_ENV_VAR, default=True)


def _flag(variable: str, *, default: bool) -> bool:
    value = os.environ.get(variable)
    if not value:
        return default
    lowered = value.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f"{variable}={value!r}: expected a truth value such as 1, true, 0 or false.")


def application_version() -> str | None:
    """The version of the application, which workers announce to the fleet as they start."""
    return os.environ.get("FASTAPI_EVENTS_APPLICATION_VERSION") or None


def runs_in_production() -> bool:
    """A truth value: whether this is production, where a console without `auth=` does not start."""
    return _flag("FASTAPI_EVENTS_PRODUCTION", default=False)


def worker_reports() -> str | None:
    """The folder in which a worker process reports how it is; `fastapi-events worker` sets it."""
    return os.environ.get("FASTAPI_EVENTS_WORKER_REPORTS") or None


def temporary_folder() -> str:
    """The folder under which workers report: what is of use only as long as processes run."""
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - `make_private` refuses what is somebody else's


def runs_in_ci() -> bool:
    """A truth value: whether nobody looks at a run of tests; `check_wire` then writes no examples down."""
    return os.environ.get("CI", "").lower() in _TRUE


def crash_at() -> str | None:
    """The point at which a process ends at once, for tests of what survives a power cut.

    `commit.before_commit`, `commit.after_commit`, `relay.after_claim` or `relay.after_publish`; read when the
    code that has the point is imported.
    """
    return os.environ.get("FASTAPI_EVENTS_CRASH_AT") or None
