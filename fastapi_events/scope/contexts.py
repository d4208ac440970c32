"""The blocks that tie a scope to its code: where its events are collected, and when."""

from __future__ import annotations

from fastapi_events.context import event_store, in_req_res_cycle, middleware_identifier
from fastapi_events.scope.backlog import Backlog


class StoreContext:
    """A block in which `dispatch()` finds a backlog and the handlers of its middleware.

    This and `CycleContext` are classes rather than generators, because every request passes through them.
    """

    __slots__ = ("_backlog", "_tokens")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def __enter__(self) -> Backlog:
        self._tokens = middleware_identifier.set(self._backlog.middleware_id), event_store.set(self._backlog)
        return self._backlog

    def __exit__(self, *_: object) -> None:
        identifier, store = self._tokens
        event_store.reset(store)
        middleware_identifier.reset(identifier)


class CycleContext:
    """A block in which events are collected rather than handled at once."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = in_req_res_cycle.set(True)

    def __exit__(self, *_: object) -> None:
        in_req_res_cycle.reset(self._token)
