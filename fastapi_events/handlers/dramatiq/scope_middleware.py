"""A scope around every actor of a broker: what an actor dispatches is published when it has succeeded."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware

from fastapi_events import checks
from fastapi_events.flush import FlushWhen
from fastapi_events.scope import collect_events
from fastapi_events.scope.config import checked_handlers


@checks.names_parameters
class ScopeMiddleware(Middleware):
    """Lets any actor call `dispatch()`: its events go to these handlers when it has succeeded.

        broker.add_middleware(ScopeMiddleware([events]))

    Subscriptions have such a scope without it. An actor that is tried again dispatches anew; one that fails
    dispatches nothing. The actor has succeeded by the time its events are published, so what a handler cannot
    take is reported, and does not run the actor again: where it should, write
    `with collect_events([events]):` inside the actor instead.

    Parameters:
        handlers: Where the events go.
        flush_when: `"success"`, `"always"`, or a callable that judges a `FinishedScope`.
    """

    def __init__(self, handlers: Iterable[Any], *, flush_when: FlushWhen = "success") -> None:
        self._handlers = tuple(checked_handlers(handlers))
        self._flush_when = flush_when
        collect_events(self._handlers, flush_when=flush_when)  # refuses here what it would refuse in a worker
        self._open = threading.local()

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """Open a scope."""
        scope = collect_events(self._handlers, flush_when=self._flush_when)
        scope.__enter__()
        self._scopes().append((message.message_id, scope))

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Flush what was collected, or drop what a failed actor has dispatched."""
        self._close(message, exception)

    def after_skip_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        """Close the scope of an actor that was not run."""
        self._close(message, None)

    def _close(self, message: MessageProxy, error: BaseException | None) -> None:
        scopes = self._scopes()
        if not scopes or scopes[-1][0] != message.message_id:  # an earlier middleware has skipped the message
            return
        _, scope = scopes.pop()
        scope.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _scopes(self) -> list[tuple[str, collect_events]]:
        if not hasattr(self._open, "scopes"):
            self._open.scopes = []
        found: list[tuple[str, collect_events]] = self._open.scopes
        return found
