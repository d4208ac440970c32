"""What happened to events, written down where both processes and the page can see it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from fastapi_events.event import Event, wire_name
from fastapi_events.lifecycle import Lifecycle, observe
from fastapi_events.settings import Settings

KEY = "demo:journal"


class Journal:
    """A list of entries in Redis."""

    def __init__(self, url: str | None = None, *, engine: str = "") -> None:
        self._engine = engine
        settings = Settings()
        url = url or settings.journal_url or settings.broker_url
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def write(self, event: Event, subscription: str, outcome: str) -> None:
        """Add an entry."""
        entry = {
            "engine": self._engine,
            "event": wire_name(event.name),
            "id": event.id,
            "subscription": subscription.rpartition(".")[2],
            "outcome": outcome,
            "after": round((datetime.now(UTC) - event.dispatched_at).total_seconds() * 1000),  # milliseconds
        }
        self._client.rpush(KEY, json.dumps(entry))

    def entries(self) -> list[dict[str, Any]]:
        """All entries, the oldest first."""
        raw: Any = self._client.lrange(KEY, 0, -1)
        return [json.loads(each) for each in raw]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class WriteJournal(Lifecycle):
    """Writes an entry for each thing that happens in a worker."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def succeeded(self, event: Event, *, subscription: str) -> None:
        self._journal.write(event, subscription, "handled")

    def retried(
        self, event: Event, *, subscription: str, error: BaseException, attempt: int, wait: float
    ) -> None:
        self._journal.write(event, subscription, "retried")

    def dead(self, event: Event | None, *, subscription: str, reason: str, attempts: int) -> None:
        if event is not None:
            self._journal.write(event, subscription, "dead")


def write_down_what_happens() -> None:
    """In a worker: both engines run the same functions, each in a process started by its own command."""
    engine = next((part for part in Path(sys.argv[0]).parts[-2:] if part in ("celery", "dramatiq")), "")
    observe(WriteJournal(Journal(engine=engine)))
