"""All stores in one database."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_events import checks
from fastapi_events.storage.base import Clock
from fastapi_events.storage.dead_letters import MAX_LETTERS
from fastapi_events.storage.journal import KEEP, MAX_EVENTS
from fastapi_events.storage.lanes import MAX_LANE_ITEMS
from fastapi_events.storage.outbox import MAX_ENTRIES
from fastapi_events.storage.sqlalchemy.base import SqlPart
from fastapi_events.storage.sqlalchemy.catalogue import SqlCatalogue
from fastapi_events.storage.sqlalchemy.database import Database
from fastapi_events.storage.sqlalchemy.dead_letters import SqlDeadLetters
from fastapi_events.storage.sqlalchemy.errors import Corrupt
from fastapi_events.storage.sqlalchemy.inbox import SqlInbox
from fastapi_events.storage.sqlalchemy.journal import SqlJournal
from fastapi_events.storage.sqlalchemy.lanes import SqlLanes
from fastapi_events.storage.sqlalchemy.outbox import SqlOutbox
from fastapi_events.storage.sqlalchemy.sqlite import SqliteOptions, Synchronous, alone_with, set_aside


@checks.names_parameters
class SqlStore(SqlPart):
    """All stores in one database, a SQLite file or PostgreSQL.

    Parameters:
        target: A URL (`sqlite:///events.db`, `postgresql://…`), or an engine, sync or async, whose database
            is used with connections of our own.
        synchronous: SQLite only: `NORMAL` survives the death of every process, `FULL` a power cut as well.
        busy_timeout: SQLite only: seconds to wait for another process that writes.
        max_page_count: SQLite only: pages that the file may have before nothing more is added.
        max_entries: Events that the outbox holds at most.
        max_letters: Dead letters that are kept at most.
        edit_letters: Whether commands may replay a dead letter with another payload.
        max_items: Items that wait in one lane at most.
        keep: How long the journal keeps an event after the last that happened to it.
        max_events: Events that the journal keeps at most.
        clock: Tells the time; the database server, or the system, if not given.

    Raises:
        ConfigurationError: When it is a database that cannot keep our tables.
        MissingDependencyError: When its driver is not installed.
    """

    def __init__(
        self,
        target: sa.Engine | AsyncEngine | sa.URL | str,
        *,
        synchronous: Synchronous = "NORMAL",
        busy_timeout: float = 5.0,
        max_page_count: int | None = None,
        max_entries: int = MAX_ENTRIES,
        max_letters: int = MAX_LETTERS,
        edit_letters: bool = False,
        max_items: int = MAX_LANE_ITEMS,
        keep: timedelta | float = KEEP,
        max_events: int = MAX_EVENTS,
        clock: Clock | None = None,
    ) -> None:
        options = SqliteOptions(
            synchronous=synchronous, busy_timeout=busy_timeout, max_page_count=max_page_count
        )
        self._database = Database(target, options, checks.callable_or_none("clock", clock))
        self.outbox: SqlOutbox = SqlOutbox(self._database, max_entries=max_entries)
        self.inbox: SqlInbox = SqlInbox(self._database)
        self.dead_letters: SqlDeadLetters = SqlDeadLetters(
            self._database, max_letters=max_letters, edit_letters=edit_letters
        )
        self.lanes: SqlLanes = SqlLanes(self._database, max_items=max_items)
        self.catalogue: SqlCatalogue = SqlCatalogue(self._database)
        self.journal: SqlJournal = SqlJournal(self._database, keep=keep, max_events=max_events)

    @classmethod
    def open(cls, path: str | os.PathLike[str], **settings: Any) -> SqlStore:
        """The store in a SQLite file, which is made if it is missing.

        A damaged file is set aside under another name, and a new one is begun; to know, the whole file is
        read.

        Parameters:
            settings: As for the class.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        store = cls(sa.URL.create("sqlite", database=str(path)), **settings)
        with alone_with(path):
            try:
                store._database.write(_look_for_damage, verify=False)
            except Corrupt:
                store.close()
                set_aside(path)
            try:
                store.setup()
                store.check()
            except BaseException:
                store.close()
                raise
        return store

    def close(self) -> None:
        """Close the connections of this process; the next call opens them again."""
        self.outbox.close()


def _look_for_damage(connection: sa.Connection) -> None:
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise Corrupt(f"SQLite has found damage: {found}")
