"""Which finished scopes deserve their events flushed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi_events import checks
from fastapi_events.errors import InvalidSetting
from fastapi_events.event import Event


@dataclass(eq=False, slots=True)
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
        InvalidSetting: When it is neither.
    """
    if flush_when == "always":
        return always
    if flush_when == "success":
        return success
    if callable(flush_when):
        return flush_when
    hint = checks.guess(flush_when, ("always", "success")) if isinstance(flush_when, str) else ""
    raise InvalidSetting(
        f"flush_when={checks.shown(flush_when)}: expected 'always', 'success' or a callable that takes a "
        f"FinishedScope{'; ' if hint else '.'}{hint}"
    )
