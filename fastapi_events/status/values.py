"""What is told of a handler and its fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.storage.catalogue import Relay, Worker

State: TypeAlias = Literal["running", "paused", "failing", "nobody", "unknown"]
"""`nobody`: no live worker runs it; `unknown`: there is no catalogue, or it does not answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """A queue, and who consumes it.

    Parameters:
        depth: How much waits in it.
        workers: The live workers that consume it; None where there is no catalogue to say so.
    """

    depth: QueueDepth
    workers: tuple[Worker, ...] | None

    @property
    def is_consumed(self) -> bool | None:
        """Whether somebody consumes it; None where nobody knows."""
        if self.workers is None and self.depth.consumers is None:
            return None
        return bool(self.workers) or bool(self.depth.consumers)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionStatus:
    """A subscription of the fleet.

    Parameters:
        name: Its name.
        patterns: The names of events that it listens to.
        queue: Where its messages wait.
        workers: How many live workers run it; None where there is no catalogue to say so.
        state: What it is at.
        succeeded: How often it has succeeded lately; None where there is no journal.
        failed: How often it has failed lately.
    """

    name: str
    patterns: tuple[str, ...]
    queue: str
    workers: int | None
    state: State
    succeeded: int | None = None
    failed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxDepth:
    """What an outbox holds, of this handler and of others that share it.

    Parameters:
        waiting: Events to be published, now or when they are due.
        claimed: Events that a relay is publishing just now.
        unconfirmed: Events that are published, and wait for the receipts of their functions.
        oldest: Seconds since the oldest of all was added.
        overdue: How many of the oldest hundred, of this handler, are due for a minute and more.
        lag: For how many seconds one of them has been due, at most.
    """

    waiting: int
    claimed: int
    unconfirmed: int
    oldest: float | None
    overdue: int
    lag: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LanesDepth:
    """What waits in lanes: events with an ordering key.

    Parameters:
        lanes: How many have events: one for each key and each function that is behind with it.
        oldest: Seconds since the oldest event was dispatched, of the first of a hundred lanes.
    """

    lanes: int
    oldest: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A handler and its fleet, at one time. None is what nobody could tell.

    Parameters:
        handler: The handler's name.
        at: When it was asked; seconds since 1970.
        queues: Those of the handler, and of the functions that its workers have announced.
        subscriptions: Those of this process, and those that its workers have announced.
        workers: The live ones, the oldest first.
        outbox: What the outbox holds.
        relays: The live ones, which publish what is in the outbox.
        lanes: What waits in the lanes.
        dead_letters: How many the store keeps of this handler.
        problems: What needs a person, in sentences.
        notes: What is worth knowing and needs nobody at once, in sentences.
    """

    handler: str
    at: float
    queues: tuple[QueueStatus, ...]
    subscriptions: tuple[SubscriptionStatus, ...]
    workers: tuple[Worker, ...] | None
    outbox: OutboxDepth | None
    relays: tuple[Relay, ...] | None
    lanes: LanesDepth | None
    dead_letters: int | None
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
