"""An event is looked for in the queues of a broker, out of which nothing is taken for that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi_events import envelope
from fastapi_events.errors import UnreadableEnvelope

MOST_MESSAGES = 10_000
"""Messages that are looked at in one place; what is behind them is not, and that is said."""

READY = "ready"
IN_HAND = "in hand"
DELAYED = "delayed"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuedEvent:
    """An event in a message of a broker.

    Parameters:
        id: The event's id.
        envelope: The event as it travels, JSON.
        queue: The queue that the message is in.
        task: Whom it is for: a subscription, or the fan-out.
        state: `ready`; `in hand`, where a worker has taken it and not acknowledged; or `delayed`.
        ahead: The messages that come before it, where that is known.
        due: When it may be received, in seconds since 1970.
    """

    id: str
    envelope: str
    queue: str
    task: str
    state: str
    ahead: int | None = None
    due: float | None = None


@dataclass(slots=True)
class QueueSearch:
    """What has come of looking into queues.

    Parameters:
        found: The events.
        unseen: What could not be looked into, and why; a sentence each, without its full stop.
    """

    found: list[QueuedEvent] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def cut(self, queue: str, total: int) -> None:
        """Say that a place holds more messages than are looked at."""
        self.unseen.append(f"of the {total:,} messages of {queue}, {MOST_MESSAGES:,} were looked at")


def cannot_look(queues: Collection[str], why: str) -> QueueSearch:
    """What comes of looking where nobody can."""
    return QueueSearch(unseen=[f"{', '.join(sorted(queues))}: {why}"])


def events_with(arguments: Sequence[Any], prefix: str) -> Iterator[tuple[str, str]]:
    """The events in a message whose ids begin with a prefix: their ids, and the events as they travel.

    Parameters:
        arguments: The message's.
    """
    with suppress(UnreadableEnvelope, IndexError, TypeError):
        for each in envelope.read_batch(arguments[0]):
            id_ = each.get("id") if isinstance(each, dict) else None
            if isinstance(id_, str) and id_.startswith(prefix):
                yield id_, envelope.write(each)
