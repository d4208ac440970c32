"""A handler that writes an audit log."""

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path

from fastapi_events.envelope import seal
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.typing import Event


class AuditHandler(BaseEventHandler):
    """Appends each event to a file, as a CloudEvent in a line of JSON.

    Parameters:
        path: The file.
        source: The `source` of the events.
    """

    def __init__(self, path: Path, *, source: str = "shop") -> None:
        self._path = path
        self._source = source
        self._lock = threading.Lock()

    async def handle(self, event: Event) -> None:
        await self.handle_many([event])

    async def handle_many(self, events: Iterable[Event]) -> None:
        """Write the events of a flush at once, in a thread: a disk must not hold up the event loop."""
        lines = [f"{seal(event, source=self._source)}\n" for event in events]
        await asyncio.to_thread(self._write, lines)

    def _write(self, lines: list[str]) -> None:
        with self._lock, self._path.open("a") as file:
            file.writelines(lines)
