"""What a test has changed for this process; `fastapi_events.testing` sets it, and puts it back.

It imports nothing, so that the pytest plugin costs nothing where no test uses events.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    class StandIns(Protocol):
        """Who gets events instead of an application's handlers."""

        def of(self, handlers: Iterable[Any]) -> Sequence[Any]:
            """The stand-ins of handlers; a handler itself where it has none."""

        def outside(self) -> Sequence[Any]:
            """Who gets what is dispatched where neither a middleware nor a scope is in charge."""


raise_errors: bool = False
"""Whether scopes raise the errors of their handlers that were not told."""

stand_ins: StandIns | None = None
"""Who gets events instead of an application's handlers; None where nobody does."""

seconds_ahead: float = 0.0
"""How far `fastapi_events.clock` is ahead of the system's."""


def in_force(handlers: Iterable[Any]) -> Iterable[Any]:
    """The handlers, or those that stand in for them."""
    return handlers if stand_ins is None else stand_ins.of(handlers)
