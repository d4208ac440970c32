"""What each connection to a SQLite file is like, and what becomes of a damaged one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.storage.sqlalchemy.sqlite import GROWS, SqliteOptions, prepare, set_aside


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'events.db'}")
    yield engine
    engine.dispose()


def pragma(connection: sa.Connection, name: str) -> Any:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_a_connection_writes_ahead_and_waits_for_others(
    engine: sa.Engine, synchronous: Any, number: int
) -> None:
    prepare(engine, SqliteOptions(synchronous=synchronous, busy_timeout=1.5))

    with engine.connect() as connection:
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "busy_timeout") == 1_500
        assert pragma(connection, "synchronous") == number


def test_what_empties_a_full_file_has_more_room_than_what_fills_it(engine: sa.Engine) -> None:
    prepare(engine, SqliteOptions(max_page_count=100))

    with engine.connect() as connection:
        emptying = pragma(connection, "max_page_count")
    with engine.connect().execution_options(**{GROWS: True}) as connection:
        filling = pragma(connection, "max_page_count")

    assert (filling, emptying) == (100, 356)


def test_a_damaged_file_and_its_log_are_kept_under_another_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"damaged")
    (tmp_path / "events.db-wal").write_bytes(b"log")

    kept = set_aside(path)

    assert kept.read_bytes() == b"damaged"
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"log"
    assert list(tmp_path.glob("events.db")) == []
    assert kept.name.startswith("events.db.corrupt-")
    assert str(kept) in caplog.text
