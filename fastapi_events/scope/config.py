"""What scopes have in common: whose handlers they have, when they flush, and on which event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi_events.errors import ConfigurationError
from fastapi_events.flush import FlushPolicy, always
from fastapi_events.process_loop import process_loop, running_loop
from fastapi_events.scope.other_loops import check_that_a_loop_runs


class ScopeConfig:
    """What all scopes of a middleware have in common, or the single one of a block.

    Parameters:
        middleware_id: The id under which their handlers stand in `handler_store`.
        policy: Decides whether a finished scope is flushed.
    """

    __slots__ = ("is_foreign", "loop", "middleware_id", "policy")

    def __init__(self, middleware_id: int, policy: FlushPolicy = always) -> None:
        self.middleware_id: int = middleware_id
        self.policy: FlushPolicy = policy
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where events are delivered that come late from a thread."""
        self.is_foreign: bool = False
        """Whether another library than asyncio runs the scopes, so that they flush on the process's loop."""

    def remember_loop(self) -> None:
        """Remember the running loop unless an open one is known already; to look costs a system call."""
        if self.loop is None or self.loop.is_closed():
            loop = running_loop()
            if loop is None:
                check_that_a_loop_runs()
                loop, self.is_foreign = process_loop().loop, True
            self.loop = loop


def checked_handlers(handlers: Iterable[Any]) -> list[Any]:
    """The handlers, if that is what they are; each of them has `handle_many`.

    Raises:
        ConfigurationError: When they are no list of handlers, with what to write instead.
    """
    if not isinstance(handlers, Iterable) or isinstance(handlers, (str, bytes, Mapping)):
        raise ConfigurationError(
            f"handlers={handlers!r}: expected a list of handlers; for a single one write "
            f"[{_spelled(handlers)}]."
        )
    found = list(handlers)
    for each in found:
        if isinstance(each, type):
            raise ConfigurationError(
                f"handlers=[{each.__name__}]: that is a class; make a handler of it: [{each.__name__}(…)]."
            )
        if not callable(getattr(each, "handle_many", None)):
            raise ConfigurationError(
                f"handlers=[{each!r}]: a {type(each).__name__} is no handler; one has `handle_many(events)`, "
                "as every subclass of BaseEventHandler does."
            )
    return found


def _spelled(handler: Any) -> str:
    return f"{handler.__name__}(…)" if isinstance(handler, type) else "handler"
