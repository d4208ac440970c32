"""A queue handler once more, on another engine and with its stores in memory."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from fastapi_events.handlers.task_queue import Engine, TaskQueueHandler
from fastapi_events.handlers.task_queue.settings import PARTS, TaskQueueOptions
from fastapi_events.storage.memory import MemoryStore


def twin_of(
    handler: TaskQueueHandler, engine: Engine, store: MemoryStore, *, can_pause: bool = False, **changed: Any
) -> TaskQueueHandler:
    """A handler with the settings of another, and the parts that it has, in memory.

    Parameters:
        handler: The other.
        engine: Where its messages go.
        store: Where its stores are.
        can_pause: Whether it has a catalogue, which keeps what is paused.
        changed: Settings that differ.
    """
    settings = handler.settings
    options = {each.name: getattr(settings, each.name) for each in fields(settings)}
    options |= {name: getattr(store, name) for name in PARTS if options[name] is not None}
    # Nobody else works at it: it has no fleet to find, no relay of its own, and nobody looks at its journal.
    options |= {"store": None, "catalogue": None, "journal": None, "journal_payloads": False}
    options |= {"relay": False, "queue_type": "classic", **changed}
    if can_pause:
        del options["catalogue"]  # one that a store brings along makes no fleet of its handler
        options["store"] = store
    return TaskQueueHandler(engine, **cast("TaskQueueOptions", options))
