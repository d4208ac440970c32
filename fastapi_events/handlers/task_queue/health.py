"""The health of a queue handler in the process that publishes: what a probe asks for."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from fastapi_events import checks
from fastapi_events.bounded_call import Answer, BoundedCall
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.handlers.task_queue.publish.relay_thread import RelayThread
from fastapi_events.handlers.task_queue.sender import Sender
from fastapi_events.storage.outbox import Outbox, OutboxStatus

logger: logging.Logger = logging.getLogger(__name__)

RELAY_SILENT_SECONDS = 30.0
"""A relay that has looked into the outbox for the last time so long ago stands still."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxHealth:
    """What an outbox holds.

    Parameters:
        waiting: How many events have not been published yet.
        unconfirmed: How many are published, and wait for the receipts of their functions.
        oldest: Seconds since the oldest of all was added; None where there is none.
    """

    waiting: int
    unconfirmed: int
    oldest: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How a handler is in this process. It holds no secrets: errors are named by their class only.

    Parameters:
        handler: Its name.
        is_ready: Whether an event that is dispatched now arrives, or is kept.
        broker: Whether the broker answers.
        breaker: `"open"` where the last flushes failed, so that most do not try the broker.
        pending: How many events wait for the broker in this process.
        outbox: What the outbox holds; None where there is none, or it does not answer.
        relay: Seconds since this process's relay has looked into the outbox; None where none is at work.
        problems: What is wrong, in sentences.
    """

    handler: str
    is_ready: bool
    broker: Literal["reachable", "unreachable"]
    breaker: Literal["closed", "open"]
    pending: int
    outbox: OutboxHealth | None
    relay: float | None
    problems: tuple[str, ...]


class HealthCheck:
    """Asks the broker and the outbox of a handler, each in a thread of its own.

    Parameters:
        name: The handler's.
        sender: The way to the broker.
        publisher: Knows what waits for it.
        outbox: Where events are kept that the broker does not take.
        relay: Takes them out of it again.
        max_pending: How many events may wait for the broker.
        timeout: Seconds that the broker and the outbox have to answer.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        publisher: Publisher,
        *,
        outbox: Outbox | None,
        relay: RelayThread | None,
        max_pending: int,
        timeout: float,
    ) -> None:
        self._name = name
        self._publisher = publisher
        self._relay = relay
        self._max_pending = max_pending
        self._timeout = timeout
        self._broker: BoundedCall[None] = BoundedCall(partial(sender.ping, timeout=timeout))
        self._outbox: BoundedCall[OutboxStatus] | None = None
        if outbox is not None:
            self._outbox = BoundedCall(outbox.status)
        self._known: dict[str, str] = {}

    async def health(self) -> Health:
        """Ask, within the timeout."""
        broker = asyncio.ensure_future(self._broker.answer(timeout=self._timeout))
        stored: Answer[OutboxStatus] | None = None
        if self._outbox is not None:
            stored = await self._outbox.answer(timeout=self._timeout)
        return self._of(await broker, stored)

    def _of(self, broker: Answer[None] | None, stored: Answer[OutboxStatus] | None) -> Health:
        problems: list[str] = []
        broker_answers = self._is_good("broker", broker, problems)
        outbox_answers = self._outbox is not None and self._is_good("outbox", stored, problems)
        status = None if stored is None else stored.value
        outbox = None if status is None else _outbox_health(status)
        pending = self._publisher.pending
        is_full = pending >= self._max_pending
        if is_full:
            problems.append(
                f"{checks.counted(pending, 'event')} waiting for the broker, the limit of the buffer"
            )
        is_open = self._publisher.breaker.is_open
        if is_open:
            problems.append("the last flushes did not reach the broker")
        relay = None if self._relay is None else self._relay.silent_for
        if relay is not None and relay > RELAY_SILENT_SECONDS:
            problems.append(f"the relay has not looked into the outbox for {relay:.0f} s")
        return Health(
            handler=self._name,
            # Not by the breaker: it closes with the next flush, which only a ready process gets.
            is_ready=(broker_answers or outbox_answers) and not is_full,
            broker="reachable" if broker_answers else "unreachable",
            breaker="open" if is_open else "closed",
            pending=pending,
            outbox=outbox,
            relay=relay,
            problems=tuple(problems),
        )

    def _is_good(self, what: str, answer: Answer[Any] | None, problems: list[str]) -> bool:
        """Whether something has answered; if not, why, and in the log once and in full."""
        if answer is None:
            problem = detail = f"the {what} does not answer within {self._timeout} s"
        elif answer.error is not None:
            problem = f"the {what} does not answer: {type(answer.error).__name__}"
            detail = f"{problem}: {answer.error}"
        else:
            if self._known.pop(what, None) is not None:
                logger.info("%s is healthy again: the %s answers.", self._name, what)
            return True
        problems.append(problem)
        if self._known.get(what) != problem:
            self._known[what] = problem
            logger.warning("%s is not healthy: %s", self._name, detail)
        return False


def _outbox_health(status: OutboxStatus) -> OutboxHealth:
    oldest = None if status.oldest is None else (datetime.now(UTC) - status.oldest).total_seconds()
    return OutboxHealth(
        waiting=status.waiting + status.claimed,
        unconfirmed=status.unconfirmed,
        oldest=None if oldest is None else max(oldest, 0.0),
    )
