"""How much waits in a queue, in words that mean the same on every engine and broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi_events import clock
from fastapi_events.handlers.task_queue.messages import event_in


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueDepth:
    """What a broker says of a queue. None is what it cannot tell.

    Parameters:
        queue: The queue's name.
        ready: Messages that no worker has taken.
        in_hand: Messages that a worker has taken and not acknowledged; it may not have begun with them.
        delayed: Messages that wait for their time, as before a retry.
        dead: Messages that the engine itself keeps because they were given up. Where the handler has a
            store for dead letters they are there instead.
        oldest: Seconds since the event was dispatched whose message comes next; None, too, where none is
            ready.
        consumers: How many connections of workers take messages from it.
    """

    queue: str
    ready: int | None = None
    in_hand: int | None = None
    delayed: int | None = None
    dead: int | None = None
    oldest: float | None = None
    consumers: int | None = None


def age_of(arguments: Sequence[Any]) -> float | None:
    """Seconds since the event of a message was dispatched; None where it cannot be read.

    Parameters:
        arguments: The message's.
    """
    event = event_in(arguments)
    return None if event is None else max(clock.timestamp() - event.dispatched_at.timestamp(), 0.0)
