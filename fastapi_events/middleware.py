"""The ASGI middleware: one scope around each request, websocket and lifespan."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from fastapi_events import checks, under_test
from fastapi_events.context import event_store, handler_store, in_req_res_cycle, middleware_identifier
from fastapi_events.delivery import name_of, settle
from fastapi_events.flush import FlushWhen, always, flush_policy
from fastapi_events.handlers.base import BaseEventHandler, check_hooks
from fastapi_events.handlers.strict_names import StrictNames
from fastapi_events.otel import tracing
from fastapi_events.scope import Backlog
from fastapi_events.scope.config import ScopeConfig, checked_handlers
from fastapi_events.scope.contexts import CycleContext, StoreContext
from fastapi_events.scope.errors import checked_raise_errors, raise_if_asked
from fastapi_events.scope.other_loops import on_asyncio
from fastapi_events.typing import ASGIApp, Message, Receive, Scope, Send

logger: logging.Logger = logging.getLogger(__name__)

# A method of an imported name CPython looks up as if it were a module's function, which takes twice as long.
_set_id, _reset_id = middleware_identifier.set, middleware_identifier.reset
_set_store, _reset_store = event_store.set, event_store.reset
_set_cycle, _reset_cycle = in_req_res_cycle.set, in_req_res_cycle.reset

SHUTDOWN_DEADLINE_SECONDS = 5.0
"""How long the application waits, when it stops, for handlers that are still at work."""


@checks.names_parameters
class EventHandlerASGIMiddleware:
    """Collects the events dispatched during a request, and flushes them once the response is out.

    A websocket is flushed whenever the application waits for its next message; what the application
    dispatches while it starts is flushed when it has started.

    Parameters:
        app: The ASGI application inside.
        handlers: Where the events go; each gets all of them, and none suffers from another's failure.
        middleware_id: A name for this middleware, so that `dispatch(…, middleware_id=…)` reaches its
            handlers from outside of a request. They then outlive the middleware object.
        flush_when: `"always"`, `"success"` (nothing was raised and the status is below 400), or a callable
            that judges a `FinishedScope`.
        strict_names: Let `dispatch()` raise `UnknownEventName` for a name to which no handler's functions
            listen, and for which no schema is registered; for tests and staging.
        raise_errors: Raise what handlers raised into the server, for tests. The endpoint's own error wins.
            With False such errors are logged and reported only; None is False, or what the pytest plugin
            says.

    Raises:
        ConfigurationError: When an argument cannot be what it is, or a handler has an attribute in the place
            of a hook.
    """

    def __init__(
        self,
        app: ASGIApp,
        handlers: Iterable[BaseEventHandler],
        middleware_id: int | None = None,
        *,
        flush_when: FlushWhen = "always",
        strict_names: bool = False,
        raise_errors: bool | None = None,
    ) -> None:
        self.app = app
        self._id = id(self) if middleware_id is None else checks.key("middleware_id", middleware_id)
        self._config = ScopeConfig(self._id, flush_policy(flush_when))
        self._raise_errors = checked_raise_errors(raise_errors)
        self._strict_names = checks.flag("strict_names", strict_names)
        self._is_unstarted = False
        self._started: list[BaseEventHandler] = []
        self.register_handlers(handlers)

    def __del__(self) -> None:
        # Before __init__ has got as far as the id there is nothing to undo.
        if getattr(self, "_id", None) == id(self):
            self.deregister_handlers()

    def register_handlers(self, handlers: Iterable[BaseEventHandler]) -> None:
        """Make `handlers` those that get this middleware's events."""
        handlers = checked_handlers(handlers)
        for each in handlers:
            if isinstance(each, BaseEventHandler):
                check_hooks(each)
        if self._strict_names:
            handlers.insert(0, StrictNames(handlers))
        handler_store[self._id] = handlers
        # A handler need not derive from our base, and a mock has every attribute.
        self._persists = any(getattr(each, "persists_before_response", None) is True for each in handlers)
        self._watches = self._persists or self._config.policy is not always

    def deregister_handlers(self) -> None:
        """Forget this middleware's handlers."""
        handler_store.pop(self._id, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            backlog = Backlog(self._config)
            status = None
            if self._watches:
                send, status = self._watching(send, backlog)
        elif kind == "websocket":
            backlog = Backlog(self._config)
            status = None
            receive = await self._opening(receive, backlog)
        elif kind == "lifespan":
            await self._live(scope, receive, send)
            return
        else:
            await self.app(scope, receive, send)
            return

        if self._config.loop is None:
            self._begin()
        # As StoreContext and CycleContext do, without their objects: this is on the way of every request.
        identifier, store, cycle = _set_id(self._id), _set_store(backlog), _set_cycle(True)
        error: BaseException | None = None
        errors: list[BaseException] = []
        try:
            await self.app(scope, receive, send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _reset_cycle(cycle)
            try:
                if self._is_unstarted:  # now, since the response must not wait for it
                    await self._start_late()
                if backlog.close(error, None if status is None else status.status):
                    errors = await backlog.flush_rest()
                    if error is None:
                        raise_if_asked(errors, self._raise_errors)
            finally:
                _reset_store(store)
                _reset_id(identifier)
                del error, errors  # an error would hold this frame, and these the error

    async def _opening(self, receive: Receive, backlog: Backlog) -> Receive:
        if self._config.loop is None or self._is_unstarted:  # now: a websocket may stay open for days
            self._begin()
            await self._start_late()
        return _flusher(receive, backlog)

    def _watching(self, send: Send, backlog: Backlog) -> tuple[Send, _StatusWatch | None]:
        status = None
        if self._config.policy is not always:
            status = _StatusWatch(send)
            send = status.send
        return (_Persisting(send, backlog).send if self._persists else send), status

    def event_store_ctx(self) -> StoreContext:
        """A block in which `dispatch()` finds this middleware's handlers and an empty backlog."""
        return StoreContext(Backlog(self._config))

    def res_req_cycle_ctx(self) -> CycleContext:
        """A block in which events are collected rather than handled at once."""
        return CycleContext()

    def _begin(self) -> None:
        """From here on handlers start at first use, unless the lifespan starts them: not every one runs."""
        self._config.remember_loop()
        self._is_unstarted = True

    async def _start_late(self) -> None:
        self._is_unstarted = under_test.stand_ins is not None  # those stood in for start at a later use
        for handler in self._handlers():
            try:
                await on_asyncio(self._start(handler))
            except Exception:  # the response is out, and the next handler has events to take
                logger.exception("%s could not start properly.", name_of(handler))

    async def _start(self, handler: BaseEventHandler) -> None:
        if handler not in self._started:
            self._started.append(handler)
            await handler.on_startup()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        backlog = _LifespanBacklog(ScopeConfig(self._id))
        backlog.config.remember_loop()
        self._begin()  # a server goes on without a lifespan that the application does not know

        async def send_and_tend(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._is_unstarted = under_test.stand_ins is not None
                for handler in self._handlers():
                    await on_asyncio(self._start(handler))
                await send(message)
                # Nobody comes back to flush what a task started here dispatches later: each of its events
                # is late, and therefore handled at once.
                backlog.close()
                backlog.flush_soon()
            elif message["type"].startswith("lifespan.shutdown."):
                await on_asyncio(self._end(backlog))
                await send(message)
            else:
                await send(message)

        with StoreContext(backlog), CycleContext():
            await self.app(scope, receive, send_and_tend)

    async def _end(self, backlog: Backlog) -> None:
        await backlog.finish()
        await settle(SHUTDOWN_DEADLINE_SECONDS)
        self._started.clear()
        for handler in self._handlers():
            try:
                await handler.on_shutdown()
            except Exception:  # the next handler has events to deliver, too
                logger.exception("%s could not shut down properly.", name_of(handler))

    def _handlers(self) -> list[BaseEventHandler]:
        """The handlers to start and stop, without those that a test has replaced."""
        own = handler_store.get(self._id, ())
        in_force = set(map(id, under_test.in_force(own)))
        return [each for each in own if isinstance(each, BaseEventHandler) and id(each) in in_force]


class _LifespanBacklog(Backlog):
    """The scope of a whole application, inside of which its tasks may still speak to other middlewares."""

    __slots__ = ()

    yields_to_id = True

    def look_for_traces(self) -> bool:
        """Look each time, since the application sets up its SDK inside."""
        return tracing.concerns_events()


def _flusher(receive: Receive, backlog: Backlog) -> Receive:
    async def flush_and_receive() -> Message:
        if backlog.wants_flush():
            backlog.flush_soon()
        return await receive()

    return flush_and_receive


class _StatusWatch:
    """Remembers the status that passes by."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class _Persisting:
    """Lets handlers keep the events of a response before its first byte goes out, and before its last."""

    __slots__ = ("_backlog", "_reported", "_send", "_status")

    def __init__(self, send: Send, backlog: Backlog) -> None:
        self._send = send
        self._backlog = backlog
        self._status: int | None = None
        self._reported: set[tuple[str, str]] = set()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            await self._backlog.persist(self._status, self._reported)
        elif not message.get("more_body", False):
            await self._backlog.persist(self._status, self._reported)
        await self._send(message)
