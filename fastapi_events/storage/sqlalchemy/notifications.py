"""Who waits for the outbox hears of what other processes add: PostgreSQL tells them (LISTEN and NOTIFY)."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any

import sqlalchemy as sa

from fastapi_events.per_process import PerProcess
from fastapi_events.storage.base import Bell
from fastapi_events.storage.sqlalchemy.database import Database

logger: logging.Logger = logging.getLogger(__name__)

CHANNEL = "fastapi_events_outbox"

# Only psycopg can wait for a notification in a thread; with another driver there is the polling.
_DRIVER = "psycopg"


def notify(connection: sa.Connection) -> None:
    """Tell those who wait, once the transaction has committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))


class _Listening:
    """The connection on which one process listens."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Any = None
        self.closed = threading.Event()
        self.fails = False

    def drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is broken already
                connection.close()


class Notifications:
    """Waits for the ring of this process's bell, or for another process's notification.

    One thread listens at a time; others hear the bell. That a connection fails makes waiting slower, no more:
    callers look into the outbox anyway.
    """

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._listening = PerProcess(_Listening)

    def wait(self, timeout: float) -> None:
        """Return at a notification, or after so many seconds."""
        listening = self._listening.get()
        if self._database.driver != _DRIVER or not listening.lock.acquire(blocking=False):
            self._bell.wait(timeout)
            return
        try:
            self._listen(listening, timeout)
        except Exception as error:  # of the driver; who waits has nothing to do with it
            if not listening.fails:  # once, and not at each wait of a long outage
                logger.warning("Waiting for PostgreSQL's notifications failed: %s", type(error).__name__)
            listening.fails = True
            listening.drop()
            self._bell.wait(timeout)
        else:
            if listening.fails:
                logger.info("PostgreSQL's notifications are heard again.")
            listening.fails = False
        finally:
            if listening.closed.is_set():
                listening.drop()
            listening.lock.release()

    def close(self) -> None:
        """Close the connection; a thread that is waiting just now does so when it has done."""
        listening = self._listening.made
        if listening is not None:
            listening.closed.set()
            if listening.lock.acquire(blocking=False):
                listening.drop()
                listening.lock.release()

    def _listen(self, listening: _Listening, timeout: float) -> None:
        listening.closed.clear()
        if listening.connection is None:
            pooled = self._database.engine.raw_connection()
            connection: Any = pooled.driver_connection
            pooled.detach()
            listening.connection = connection
            connection.rollback()
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            return  # something may have been added before we listened
        if self._bell.wait(0):
            return
        for _ in listening.connection.notifies(timeout=timeout, stop_after=1):
            pass
