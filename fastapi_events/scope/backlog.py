"""The backlog: the events of one scope, and what becomes of those that come late."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from fastapi_events.checks import counted
from fastapi_events.delivery import (
    deliver_after,
    deliver_in_place,
    dispatch_hooks,
    hand_to,
    handlers_of,
    keep,
    name_of,
    one_that_never_waits,
    report_lost,
)
from fastapi_events.event import Event, EventName
from fastapi_events.flush import FinishedScope, always
from fastapi_events.lifecycle import Lifecycle, heard, tell
from fastapi_events.otel import tracing
from fastapi_events.process_loop import process_loop, running_loop
from fastapi_events.scope.config import ScopeConfig
from fastapi_events.scope.other_loops import on_asyncio

logger: logging.Logger = logging.getLogger(__name__)

_MOST_NAMED = 10
"""Events that one line of the log names."""

_append = deque.append  # not by super(), which takes as long again
_DISPATCHED = Lifecycle.dispatched

_NO_ENDING: tuple[BaseException | None, int | None] = None, None


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
        self.config: ScopeConfig = config
        self._closed = False
        self._ending = _NO_ENDING
        self._last: asyncio.Task[list[BaseException]] | None = None
        self._hooks: Sequence[Callable[[Event], None]] | None = None
        self.traced: bool | None = None
        """Whether its events get spans, or carry the context of one; None until somebody has looked."""
        self.follows: Callable[[Backlog, Event], None] | None = None
        """Takes events instead, until their transaction has been committed; see `commit`."""

    @property
    def _is_elsewhere(self) -> bool:
        """Whether its events are to be flushed from another thread than this, in which trio runs."""
        return self.config.is_foreign and running_loop() is None

    @property
    def middleware_id(self) -> int:
        """The id under which the scope's handlers stand in `handler_store`."""
        return self.config.middleware_id

    def look_for_traces(self) -> bool:
        """Look whether its events concern a trace; once for all of them, since that takes as long as one."""
        self.traced = tracing.concerns_events()
        return self.traced

    def append(self, event: Event | tuple[EventName, Any]) -> None:
        """Take an event in, once every handler has accepted it; a plain pair becomes one."""
        if type(event) is not Event:
            event = Event.of(event)
        if self.follows is not None:
            self.follows(self, event)
            return
        hooks = self._hooks
        if hooks is None:
            hooks = self._hooks = dispatch_hooks(handlers_of(self.middleware_id))
        for hook in hooks:
            hook(event)
        _append(self, event)
        if _DISPATCHED in heard:
            tell(_DISPATCHED, event)
        # Asked after the event is in: whichever call closes the backlog meanwhile drains it.
        if self._closed:
            self._flush_late()

    def appendleft(self, event: Event | tuple[EventName, Any]) -> None:
        """Take an event in before the others."""
        self.append(event)
        self.rotate(1)

    def insert(self, at: int, event: Event | tuple[EventName, Any]) -> None:
        """Take an event in at a place among the others."""
        self.append(event)
        super().insert(at, self.pop())

    def extend(self, events: Iterable[Event | tuple[EventName, Any]]) -> None:
        """Take events in."""
        for event in list(events):
            self.append(event)

    def extendleft(self, events: Iterable[Event | tuple[EventName, Any]]) -> None:
        """Take events in before the others, the last one first."""
        for event in list(events):
            self.appendleft(event)

    def __iadd__(self, events: Iterable[Event | tuple[EventName, Any]]) -> Self:
        self.extend(events)
        return self

    def append_committed(self, event: Event) -> None:
        """Take in an event whose transaction has been committed: it exists, whatever the policy says."""
        event.committed = True
        _append(self, event)
        if self._closed:
            self._flush_late()

    def flush_soon(self) -> asyncio.Task[list[BaseException]] | None:
        """Start to deliver what has been collected, after the flushes that are still under way."""
        if self._is_elsewhere:
            assert self.config.loop is not None  # noqa: S101 - for the type checker
            hand_to(self.config.loop, self.flush_soon)
            return None
        events = self._drain()
        if events:
            self.config.remember_loop()
            self._last = keep(deliver_after(self._last, self.middleware_id, events))
            self._last.add_done_callback(self._delivered)
        return self._last

    def _delivered(self, task: asyncio.Task[list[BaseException]]) -> None:
        if self._last is task:  # whose context holds this backlog, and whose result the errors
            self._last = None

    async def flush(self) -> list[BaseException]:
        """Deliver what has been collected so far and wait for it, whatever the policy says.

        The delivery goes on even if the one who waits is cancelled.
        """
        self.config.remember_loop()
        if self._is_elsewhere:
            return await on_asyncio(self.flush())
        task = self.flush_soon()
        return await asyncio.shield(task) if task is not None else []

    async def finish(
        self, error: BaseException | None = None, status: int | None = None
    ) -> list[BaseException]:
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
        return self.has_rest

    @property
    def has_rest(self) -> bool:
        """Whether `flush_rest` has something to do."""
        return self._last is not None or bool(self)

    async def flush_rest(self) -> list[BaseException]:
        """Flush what `close` has left, and wait for it."""
        if self._last is None and self:
            handler = one_that_never_waits(self.middleware_id)
            if handler is not None:
                self.config.remember_loop()
                return deliver_in_place(handler, self._drain(), self.config.loop)
        return await self.flush()

    def wants_flush(self) -> bool:
        """Whether the policy lets a scope that is still running flush what it has so far."""
        return bool(self) and self._allowed()

    async def persist(self, status: int | None, reported: set[tuple[str, str]]) -> None:
        """Let handlers keep what is collected so far where it survives this process, if it is to be flushed.

        A handler that cannot costs nobody anything: the events are flushed from memory all the same.

        Parameters:
            status: Of the response that is about to go out.
            reported: Handlers and ids of events of which the log has it already that they could not be kept;
                it adds others.
        """
        if self.config.policy is not always:
            self._ending = None, status
        if not self.wants_flush():
            return
        if self._is_elsewhere:
            await on_asyncio(self.persist(status, reported))
            return
        events = tuple(self)
        for handler in self._persisting():
            try:
                await handler.persist(events)
            except Exception as error:
                name = name_of(handler)
                new = [each.id for each in events if (name, each.id) not in reported]
                if not new:
                    continue
                reported.update((name, each) for each in new)
                ids = new[:_MOST_NAMED] + ["…"] * (len(new) > _MOST_NAMED)
                logger.error(
                    "%s could not keep %s (%s): %s",
                    name, counted(len(new), "event"), ", ".join(ids), error,
                )  # fmt: skip

    def _persisting(self) -> list[Any]:
        # A handler need not derive from our base, and a mock has every attribute.
        handlers = handlers_of(self.middleware_id)
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
                hand_to(loop, self._deliver_late)
            except RuntimeError as error:
                reason = f"its scope's event loop is gone ({error})"
                for event in self._drain():
                    report_lost(event, handlers_of(self.middleware_id), reason)

    def _deliver_late(self) -> None:
        task = self.flush_soon()
        if task is not None:
            # This may be the last reference to the backlog, with which its handlers are forgotten.
            task.add_done_callback(lambda _: self._closed)

    def _discard(self) -> None:
        events = self._drain()
        super().extend([event for event in events if event.committed])
        refused = [event for event in events if not event.committed]
        for event in refused:
            tell(Lifecycle.discarded, event)
        persisting = self._persisting() if refused else ()
        if persisting and running_loop() is not None:
            _forget_soon(persisting, refused)
        elif persisting and self.config.is_foreign:
            hand_to(process_loop().loop, lambda: _forget_soon(persisting, refused))

    def _drain(self) -> list[Event]:
        events: list[Event] = []
        try:
            for _ in range(len(self)):
                events.append(self.popleft())  # noqa: PERF401 - one at a time: a thread may drain it, too
        except IndexError:
            return events
        return events


def _forget_soon(handlers: Iterable[Any], events: Sequence[Event]) -> None:
    for handler in handlers:
        keep(_forget(handler, events))


async def _forget(handler: Any, events: Sequence[Event]) -> None:
    try:
        await handler.forget(events)
    except Exception as error:
        number = counted(len(events), "event")
        logger.error(
            "%s could not remove %s from the outbox, to be handled then: %s", name_of(handler), number, error
        )
