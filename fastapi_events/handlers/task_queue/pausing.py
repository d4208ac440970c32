"""Pausing the subscriptions of a handler, on all of its workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue.announcement import Member
from fastapi_events.handlers.task_queue.audit import Audit, this_person
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.storage.catalogue import Catalogue, Pause


class Pausing:
    """Pauses and resumes subscriptions of a handler.

    Parameters:
        member: The handler.
        fleet: What this process knows of its workers.
        audit: Gets to know who does it.
    """

    def __init__(self, member: Member, fleet: Fleet, audit: Audit) -> None:
        self._member = member
        self._fleet = fleet
        self._audit = audit

    def pause(self, subscription: str, *, duration: float | timedelta | None, by: str | None) -> Pause:
        """Pause a subscription; see `TaskQueueHandler.pause`."""
        seconds = checks.seconds_or_none("duration", duration, positive=True)
        catalogue = self._catalogue()
        self._check_name(catalogue, subscription)
        by = this_person() if by is None else by
        made = catalogue.pause(self._member.name, subscription, duration=seconds, by=by)
        self._fleet.refresh()
        self._audit.note("paused", subscription, by=by)
        return made

    def resume(self, subscription: str, *, by: str | None) -> bool:
        """Let a subscription go on; see `TaskQueueHandler.resume`."""
        catalogue = self._catalogue()
        resumed = catalogue.resume(self._member.name, subscription)
        if resumed:
            self._audit.note("resumed", subscription, by=by)
        else:
            self._check_name(catalogue, subscription)
        self._fleet.refresh()
        return resumed

    def paused(self) -> Sequence[Pause]:
        """The subscriptions that are paused; see `TaskQueueHandler.paused`."""
        return self._catalogue().read(self._member.name).paused

    def _catalogue(self) -> Catalogue:
        catalogue = self._member.catalogue
        if catalogue is None:
            raise ConfigurationError(
                f"{self._member.name} has no catalogue, in which its workers would find what is paused; pass "
                "store= or catalogue= to it."
            )
        return catalogue

    def _check_name(self, catalogue: Catalogue, subscription: str) -> None:
        known = {each.name for each in self._member.subscriptions}
        if subscription in known:
            return
        known |= {each.name for each in catalogue.read(self._member.name).listings}
        if subscription not in known:
            hint = checks.guess(subscription, known)
            raise ConfigurationError(
                f"{self._member.name} has no subscription {subscription!r}{'; ' + hint if hint else '.'}"
            )
