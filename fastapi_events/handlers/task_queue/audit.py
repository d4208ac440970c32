"""Who did what to a handler's events: replayed, discarded, paused."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import time

from fastapi_events.errors import StorageError
from fastapi_events.storage.journal import Action, Journal

logger: logging.Logger = logging.getLogger(__name__)


class Audit:
    """Keeps what people do in the journal, and says it in the log.

    Parameters:
        handler: The handler's name.
        journal: Where it is kept, if there is one.
    """

    def __init__(self, handler: str, journal: Journal | None) -> None:
        self._handler = handler
        self._journal = journal

    def note(self, what: str, subject: str, *, count: int = 1, by: str | None = None) -> None:
        """Keep what somebody has done; where the journal is away the log alone has it.

        Parameters:
            what: What was done, as a past participle.
            subject: To which events, or to what.
            count: To how many.
            by: Who did it; the user of this process if not given.
        """
        who = by or this_person()
        logger.info("%s %s %s of %s: %d", who, what, subject, self._handler, count)
        if self._journal is None:
            return
        action = Action(
            at=time.time(), by=who, what=what, handler=self._handler, subject=subject, count=count
        )
        try:
            self._journal.note(action)
        except StorageError as error:
            logger.warning("What %s did is in the log only, the journal is away: %s", who, error)


def this_person() -> str:
    """The user of this process, and the machine: who does what is done by a command."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        name = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{name}@{socket.gethostname()}"
