"""A scope around every task of an app: what a task dispatches is published when it has succeeded."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from celery import Celery, Task, signals, states

from fastapi_events import checks
from fastapi_events.flush import FlushWhen
from fastapi_events.scope import collect_events
from fastapi_events.scope.config import checked_handlers


def open_scopes(app: Celery, handlers: Iterable[Any], *, flush_when: FlushWhen = "success") -> ScopeSignals:
    """Let any task of an app call `dispatch()`: its events go to these handlers when it has succeeded.

        open_scopes(celery_app, [events])

    Subscriptions have such a scope without it. A task that is tried again dispatches anew; one that fails
    dispatches nothing. The task has succeeded by the time its events are published, so what a handler cannot
    take is reported, and does not run the task again: where it should, write
    `with collect_events([events]):` inside the task instead.

    Parameters:
        app: Whose tasks.
        handlers: Where the events go.
        flush_when: `"success"`, `"always"`, or a callable that judges a `FinishedScope`.

    Returns:
        What opens them; its `disconnect` ends that.
    """
    return ScopeSignals(app, handlers, flush_when=flush_when)


class ScopeSignals:
    """Opens and closes scopes as Celery says that a task begins and ends."""

    def __init__(self, app: Celery, handlers: Iterable[Any], *, flush_when: FlushWhen) -> None:
        self._app = checks.instance("app", app, Celery, such_as="Celery('shop')")
        self._handlers = tuple(checked_handlers(handlers))
        self._flush_when = flush_when
        collect_events(self._handlers, flush_when=flush_when)  # refuses here what it would refuse in a worker
        self._open = threading.local()
        # Celery would keep a weak reference, and few callers keep what `open_scopes` returns.
        # With an id, since before 5.7 it takes the same method of two objects for one receiver.
        signals.task_prerun.connect(self._begin, weak=False, dispatch_uid=id(self))
        signals.task_postrun.connect(self._end, weak=False, dispatch_uid=id(self))

    def disconnect(self) -> None:
        """Open no more scopes."""
        signals.task_prerun.disconnect(dispatch_uid=id(self))
        signals.task_postrun.disconnect(dispatch_uid=id(self))

    def _begin(self, sender: Task, task_id: str, **rest: Any) -> None:
        if sender.app is self._app:
            scope = collect_events(self._handlers, flush_when=self._flush_when)
            scope.__enter__()
            self._scopes().append((task_id, scope))

    def _end(self, task_id: str, state: str | None = None, retval: Any = None, **rest: Any) -> None:
        scopes = self._scopes()
        if not scopes or scopes[-1][0] != task_id:
            return
        _, scope = scopes.pop()
        error = None if state == states.SUCCESS else _error(state, retval)
        scope.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _scopes(self) -> list[tuple[str, collect_events]]:
        if not hasattr(self._open, "scopes"):
            self._open.scopes = []
        found: list[tuple[str, collect_events]] = self._open.scopes
        return found


def _error(state: str | None, retval: Any) -> BaseException:
    """What a task has failed with, or been ended by: a retry, a rejection, an error."""
    return retval if isinstance(retval, BaseException) else RuntimeError(f"the task ended as {state}")
