"""The gate before a subscription: shut while it is paused, and shut by errors that ask for a pause."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastapi_events import clock
from fastapi_events.errors import leaves
from fastapi_events.handlers.task_queue.audit import Audit
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.worker.outcome import TryLater
from fastapi_events.storage.catalogue import Catalogue, Pause
from fastapi_events.storage.memory import MemoryCatalogue
from fastapi_events.subscriptions.subscription import Subscription

logger: logging.Logger = logging.getLogger(__name__)

SHORTEST_LOOK_SECONDS = 2.0
"""How long a message to a subscription that has just been paused waits until it is looked at again."""

LONGEST_LOOK_SECONDS = 15.0
"""How long one waits at most whose subscription has been paused for a while."""

TRIAL_SECONDS = 30.0
"""When another event is tried, where nothing has been heard of the one that is."""

_AFTER_THE_END_SECONDS = 0.1


class PauseGate:
    """Lets events to their subscription unless it is paused, and pauses it on the errors of `pause_on`.

    After such a pause one event is tried: when its function does not raise one of these errors, all go on.

    Parameters:
        handler: The handler's name.
        fleet: Knows what is paused.
        audit: Gets to know when a subscription pauses itself.
    """

    def __init__(self, handler: str, fleet: Fleet, audit: Audit) -> None:
        self._handler = handler
        self._fleet = fleet
        self._audit = audit
        self._own = MemoryCatalogue(clock=clock.timestamp)

    @contextmanager
    def passing(self, subscription: Subscription) -> Iterator[None]:
        """A block that runs the subscription.

        Raises:
            TryLater: When it is paused; or when it has just paused itself.
        """
        is_trial = self._enter(subscription)
        try:
            yield
        except TryLater:
            raise
        except Exception as error:
            [seen] = self.seen(subscription, [error])
            if seen is not error:
                assert seen is not None  # noqa: S101 - for the type checker
                raise seen from error
            if is_trial:
                self._go_on(subscription)
            raise
        if is_trial:
            self._go_on(subscription)

    def seen(self, subscription: Subscription, errors: Sequence[Exception | None]) -> list[Exception | None]:
        """What becomes of the errors of some events; where one asks for a pause it is paused."""
        if not subscription.pause_on:
            return list(errors)
        asking = [each is not None and _is_of(each, subscription.pause_on) for each in errors]
        first = next((each for each, asks in zip(errors, asking, strict=True) if asks), None)
        if first is None:
            return list(errors)
        wait = self._pause(subscription, first)
        return [TryLater(wait) if asks else each for each, asks in zip(errors, asking, strict=True)]

    def _enter(self, subscription: Subscription) -> bool:
        """Whether the event is the one that is tried."""
        found = self._pause_of(subscription)
        if found is None:
            return False
        pause, now = found
        if pause.until is not None and now >= pause.until:
            if not pause.half_open:
                return False
            if (pause.trial_until is None or now >= pause.trial_until) and self._try_one(subscription):
                return True
        raise TryLater(_look_again_after(pause, now))

    def _pause_of(self, subscription: Subscription) -> tuple[Pause, float] | None:
        """How a subscription is paused, and the time by the clock that says so."""
        found = self._fleet.pause_of(subscription.name)
        if found is None and subscription.pause_on and self._fleet.catalogue is None:
            known = self._own.read(self._handler)
            paused = [each for each in known.paused if each.subscription == subscription.name]
            return (paused[0], known.now) if paused else None
        return found

    @property
    def _catalogue(self) -> Catalogue:
        """The fleet's catalogue; without one, each process pauses for itself."""
        return self._fleet.catalogue or self._own

    def _pause(self, subscription: Subscription, error: Exception) -> float:
        """Pause a subscription; seconds until the event that met the error is looked at again."""
        name, seconds = subscription.name, subscription.pause_for
        kind = type(next(each for each in leaves(error) if isinstance(each, subscription.pause_on))).__name__
        try:
            before = self._pause_of(subscription)
            made = self._catalogue.pause(self._handler, name, duration=seconds, by=kind, half_open=True)
        except Exception as refused:  # of a store that is away: this event waits, and others find out
            logger.warning(
                "%s has raised %s, and its pause cannot be kept: %s: %s",
                name, kind, type(refused).__name__, refused,
            )  # fmt: skip
            return min(seconds, LONGEST_LOOK_SECONDS)
        self._fleet.refresh()
        if before is None or (before[0].until is not None and before[1] >= before[0].until):
            logger.warning(
                "%s has raised %s, and starts nothing for %.0f s; then one event is tried.",
                name, kind, seconds,
            )  # fmt: skip
            self._audit.note("paused", name, by=kind)
        return min(_look_again_after(made, made.since), seconds + _AFTER_THE_END_SECONDS)

    def _try_one(self, subscription: Subscription) -> bool:
        try:
            tried = self._catalogue.try_one(self._handler, subscription.name, lease=TRIAL_SECONDS)
        except Exception as error:  # of a store that is away: what is known stays in force
            logger.debug("No event of %s can be tried: %s", subscription.name, error)
            return False
        self._fleet.refresh()
        return tried

    def _go_on(self, subscription: Subscription) -> None:
        try:
            resumed = self._catalogue.go_on(self._handler, subscription.name)
        except Exception as error:  # another event is tried
            logger.debug("%s stays paused: %s", subscription.name, error)
            return
        if resumed:
            self._fleet.refresh()
            logger.info("%s goes on.", subscription.name)
            self._audit.note("resumed", subscription.name, by="an event that was tried")


def _is_of(error: Exception, kinds: tuple[type[BaseException], ...]) -> bool:
    return any(isinstance(each, kinds) for each in (error, *leaves(error)))


def _look_again_after(pause: Pause, now: float) -> float:
    # The longer it is paused already, the less often its messages are looked at.
    wait = min(max((now - pause.since) / 10, SHORTEST_LOOK_SECONDS), LONGEST_LOOK_SECONDS)
    wait *= random.uniform(0.75, 1.25)  # noqa: S311 - so that not all come back at once
    if pause.until is None or now >= pause.until:
        return wait
    return min(wait, pause.until - now + _AFTER_THE_END_SECONDS)
