"""`once=True`: a subscription completes an event at most once, whatever comes how often."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from fastapi_events.errors import ConfigurationError, StorageError, StorageNotReady
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.messages import message_id
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.handlers.task_queue.worker.outcome import LONGEST_PAUSE_SECONDS, TryLater
from fastapi_events.leases import LEASE_SECONDS, keeper, until_written
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.storage.base import DONE, Busy
from fastapi_events.storage.inbox import Begun, Inbox

logger: logging.Logger = logging.getLogger(__name__)

KEEP_SECONDS = 7 * 86_400.0
"""How long it is remembered that a subscription has completed an event."""


@dataclass(slots=True)
class Claim:
    """A subscription's turn at an event, with `once=True`.

    Parameters:
        inbox: Where it is recorded.
        key: Names the work.
        token: This attempt's token.
        recorded: Whether the function's own transaction has recorded the completion.
    """

    inbox: Inbox
    key: str
    token: str
    recorded: bool = False


current_claim: ContextVar[Claim | None] = ContextVar("fastapi_events_claim", default=None)
"""The claim under which the surrounding function runs, for `commit.complete_in`."""


class Once:
    """Runs what has not been completed before.

    Parameters:
        handler: The handler's name: another one that has the same function runs it, too.
        inbox: Where completions are recorded.
    """

    def __init__(self, handler: str, inbox: Inbox) -> None:
        self._handler = handler
        self._inbox = inbox
        self._breaker = CircuitBreaker()

    @contextmanager
    def claim(self, subscription: str, event: Event) -> Iterator[bool]:
        """A block that runs the subscription; it gets whether it is to do so.

        Raises:
            TryLater: When another worker is at it, or the inbox is away.
        """
        claim = Claim(self._inbox, message_id(self._handler, event.id, subscription), str(uuid.uuid4()))
        begun = self._begin(claim)
        if isinstance(begun, Busy):
            raise TryLater(min(begun.seconds, LONGEST_PAUSE_SECONDS))
        if begun is DONE:
            tell(Lifecycle.skipped, event, subscription=subscription)
            yield False
            return
        token = current_claim.set(claim)
        extend = partial(self._inbox.extend, claim.key, token=claim.token, lease=LEASE_SECONDS)
        try:
            with keeper.keep(extend, of=self._inbox):
                try:
                    yield True
                except BaseException:
                    self._release(claim)
                    raise
                if not claim.recorded:
                    self._complete(claim, subscription, event)
        finally:
            current_claim.reset(token)

    def _begin(self, claim: Claim) -> Begun:
        """Begin; while the inbox is away, nobody knows whether the event has been completed.

        Raises:
            TryLater: When it is away: no failure of the function's, which has not run.
        """
        if not self._breaker.allows():
            raise TryLater(LONGEST_PAUSE_SECONDS)
        try:
            begun = self._inbox.begin(claim.key, token=claim.token, lease=LEASE_SECONDS)
        except StorageNotReady:
            raise
        except StorageError as error:
            self._breaker.failed()
            logger.warning("Functions with once=True wait for the inbox: %s", error)
            raise TryLater(LONGEST_PAUSE_SECONDS) from error
        self._breaker.succeeded()
        return begun

    @staticmethod
    def _release(claim: Claim) -> None:
        try:
            claim.inbox.release(claim.key, token=claim.token)
        except StorageError as error:  # the function's error is the more useful one
            logger.warning("An event that failed is held until its lease ends: %s", error)

    @staticmethod
    def _complete(claim: Claim, subscription: str, event: Event) -> None:
        complete = partial(claim.inbox.complete, claim.key, token=claim.token, keep=KEEP_SECONDS)
        what = f"That {subscription} has completed event {event.id}"
        if not until_written(complete, what=what):
            logger.warning(
                "%s has completed event %s after its lease had gone to another worker, "
                "which may run it again.", subscription, event.id,
            )  # fmt: skip


def check_once(inbox: Inbox | None, *, asking: str) -> None:
    """Refuse `once=True` where nothing can be remembered.

    Raises:
        ConfigurationError: When there is no inbox.
    """
    if inbox is None:
        raise ConfigurationError(
            f"{asking}: once=True needs an inbox, which remembers events; pass store= or inbox= to the "
            "handler."
        )
