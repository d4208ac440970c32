"""The scope: a stretch of code whose events are collected, and flushed together when it ends.

A request is one (the middleware opens it), a worker's task is one, and so is a block of a script:

```python
with collect_events([events]):
    dispatch("cats-counted", payload={"cats": 9})
```
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from fastapi_events.context import (
    event_store,
    handler_store,
    in_req_res_cycle,
    middleware_identifier,
)
from fastapi_events.delivery import (
    deliver_after,
    deliver_in_place,
    dispatch_hooks,
    keep,
    one_that_never_waits,
    report_lost,
    running_loop,
)
from fastapi_events.errors import raise_together
from fastapi_events.event import Event
from fastapi_events.flush import FinishedScope, FlushPolicy, FlushWhen, always, flush_policy
from fastapi_events.lifecycle import Lifecycle, heard, tell
from fastapi_events.otel import tracing
from fastapi_events.process_loop import process_loop

logger = logging.getLogger(__name__)

__all__ = ["Backlog", "FinishedScope", "collect_events", "flush"]


_append = deque.append  # not by super(), which takes as long again
_DISPATCHED = Lifecycle.dispatched

_NO_ENDING: tuple[BaseException | None, int | None] = None, None


class ScopeConfig:
    """What scopes have in common: those of a middleware have one home.

    Parameters:
        owner: The id under which their handlers stand in `handler_store`.
        policy: Decides whether a finished scope is flushed.
    """

    __slots__ = ("loop", "owner", "policy")

    def __init__(self, owner: int, policy: FlushPolicy = always) -> None:
        self.owner = owner
        self.policy = policy
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where events are delivered that come late from a thread."""

    def remember_loop(self) -> None:
        """Remember the running loop, if there is none that could be running; to look costs a system call."""
        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.get_running_loop()


class Backlog(deque[Event]):
    """The events of one scope, and what becomes of those that come late.

    An event that is dispatched after its scope has been flushed, by a thread or a detached task that
    outlived the request, is flushed by itself at once; where that is impossible it is reported lost.

    Parameters:
        config: Whose scope it is.
    """

    __slots__ = ("_closed", "_ending", "_hooks", "_last", "config", "follows", "traced")

    yields_to_id = False
    """Whether a `middleware_id` given to `dispatch()` is obeyed inside; see `dispatcher`."""

    def __init__(self, config: ScopeConfig) -> None:
        self.config = config
        self._closed = False
        self._ending = _NO_ENDING
        self._last: asyncio.Task[list[Exception]] | None = None
        self._hooks: Sequence[Callable[[Event], None]] | None = None
        self.traced: bool | None = None
        """Whether its events get spans, or carry the context of one; None until somebody has looked."""
        self.follows: Callable[[Backlog, Event], None] | None = None
        """Takes events instead, until their transaction has been committed; see `commit`."""

    @property
    def owner(self) -> int:
        """The id under which the scope's handlers stand in `handler_store`."""
        return self.config.owner

    def look_for_traces(self) -> bool:
        """Look whether its events concern a trace; once for all of them, since that takes as long as one."""
        self.traced = tracing.concerns_events()
        return self.traced

    def append(self, event: Event) -> None:
        """Take an event in, once every handler has accepted it."""
        if self.follows is not None:
            self.follows(self, event)
            return
        hooks = self._hooks
        if hooks is None:
            hooks = self._hooks = dispatch_hooks(handler_store.get(self.owner, ()))
        for hook in hooks:
            hook(event)
        _append(self, event)
        if _DISPATCHED in heard:
            tell(_DISPATCHED, event)
        # Asked after the event is in: whoever closes the backlog meanwhile drains it, or we do.
        if self._closed:
            self._flush_late()

    def append_committed(self, event: Event) -> None:
        """Take in an event whose transaction has been committed: it exists, whatever the policy says."""
        event.committed = True
        _append(self, event)
        if self._closed:
            self._flush_late()

    def flush_soon(self) -> asyncio.Task[list[Exception]] | None:
        """Start to deliver what has been collected, after the flushes that are still under way."""
        events = self._drain()
        if events:
            self.config.remember_loop()
            self._last = keep(deliver_after(self._last, self.owner, events))
        return self._last

    async def flush(self) -> list[Exception]:
        """Deliver what has been collected so far and wait for it, whatever the policy says.

        The delivery goes on even if the one who waits is cancelled.
        """
        task = self.flush_soon()
        return await asyncio.shield(task) if task is not None else []

    async def finish(self, error: BaseException | None = None, status: int | None = None) -> list[Exception]:
        """Close the scope and flush it if its policy says so.

        Returns:
            The errors of the handlers, already reported; to be raised only by those who asked for it.
        """
        return await self.flush_rest() if self.close(error, status) else []

    def close(self, error: BaseException | None = None, status: int | None = None) -> bool:
        """End the collecting: what comes from now on is late. What the policy refuses is discarded.

        Returns:
            Whether `flush_rest` has something to do.
        """
        self._closed = True
        if self.config.policy is not always:
            self._ending = error, status
        if self and not self._allowed():
            self._discard()
        return self._last is not None or bool(self)

    async def flush_rest(self) -> list[Exception]:
        """Flush what `close` has left, and wait for it."""
        if self._last is None:
            handler = one_that_never_waits(self.owner)
            if handler is not None:
                self.config.remember_loop()
                return deliver_in_place(handler, self._drain(), self.config.loop)
        return await self.flush()

    def wants_flush(self) -> bool:
        """Whether the policy lets a scope that is still running flush what it has so far."""
        return bool(self) and self._allowed()

    async def persist(self, status: int | None) -> None:
        """Let handlers keep what is collected so far where it survives this process, if it is to be flushed.

        A handler that cannot costs nobody anything: the events are flushed from memory all the same.

        Parameters:
            status: Of the response that is about to go out.
        """
        if self.config.policy is not always:
            self._ending = None, status
        if not self.wants_flush():
            return
        events = tuple(self)
        for handler in self._persisting():
            try:
                await handler.persist(events)
            except Exception as error:
                logger.error("%s could not keep %d events: %s", handler.name, len(events), error)

    def _persisting(self) -> list[Any]:
        # A handler need not derive from our base, and a mock has every attribute.
        handlers = handler_store.get(self.owner, ())
        return [each for each in handlers if getattr(each, "persists_before_response", None) is True]

    def _allowed(self) -> bool:
        policy = self.config.policy
        if policy is always:
            return True
        try:
            return bool(policy(FinishedScope(*self._ending, tuple(self))))
        except Exception:  # the policy's own fault must cost neither the response nor the events
            logger.exception("The flush policy %r failed, so that the events are flushed.", policy)
            return True

    def _flush_late(self) -> None:
        if not self._allowed():
            self._discard()
        if not self:
            return
        here, there = running_loop(), self.config.loop
        if here is not None and (there is None or there is here or there.is_closed()):
            self._deliver_late()
        else:
            try:
                loop = there if there is not None else process_loop().loop
                loop.call_soon_threadsafe(self._deliver_late)
            except RuntimeError as error:
                for event in self._drain():
                    report_lost(
                        event, handler_store.get(self.owner, ()), f"its scope's event loop is gone ({error})"
                    )

    def _deliver_late(self) -> None:
        task = self.flush_soon()
        if task is not None:
            # Perhaps nobody else holds the backlog any more, and its handlers are forgotten with it.
            task.add_done_callback(lambda _: self._closed)

    def _discard(self) -> None:
        events = self._drain()
        self.extend([event for event in events if event.committed])
        refused = [event for event in events if not event.committed]
        for event in refused:
            tell(Lifecycle.discarded, event)
        if refused and running_loop() is not None:
            for handler in self._persisting():
                keep(_forget(handler, refused))

    def _drain(self) -> list[Event]:
        events: list[Event] = []
        try:
            for _ in range(len(self)):
                events.append(self.popleft())  # noqa: PERF401 - one at a time: a thread may drain it, too
        except IndexError:
            return events
        return events


async def _forget(handler: Any, events: Sequence[Event]) -> None:
    try:
        await handler.forget(events)
    except Exception as error:
        logger.error("%s kept %d events that are not to be handled: %s", handler.name, len(events), error)


raise_errors_everywhere = False
"""Whether every scope raises the errors of its handlers; the pytest plugin turns it on."""


def raise_if_asked(errors: Sequence[Exception], asked: bool) -> None:
    """Raise what handlers raised, where the scope or the test suite asks for it."""
    if errors and (asked or raise_errors_everywhere):
        raise_together(errors, "several handlers failed")


class collect_events:  # noqa: N801 - used like a function
    """Collect the events dispatched in a `with` or `async with` block, and flush them when it ends.

    Parameters:
        handlers: Where the events go.
        flush_when: `"success"` (the block did not raise), `"always"`, or a callable that judges a
            `FinishedScope`.
        raise_errors: Raise what handlers raised, once all have run; the block's own error comes first.
            Without it such errors are logged and reported.
    """

    def __init__(
        self, handlers: Iterable[Any], *, flush_when: FlushWhen = "success", raise_errors: bool = False
    ) -> None:
        self._handlers = tuple(handlers)
        self._policy = flush_policy(flush_when)
        self._raise_errors = raise_errors
        self._entered: list[tuple[Backlog, StoreContext, CycleContext]] = []

    def __enter__(self) -> Backlog:
        if running_loop() is not None:
            raise RuntimeError("An event loop is running here: use `async with collect_events(…)`.")
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._leave() as backlog:
            backlog.close(error)
            errors = process_loop().run(backlog.flush()) if backlog else []
        if error is None:
            raise_if_asked(errors, self._raise_errors)

    async def __aenter__(self) -> Backlog:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._leave() as backlog:
            backlog.config.remember_loop()
            errors = await backlog.finish(error)
        if error is None:
            raise_if_asked(errors, self._raise_errors)

    def _enter(self) -> Backlog:
        # The backlog itself is the scope's identity. Whoever may still dispatch into it holds it in a
        # context, so its handlers are forgotten only when nobody can.
        config = ScopeConfig(0, self._policy)
        backlog = Backlog(config)
        config.owner = id(backlog)
        handler_store[backlog.owner] = self._handlers
        weakref.finalize(backlog, handler_store.pop, backlog.owner, None).atexit = False
        around, collecting = StoreContext(backlog), CycleContext()
        around.__enter__()
        collecting.__enter__()
        self._entered.append((backlog, around, collecting))
        return backlog

    @contextmanager
    def _leave(self) -> Iterator[Backlog]:
        # While it is flushed, the scope no longer collects, but its handlers are still those around.
        backlog, around, collecting = self._entered.pop()
        collecting.__exit__()
        try:
            yield backlog
        finally:
            around.__exit__()


class StoreContext:
    """A block in which `dispatch()` finds a backlog and the handlers of its owner.

    This and `CycleContext` are classes rather than generators, because every request passes through them.
    """

    __slots__ = ("_backlog", "_tokens")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def __enter__(self) -> Backlog:
        self._tokens = middleware_identifier.set(self._backlog.owner), event_store.set(self._backlog)
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


async def flush() -> None:
    """Flush the current scope now: for streams, server-sent events and long requests.

    Raises:
        LookupError: When no scope is open here.
    """
    backlog = event_store.get(None)
    if not isinstance(backlog, Backlog) or not in_req_res_cycle.get():
        raise LookupError("flush() was called where no scope is open: nothing has been collected here.")
    await backlog.flush()
