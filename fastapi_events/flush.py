"""Which finished scopes deserve their events flushed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event


@dataclass(frozen=True, slots=True)
class FinishedScope:
    """How a scope ended, for a flush policy to judge.

    Parameters:
        error: What the request or block raised, if it did.
        status: The status of the HTTP response, None where there is none.
        events: What would be flushed.
    """

    error: BaseException | None
    status: int | None
    events: Sequence[Event]


FlushPolicy: TypeAlias = Callable[[FinishedScope], bool]
FlushWhen: TypeAlias = Literal["always", "success"] | FlushPolicy


def always(scope: FinishedScope) -> bool:
    """Whatever happened: the default of the middleware."""
    return True


def success(scope: FinishedScope) -> bool:
    """Nothing was raised and the response, if any, is no error: the default of `collect_events`."""
    return scope.error is None and (scope.status is None or scope.status < 400)


def flush_policy(flush_when: FlushWhen) -> FlushPolicy:
    """The policy that `flush_when` names or is.

    Raises:
        ConfigurationError: When it is neither.
    """
    if flush_when == "always":
        return always
    if flush_when == "success":
        return success
    if callable(flush_when):
        return flush_when
    raise ConfigurationError(
        f"flush_when={flush_when!r}: expected 'always', 'success' or a callable that takes a FinishedScope."
    )
