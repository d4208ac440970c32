"""What a driver's error means, and that it shows nothing that is secret."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from fastapi_events.errors import StorageError, StorageFull, StorageNotReady
from fastapi_events.storage.sqlalchemy.errors import Corrupt, translated

SQLITE = sa.make_url("sqlite:////var/events.db")
POSTGRESQL = sa.make_url("postgresql+psycopg://shop:secret@db/events")


class DriverError(Exception):
    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("file is not a database", Corrupt),
        ("database disk image is malformed", Corrupt),
        ("database or disk is full", StorageFull),
        ("attempt to write a readonly database", StorageNotReady),
        ("unable to open database file", StorageNotReady),
        ("no such table: fastapi_events_outbox", StorageNotReady),
        ("database is locked", StorageError),
    ],
)
def test_sqlite_is_known_by_its_words(text: str, kind: type[StorageError]) -> None:
    error = translated(sqlite3.OperationalError(text), SQLITE)

    assert type(error) is kind
    assert text in str(error)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StorageFull), ("53200", StorageFull), ("25006", StorageNotReady),
        ("3D000", StorageNotReady),
        ("42P01", StorageNotReady), ("42703", StorageNotReady), ("42501", StorageNotReady),
        ("40001", StorageError), (None, StorageError),
    ],
)  # fmt: skip
def test_postgresql_is_known_by_its_states(state: str | None, kind: type[StorageError]) -> None:
    assert type(translated(DriverError("it said no", state), POSTGRESQL)) is kind


def test_neither_password_nor_parameters_are_shown() -> None:
    original = DriverError("it said no")
    error = sa.exc.DBAPIError("INSERT", {"payload": "a secret of a customer"}, original)

    text = str(translated(error, POSTGRESQL))

    assert "it said no" in text
    assert "secret" not in text
