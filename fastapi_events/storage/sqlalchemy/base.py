"""What the stores of one database share."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Hashable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from fastapi_events.storage.base import Store
from fastapi_events.storage.sqlalchemy import schema
from fastapi_events.storage.sqlalchemy.database import Database

CHUNK = 500
"""Rows that one statement names: SQLite allows about 1,000 parameters where it is old."""


_LAST_CHARACTER = "\U0010ffff"

BATCH = 1_000
"""Rows that one transaction removes."""


class SqlPart(Store):
    """A store that lives in a database; the tables of all are created and verified together."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def setup(self) -> None:
        self._database.write(schema.create, verify=False)

    def check(self) -> None:
        self._database.write(_check, verify=False)

    def close(self) -> None:
        self._database.close()

    @property
    def place(self) -> Hashable:
        target = self._database.target
        return self._database.url if isinstance(target, (str, sa.URL)) else target

    def shares_database(self, url: sa.URL) -> bool:
        """Whether a connection to a URL reaches this store's tables, whatever driver or user goes there."""
        return _place(url) == _place(self._database.url)


class Room:
    """How many rows may still be added, without counting them each time.

    Counting a million rows takes a while, so after each count half of the room is given out before the next.
    It is an estimate where several processes add.
    """

    def __init__(self, table: sa.Table, limit: int) -> None:
        self._table = table
        self._limit = limit
        self._left = 0
        self._lock = threading.Lock()

    def has(self, connection: sa.Connection, rows: int) -> bool:
        """Whether so many rows may be added; to be asked in the transaction that adds them."""
        with self._lock:
            self._left -= rows
            if self._left >= 0:
                return True
        some = sa.select(sa.literal(1)).select_from(self._table).limit(self._limit).subquery()
        room = self._limit - (connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0)
        with self._lock:
            self._left = (room - rows) // 2
        return room >= rows


def among(
    connection: sa.Connection, column: sa.ColumnElement[Any], values: Collection[Any]
) -> sa.ColumnElement[bool]:
    """The condition that a column has one of these values.

    PostgreSQL gets them as one parameter: hundreds of them take longer to be read than to be looked for.
    """
    if connection.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(column.type)))
    return column.in_(values)


def begins_with(
    database: Database, column: sa.ColumnElement[str], prefix: str
) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition that a column of type `InBytes` begins with a prefix, in a form that uses its index."""
    if database.dialect == "postgresql":
        column = column.collate("C")
    return column >= prefix, column < f"{prefix}{_LAST_CHARACTER}"


def delete_in_batches(database: Database, key: sa.Column[str], condition: sa.ColumnElement[bool]) -> int:
    """Remove the rows that fulfil a condition, in transactions short enough to disturb nobody."""
    some = sa.select(key).where(condition).limit(BATCH).scalar_subquery()
    statement = sa.delete(key.table).where(key.in_(some))
    count = 0
    while True:
        removed = database.write(lambda connection: connection.execute(statement).rowcount)
        count += removed
        if removed < BATCH:
            return count


def _place(url: sa.URL) -> tuple[object, ...]:
    """What tells databases apart."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return backend, os.path.abspath(url.database or "")
    return backend, url.host or url.query.get("host"), url.port or url.query.get("port"), url.database


def _check(connection: sa.Connection) -> None:
    schema.verify(connection)
    # Changes nothing, but a database that must not be written to refuses it.
    connection.execute(sa.update(schema.version).where(sa.false()).values(version=schema.VERSION))
