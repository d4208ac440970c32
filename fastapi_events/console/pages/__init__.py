"""The screens: each module reads what one of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi_events.console.page import Read
from fastapi_events.console.pages import (
    audit,
    dead_letters,
    doctor,
    event,
    events,
    jobs,
    lanes,
    now,
    outbox,
    queues,
    recent,
    search,
    subscriptions,
)

SCREENS: Final[Sequence[tuple[str, Read]]] = (
    ("", now.read),
    ("events", events.read),
    ("events/recent", recent.read),
    ("event/{id:path}", event.read),
    ("subscriptions", subscriptions.read),
    ("dead", dead_letters.read_groups),
    ("dead/letters", dead_letters.read_letters),
    ("letter/{id:path}", dead_letters.read_letter),
    ("jobs", jobs.read_jobs),
    ("jobs/{id}", jobs.read_job),
    ("outbox", outbox.read),
    ("lanes", lanes.read),
    ("queues", queues.read),
    ("doctor", doctor.read),
    ("audit", audit.read),
    ("search", search.read),
)
"""The path of each screen below the console, and what reads it."""
