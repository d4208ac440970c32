"""The smallest ASGI server: calls an application and keeps what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


def http_scope(path: str = "/") -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [], "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}, "root_path": "",
    }  # fmt: skip


async def call(
    app: App, scope: dict[str, Any] | None = None, *, receive: Iterable[Message] = ({"type": "http.request"},)
) -> list[Message]:
    """Run the app on the messages of `receive`, and return what it sent."""
    incoming = list(receive)
    sent: list[Message] = []

    async def next_message() -> Message:
        if incoming:
            return incoming.pop(0)
        await asyncio.Event().wait()  # nothing more comes
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope or http_scope(), next_message, send)
    return sent


def responding(status: int = 200, *, then: Callable[[], Any] = lambda: None) -> App:
    """An app that answers with a status, after it has called `then`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        result = then()
        if asyncio.iscoroutine(result):
            await result
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return app
