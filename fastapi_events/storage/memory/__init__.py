"""The stores in this process's memory: for tests, and to be read as the specification of the others."""

from fastapi_events.storage.memory.catalogue import MemoryCatalogue
from fastapi_events.storage.memory.dead_letters import MemoryDeadLetters
from fastapi_events.storage.memory.inbox import MemoryInbox
from fastapi_events.storage.memory.journal import MemoryJournal
from fastapi_events.storage.memory.lanes import MemoryLanes
from fastapi_events.storage.memory.outbox import MemoryOutbox
from fastapi_events.storage.memory.store import MemoryStore

__all__ = [
    "MemoryCatalogue",
    "MemoryDeadLetters",
    "MemoryInbox",
    "MemoryJournal",
    "MemoryLanes",
    "MemoryOutbox",
    "MemoryStore",
]
