"""Row 27: the outbox's file is corrupt, of a newer version, or cannot be made."""

from __future__ import annotations

import sqlite3

from tests.faults.conftest import Row
from tests.faults.results import Result, record
from tests.faults.running import PATIENCE_SECONDS

CORRUPT = "outbox file corrupt"
NEWER = "outbox file of a newer version"
UNWRITABLE = "outbox file that cannot be made"


def test_a_corrupt_file_is_set_aside(one_row: Row) -> None:
    # Given a file in which events wait, and which is then damaged
    row, shop = one_row, one_row.shop()
    web = shop.start_web()
    row.broker.kill()
    placed = shop.place(50)
    shop.wait_until(lambda: len(shop.stored()) == 50, "the events in the outbox")
    shop.kill(web)
    file = shop.folder / "events.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    damaged = bytearray(file.read_bytes())
    damaged[4_096 : len(damaged) // 2] = b"\xff" * (len(damaged) // 2 - 4_096)
    file.write_bytes(damaged)

    # When the shop opens again
    row.broker.start()
    shop.history.owed.clear()
    shop.start()
    shop.place(50)

    # Then it works, and the damaged file is there under another name, as it was
    verdict = shop.settle()
    row.record(27, CORRUPT, "outbox", verdict)
    assert placed
    assert not verdict.lost, shop.logs()
    [kept] = shop.folder.glob("events.db.corrupt-*Z")
    assert kept.read_bytes() == bytes(damaged)


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(one_row: Row) -> None:
    shop = one_row.shop()
    web = shop.start_web()
    shop.kill(web)
    file = shop.folder / "events.db"
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE fastapi_events_schema SET version = 99")
    connection.close()

    web = shop._start("web", ["uvicorn", "tests.faults.shop.web:app"], {})

    assert web.wait(PATIENCE_SECONDS) != 0
    assert "have version 99, this release knows version" in shop.logs()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version FROM fastapi_events_schema").fetchone() == (99,)
    connection.close()
    record(Result(row=27, fault=NEWER, mode="refuses to start"))


def test_a_file_that_cannot_be_made_is_refused(one_row: Row) -> None:
    shop = one_row.shop(store_url="sqlite:////proc/events.db")

    web = shop._start("web", ["uvicorn", "tests.faults.shop.web:app"], {})

    assert web.wait(PATIENCE_SECONDS) != 0
    assert "unable to open database file" in shop.logs()
    record(Result(row=27, fault=UNWRITABLE, mode="refuses to start"))
