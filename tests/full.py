"""Parts of a store that have no room left."""

from __future__ import annotations

from typing import TypeVar

from fastapi_events.storage.dead_letters import DeadLetters
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.outbox import Outbox

P = TypeVar("P", Outbox, DeadLetters, Lanes)


def full(part: P) -> P:
    """A part that takes nothing more, which nobody can ask for by a setting."""
    limit = next(name for name in ("max_entries", "max_letters", "max_items") if hasattr(part, name))
    setattr(part, limit, 0)
    return part
