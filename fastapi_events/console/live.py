"""What is shown changes while it is looked at: server-sent events, read once for all browsers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fastapi_events.console.header import Header, read_header
from fastapi_events.console.rendering import Links, fragment
from fastapi_events.console.state import State

EVERY_SECONDS = 3.0
"""How often stores and brokers are asked while somebody looks; nobody looks, nobody asks."""

LASTS_SECONDS = 15.0
"""After so long a stream ends, and the browser opens another: a server that is to end waits for open ones."""


class Live:
    """Asks stores and brokers for all browsers that look, for as long as one does.

    Parameters:
        state: What is asked.
        every: Seconds between two questions.
    """

    def __init__(self, state: State, *, every: float = EVERY_SECONDS) -> None:
        self._state = state
        self.every = every
        self._watchers: set[asyncio.Queue[Header]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> int:
        """How many browsers look."""
        return len(self._watchers)

    async def watch(self) -> AsyncGenerator[Header, None]:
        """Each header that is read from now on; one that is slow gets the latest only."""
        mine: asyncio.Queue[Header] = asyncio.Queue(maxsize=1)
        self._watchers.add(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask(), name="fastapi-events-console-live")
        try:
            while True:
                yield await mine.get()
        finally:
            self._watchers.discard(mine)
            if not self._watchers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _ask(self) -> None:
        while True:
            header = await read_header(self._state)
            for each in self._watchers:
                with contextlib.suppress(asyncio.QueueEmpty):
                    each.get_nowait()
                each.put_nowait(header)
            await asyncio.sleep(self.every)


async def stream(request: Request) -> Response:
    """The header as server-sent events."""
    live: Live = request.app.state.live
    return StreamingResponse(
        _messages(live, Links(request)), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _messages(live: Live, link: Links, *, lasts: float = LASTS_SECONDS) -> AsyncIterator[str]:
    yield "retry: 5000\n\n"
    end = time.monotonic() + lasts
    watching = live.watch()
    async with contextlib.aclosing(watching):
        async for header in watching:
            text = fragment("figures.html", {"header": header, "link": link})
            lines = "\n".join(f"data: {line}" for line in text.splitlines() if line.strip())
            yield f"event: figures\n{lines}\n\n"
            if time.monotonic() >= end:
                break
    yield "event: over\ndata: open another\n\n"
