"""Probes of a web process: an ASGI application to mount.

```python
app.mount("/health", fastapi_events.health.app([events]))
```
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import asdict
from typing import Any

from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.task_queue import TaskQueueHandler
from fastapi_events.inspection import listed_handlers

__all__ = ["app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


def app(handlers: Iterable[BaseEventHandler]) -> ASGIApp:
    """Make an ASGI application that answers `/livez` and `/readyz`, as JSON, with the status 200 or 503.

    `/livez` asks nobody: it says that the event loop runs. `/readyz` asks the brokers and outboxes, within
    the `flush_deadline` of their handlers, and has the `Health` of each. It needs no authentication, and
    tells no secrets.

    Parameters:
        handlers: As the middleware was given them; those without a queue are always ready.

    Raises:
        ConfigurationError: When they are no handlers.
    """
    every = listed_handlers(handlers, asking="app")
    return _HealthApp([each for each in every if isinstance(each, TaskQueueHandler)])


class _HealthApp:
    """The application.

    Parameters:
        handlers: Those whose health may change.
    """

    def __init__(self, handlers: list[TaskQueueHandler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the whole life of the process, where it is a server's only application."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await _respond(send, *await self._answer(scope), is_head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope) -> tuple[int, dict[str, Any]]:
        if scope["method"] not in ("GET", "HEAD"):
            return 405, {"status": "only GET is answered"}
        path: str = scope["path"]
        mounted_at = scope.get("root_path", "")
        if mounted_at and path.startswith(f"{mounted_at}/"):  # newer servers leave it in the path
            path = path.removeprefix(mounted_at)
        if path == "/livez":
            return 200, {"status": "live"}
        if path != "/readyz":
            return 404, {"status": "there are /livez and /readyz"}
        found = await asyncio.gather(*(each.health() for each in self._handlers))
        is_ready = all(each.is_ready for each in found)
        status = "ready" if is_ready else "not ready"
        return 200 if is_ready else 503, {"status": status, "handlers": [asdict(each) for each in found]}


async def _live(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _respond(send: Send, status: int, content: dict[str, Any], *, is_head: bool) -> None:
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
