"""A block whose events are collected: `collect_events`, for scripts, cron jobs, tests and workers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import Token
from datetime import timedelta
from types import TracebackType
from typing import Any

from fastapi_events import checks
from fastapi_events.consequences import Consequences
from fastapi_events.context import consequences, event_store, handler_store, in_req_res_cycle
from fastapi_events.flush import FlushWhen, flush_policy
from fastapi_events.process_loop import process_loop, running_loop
from fastapi_events.scope.backlog import Backlog
from fastapi_events.scope.config import ScopeConfig, checked_handlers
from fastapi_events.scope.contexts import CycleContext, StoreContext
from fastapi_events.scope.errors import checked_raise_errors, raise_if_asked
from fastapi_events.scope.other_loops import on_asyncio


@checks.names_parameters
class collect_events:  # noqa: N801 - used like a function
    """Collect the events dispatched in a `with` or `async with` block, and flush them when it ends.

    Leaving the block waits until its events are handled, and those that their functions have dispatched.

    Parameters:
        handlers: Where the events go.
        flush_when: `"success"` (the block did not raise), `"always"`, or a callable that judges a
            `FinishedScope`.
        raise_errors: Raise what handlers raised, once all have run; the block's own error comes first.
            With False such errors are logged and reported only; None is False, or what the pytest plugin
            says.
        deadline: How long leaving the block may take, a `timedelta` or seconds; what is still being handled
            then is cut off and reported lost. None waits as long as it takes.

    Raises:
        ConfigurationError: When an argument cannot be what it is.
    """

    def __init__(
        self,
        handlers: Iterable[Any],
        *,
        flush_when: FlushWhen = "success",
        raise_errors: bool | None = None,
        deadline: float | timedelta | None = None,
    ) -> None:
        self._handlers = tuple(checked_handlers(handlers))
        self._policy = flush_policy(flush_when)
        self._raise_errors = checked_raise_errors(raise_errors)
        self._deadline = checks.seconds_or_none("deadline", deadline, positive=True)
        self._entered: list[_Entered] = []

    def __enter__(self) -> Backlog:
        if running_loop() is not None:
            raise RuntimeError("An event loop is running here: use `async with collect_events(…)`.")
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._leave() as entered:
            entered.backlog.close(error)
            errors = process_loop().run(self._settle(entered)) if entered.has_begun else []
        try:
            if error is None:
                raise_if_asked(errors, self._raise_errors)
        finally:
            del errors  # an error would hold this frame, and these the error

    async def __aenter__(self) -> Backlog:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._leave() as entered:
            entered.backlog.config.remember_loop()
            entered.backlog.close(error)
            errors = await on_asyncio(self._settle(entered)) if entered.has_begun else []
        try:
            if error is None:
                raise_if_asked(errors, self._raise_errors)
        finally:
            del errors  # an error would hold this frame, and these the error

    async def _settle(self, entered: _Entered) -> list[BaseException]:
        backlog, caused = entered.backlog, entered.caused
        errors: list[BaseException] = []
        if self._deadline is None:
            errors += await backlog.flush_rest()
        elif (delivery := backlog.flush_soon()) is not None:
            caused.follow(delivery)
        if caused:
            errors += await caused.settle(self._deadline)
        return errors

    def _enter(self) -> Backlog:
        # The backlog itself is the scope's identity. Whoever may still dispatch into it holds it in a
        # context, so its handlers are forgotten only when nobody can.
        config = ScopeConfig(0, self._policy)
        backlog = Backlog(config)
        config.middleware_id = id(backlog)
        handler_store[backlog.middleware_id] = self._handlers
        weakref.finalize(backlog, handler_store.pop, backlog.middleware_id, None).atexit = False
        entered = _Entered(backlog)
        self._entered.append(entered)
        return backlog

    @contextmanager
    def _leave(self) -> Iterator[_Entered]:
        # While it is flushed, the scope no longer collects, but its handlers are still those around.
        entered = self._entered.pop()
        entered.collecting.__exit__()
        try:
            yield entered
        finally:
            entered.leave()


class _Entered:
    """What a block has set up, to be undone when it is left; one object may be entered several times."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.caused = Consequences()
        self._token: Token[Consequences | None] = consequences.set(self.caused)
        self._around, self.collecting = StoreContext(backlog), CycleContext()
        self._around.__enter__()
        self.collecting.__enter__()

    @property
    def has_begun(self) -> bool:
        """Whether there is something to flush or to wait for."""
        return self.backlog.has_rest or bool(self.caused)

    def leave(self) -> None:
        self._around.__exit__()
        consequences.reset(self._token)


async def flush() -> None:
    """Flush the current scope now: for streams, server-sent events and long requests.

    Raises:
        LookupError: When no scope is open here.
    """
    backlog = event_store.get(None)
    if not isinstance(backlog, Backlog) or not in_req_res_cycle.get():
        raise LookupError("flush() was called where no scope is open: nothing has been collected here.")
    await backlog.flush()
