"""All stores in this process's memory."""

from __future__ import annotations

import time
from datetime import timedelta

from fastapi_events import checks
from fastapi_events.storage.base import Clock
from fastapi_events.storage.dead_letters import MAX_LETTERS
from fastapi_events.storage.journal import KEEP, MAX_EVENTS
from fastapi_events.storage.lanes import MAX_LANE_ITEMS
from fastapi_events.storage.memory.catalogue import MemoryCatalogue
from fastapi_events.storage.memory.dead_letters import MemoryDeadLetters
from fastapi_events.storage.memory.inbox import MemoryInbox
from fastapi_events.storage.memory.journal import MemoryJournal
from fastapi_events.storage.memory.lanes import MemoryLanes
from fastapi_events.storage.memory.outbox import MemoryOutbox
from fastapi_events.storage.outbox import MAX_ENTRIES


@checks.names_parameters
class MemoryStore:
    """All stores, in this process's memory.

    Parameters:
        max_entries: Events that the outbox holds at most.
        max_letters: Dead letters that are kept at most.
        edit_letters: Whether commands may replay a dead letter with another payload.
        max_items: Items that wait in one lane at most.
        keep: How long the journal keeps an event after the last that happened to it.
        max_events: Events that the journal keeps at most.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_letters: int = MAX_LETTERS,
        edit_letters: bool = False,
        max_items: int = MAX_LANE_ITEMS,
        keep: timedelta | float = KEEP,
        max_events: int = MAX_EVENTS,
        clock: Clock = time.time,
    ) -> None:
        checks.function("clock", clock)
        self.outbox: MemoryOutbox = MemoryOutbox(max_entries=max_entries, clock=clock)
        self.inbox: MemoryInbox = MemoryInbox(clock=clock)
        self.dead_letters: MemoryDeadLetters = MemoryDeadLetters(
            max_letters=max_letters, edit_letters=edit_letters
        )
        self.lanes: MemoryLanes = MemoryLanes(max_items=max_items, clock=clock)
        self.catalogue: MemoryCatalogue = MemoryCatalogue(clock=clock)
        self.journal: MemoryJournal = MemoryJournal(keep=keep, max_events=max_events, clock=clock)

    def setup(self) -> None:
        """Nothing needs to be created."""

    def check(self) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing has to be closed."""
