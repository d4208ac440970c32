"""Pausing the subscriptions of a handler, on all of its workers."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Sequence
from datetime import timedelta

from fastapi_events import checks
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.task_queue.announcement import Member
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.storage.catalogue import Catalogue, Pause


class Pausing:
    """Pauses and resumes subscriptions of a handler.

    Parameters:
        member: The handler.
        fleet: What this process knows of its workers.
    """

    def __init__(self, member: Member, fleet: Fleet) -> None:
        self._member = member
        self._fleet = fleet

    def pause(self, subscription: str, *, duration: float | timedelta | None, by: str | None) -> Pause:
        """Pause a subscription; see `TaskQueueHandler.pause`."""
        seconds = checks.seconds_or_none("duration", duration, positive=True)
        catalogue = self._catalogue()
        self._check_name(catalogue, subscription)
        made = catalogue.pause(
            self._member.name, subscription, duration=seconds, by=_this_process() if by is None else by
        )
        self._fleet.refresh()
        return made

    def resume(self, subscription: str) -> bool:
        """Let a subscription go on; see `TaskQueueHandler.resume`."""
        catalogue = self._catalogue()
        resumed = catalogue.resume(self._member.name, subscription)
        if not resumed:
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


def _this_process() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"
