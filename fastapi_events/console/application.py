"""The console as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from fastapi_events.console.actions import press
from fastapi_events.console.csrf import Once
from fastapi_events.console.header import read_header
from fastapi_events.console.jobs import Jobs
from fastapi_events.console.live import Live, stream
from fastapi_events.console.page import Elsewhere, Page, Read
from fastapi_events.console.pages import SCREENS
from fastapi_events.console.permissions import LOCAL, Auth, Gate, Visitor, check, permission_set
from fastapi_events.console.rendering import Links, asset, render
from fastapi_events.console.state import State
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import listed_handlers
from fastapi_events.storage.memory import MemoryInbox

ASGIApp: TypeAlias = Callable[..., Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response, unless it says otherwise."""

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}
_ASSETS_SECONDS = 3_600


def console(
    handlers: Iterable[BaseEventHandler],
    auth: Auth | None = None,
    *,
    local: Iterable[str] = ("see_payloads",),
    trace_url: str | None = None,
) -> ASGIApp:
    """Make the console: an ASGI application to mount, or to serve alone.

    Parameters:
        handlers: Whose events it shows: those of the middleware, or of several applications. Handlers
            without a queue are left out.
        auth: Gets the request, and returns a `Visitor`: who asks, and what they may do; or the permissions
            alone; or None, which lets nobody in. It may be async, have parameters with `Depends(…)`, and
            raise `HTTPException`. Without it, only this machine may look.
        local: What somebody on this machine may do where there is no `auth`: of `replay`, `discard`, `pause`,
            `edit` and `see_payloads`.
        trace_url: Where traces can be looked at, such as `https://jaeger.example/trace/{trace_id}`.

    Raises:
        ConfigurationError: When there is no queue handler among them, there is no `auth` in production, or
            `trace_url` has no place for the id.
    """
    check(auth)
    somebody = Visitor(LOCAL, permission_set("local", local))
    state = State(_queue_handlers(handlers), trace_url=_checked_trace_url(trace_url))
    jobs = Jobs(state.handlers)
    app = Starlette(routes=_routes(), exception_handlers={HTTPException: _failed}, lifespan=_doing(jobs))
    app.state.console, app.state.jobs = state, jobs
    inbox = next((each.inbox for each in state.handlers if each.inbox is not None), None)
    app.state.once = Once(MemoryInbox() if inbox is None else inbox)
    app.state.live = Live(state)
    app.add_middleware(Gate, auth=auth, local=somebody)
    app.add_middleware(_Headers)
    return app


def _doing(jobs: Jobs) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Jobs go on as soon as the console is served; where it is mounted, as soon as somebody looks."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        jobs.start()
        try:
            yield
        finally:
            await run_in_threadpool(jobs.stop)

    return lifespan


def _checked_trace_url(url: str | None) -> str | None:
    if url is None or (url.startswith(("https://", "http://")) and "{trace_id}" in url):
        return url
    raise ConfigurationError(
        f"console(trace_url={url!r}): expected an address with the place of the trace's id, such as "
        "'https://jaeger.example/trace/{trace_id}'."
    )


def _queue_handlers(handlers: Iterable[BaseEventHandler]) -> list[TaskQueueHandler]:
    every = listed_handlers(handlers, asking="console")
    found = {id(each): each for each in every if isinstance(each, TaskQueueHandler)}
    if not found:
        raise ConfigurationError(
            "console(…): there is no DramatiqHandler or CeleryHandler among the handlers, and only of those "
            "there is something to see."
        )
    return list(found.values())


def _routes() -> list[BaseRoute]:
    return [
        *(Route(f"/{path}", _screen(read), methods=["GET"], name=path) for path, read in SCREENS),
        Route("/actions/{verb}", press, methods=["POST"]),
        Route("/live", stream, methods=["GET"]),
        Route("/assets/{name}", _asset, methods=["GET"]),
    ]


def _screen(read: Read) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        state: State = request.app.state.console
        request.app.state.jobs.start()
        header, page = await asyncio.gather(read_header(state), read(state, request))
        if isinstance(page, Elsewhere):
            return RedirectResponse(Links(request)(page.path, *page.parts), status_code=303)
        values = {**page.values, "key": page.key, "title": page.title, "header": header}
        return render(request, page.template, values, status=page.status)

    return show


async def _failed(request: Request, error: Exception) -> Response:
    """A page that says what is wrong with a request."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    said = error.detail if isinstance(error, HTTPException) else "Something went wrong."
    state: State = request.app.state.console
    page = Page("", f"{status}", "failed.html", {"said": said}, status)
    values = {**page.values, "key": "", "title": page.title, "header": await read_header(state)}
    return render(request, page.template, values, status=status)


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    try:
        content = asset(name)
    except ConfigurationError as error:
        raise HTTPException(404, str(error)) from error
    kind = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(content, media_type=kind, headers={"cache-control": f"max-age={_ASSETS_SECONDS}"})


class _Headers:
    """Adds `HEADERS` to responses; pure ASGI, so that streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)
