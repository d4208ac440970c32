"""What only SQL databases do: the caller's transaction, versions, and faults of files and servers."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.errors import ConfigurationError, StorageError, StorageFull, StorageNotReady
from fastapi_events.storage.base import DONE, NEW
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.journal import Count
from fastapi_events.storage.letters import LetterFilter
from fastapi_events.storage.outbox import Entry
from fastapi_events.storage.sqlalchemy import SqlStore, metadata, schema
from fastapi_events.storage.sqlalchemy.schema import version
from tests.storage.conftest import postgres_url, schema_of_its_own


def entry(id_: str, envelope: str = "{}") -> Entry:
    return Entry(id=id_, destination="h", envelope=envelope)


def letter(id_: str) -> DeadLetter:
    return DeadLetter(
        id=id_, handler="h", subscription="app.feed", queue="events", event_id=f"event-{id_}",
        event_name="cat-woke", argument="{}", reason="ValueError: no fish", traceback="", attempts=1,
        first_at=datetime.now(UTC), last_at=datetime.now(UTC),
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


class TestTheCallersTransaction:
    """An event exists if and only if the caller's transaction commits."""

    def test_commits_it(self, file: SqlStore, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            file.outbox.add_in(connection, [entry("1")])
            assert file.inbox.complete_in(connection, "key", token="a", keep=60) is True
        engine.dispose()
        assert file.outbox.list() == [entry("1")]
        assert file.inbox.begin("key", token="b", lease=60) is DONE

    def test_or_rolls_it_back(self, file: SqlStore, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            file.outbox.add_in(connection, [entry("1")])
            file.inbox.complete_in(connection, "key", token="a", keep=60)
            connection.rollback()
        engine.dispose()
        assert file.outbox.list() == []
        assert file.inbox.begin("key", token="b", lease=60) is NEW

    def test_and_knows_that_the_lease_has_gone(self, file: SqlStore, path: Path) -> None:
        file.inbox.begin("key", token="b", lease=60)
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            assert file.inbox.complete_in(connection, "key", token="a", keep=60) is False
        engine.dispose()

    def test_waits_for_whoever_writes_rather_than_being_refused(self, file: SqlStore, path: Path) -> None:
        """What has read before it writes is refused by SQLite when somebody else has written meanwhile."""
        engine = sa.create_engine(f"sqlite:///{path}")
        wants_to_write = threading.Event()

        @sa.event.listens_for(engine, "connect")
        def without_the_drivers_transactions(connection: Any, _: Any) -> None:
            connection.isolation_level = None

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN")

        @sa.event.listens_for(engine, "before_cursor_execute")
        def tell(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(("INSERT", "UPDATE")):
                wants_to_write.set()

        def add() -> None:
            with engine.begin() as connection:
                file.outbox.add_in(connection, [entry("1")])

        # Given that somebody else is writing
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            added = pool.submit(add)
            assert wants_to_write.wait(30)
            # When they commit
            other.execute("UPDATE fastapi_events_schema SET version = version")
            other.execute("COMMIT")
            # Then it is our turn
            added.result(30)
        other.close()
        engine.dispose()
        assert file.outbox.list() == [entry("1")]


class TestVersions:
    def test_setting_up_twice_is_harmless(self, sql: SqlStore) -> None:
        sql.setup()
        sql.outbox.setup()
        sql.check()
        sql.lanes.check()

    def test_a_newer_one_is_refused(self, sql: SqlStore) -> None:
        sql._database.write(
            lambda connection: connection.execute(sa.update(version).values(version=schema.VERSION + 1))
        )
        sql._database._opened.get().verified = False
        for refused in (sql.check, sql.setup, sql.outbox.status):
            with pytest.raises(StorageNotReady, match="Upgrade"):
                refused()

    @pytest.mark.parametrize("says_version", [True, False])
    def test_an_older_one_is_brought_up_to_this_one_by_setup(self, sql: SqlStore, says_version: bool) -> None:
        sql.outbox.add([entry("1")])
        kept = replace(letter("1"), argument='{"partitionkey":"cat-7"}')
        sql.dead_letters.add(kept)
        [group] = sql.dead_letters.groups()

        def make_old(connection: sa.Connection) -> None:
            connection.execute(sa.update(version).values(version=1) if says_version else sa.delete(version))
            schema.catalogue.drop(connection)
            for index in (
                "dead_letters_group",
                "dead_letters_event",
                "dead_letters_keys",
                "journal_events_latest",
            ):
                connection.exec_driver_sql(f"DROP INDEX fastapi_events_{index}")
            connection.exec_driver_sql("DROP TABLE fastapi_events_journal_counts")
            connection.exec_driver_sql(
                "CREATE TABLE fastapi_events_journal_counts (minute BIGINT NOT NULL, "
                "event_name TEXT NOT NULL, subscription TEXT NOT NULL, measure TEXT NOT NULL, "
                "count BIGINT NOT NULL, "
                "PRIMARY KEY (minute, event_name, subscription, measure))"
            )
            connection.exec_driver_sql(
                "INSERT INTO fastapi_events_journal_counts VALUES (60, 'order', 'cook', 'failed', 3)"
            )
            connection.exec_driver_sql("DROP INDEX fastapi_events_journal_events_keys")
            connection.exec_driver_sql("ALTER TABLE fastapi_events_journal_events DROP COLUMN ordering_key")
            for column in ("fingerprint", "event_key", "ordering_key"):
                connection.exec_driver_sql(f"ALTER TABLE fastapi_events_dead_letters DROP COLUMN {column}")
            events = schema.journal_events.name
            connection.exec_driver_sql(f"CREATE INDEX {events}_time ON {events} (last_at, id)")

        sql._database.write(make_old)
        with pytest.raises(StorageNotReady, match=r"lacks fastapi_events_catalogue.*setup\(\)"):
            sql.check()
        sql.setup()
        sql.check()
        assert sql.catalogue.read("dramatiq:events").listings == ()
        assert sql.outbox.list() == [entry("1")]
        assert sql.dead_letters.groups() == [group]
        assert sql.dead_letters.find("event-1") == [kept]
        assert sql.dead_letters.list(wanted=LetterFilter(ordering_key="cat-7")) == [kept]
        counted = Count(minute=60, event_name="order", subscription="cook", measure="failed", count=3)
        assert sql.journal.counts(datetime.fromtimestamp(0, UTC)) == [counted]
        sql.journal.write([], [counted])
        assert sql.journal.events(ordering_key="cat") == []
        indexes = sql._database.read(
            lambda connection: sa.inspect(connection).get_indexes("fastapi_events_journal_events")
        )
        assert {each["name"] for each in indexes} == {
            str(each.name) for each in schema.journal_events.indexes
        }
        found = sql._database.read(lambda connection: connection.scalar(sa.select(version.c.version)))
        assert found == schema.VERSION

    def test_what_is_missing_is_named(self, sql: SqlStore) -> None:
        sql._database.write(
            lambda connection: connection.exec_driver_sql("DROP TABLE fastapi_events_lane_items"),
            verify=False,
        )
        with pytest.raises(StorageNotReady, match=r"lacks fastapi_events_lane_items\..*setup\(\)"):
            sql.check()

    def test_missing_columns_too(self, sql: SqlStore) -> None:
        sql._database.write(
            lambda connection: connection.exec_driver_sql(
                "ALTER TABLE fastapi_events_dead_letters DROP COLUMN attempts"
            ),
            verify=False,
        )
        with pytest.raises(StorageNotReady, match=r"fastapi_events_dead_letters\.attempts"):
            sql.check()

    def test_tables_that_a_migration_made_need_no_version(self, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}")
        metadata.create_all(engine)
        engine.dispose()
        store = SqlStore(f"sqlite:///{path}")
        store.check()
        store.outbox.add([entry("1")])
        store.close()

    def test_before_setup_a_store_says_so(self, path: Path) -> None:
        store = SqlStore(f"sqlite:///{path}")
        with pytest.raises(StorageNotReady, match="setup"):
            store.outbox.add([entry("1")])
        store.close()


class TestFiles:
    def test_a_full_file_can_still_be_emptied(self, path: Path) -> None:
        # Given a file that may grow to 100 pages
        store = SqlStore(f"sqlite:///{path}", max_page_count=100)
        store.setup()
        # When it is full
        added = 0
        with pytest.raises(StorageFull, match="full"):
            for added in range(1_000):
                store.outbox.add([entry(str(added), "x" * 2_000)])
        # Then what is there comes out, and there is room again
        claimed = store.outbox.claim("relay", destinations=["h"], limit=1_000, lease=60)
        assert [each.id for each in claimed] == [str(number) for number in range(added)]
        assert store.outbox.published("relay", claimed) == added
        store.outbox.add([entry("again")])
        store.close()

    def test_a_locked_file_is_waited_for_and_then_given_up(self, path: Path) -> None:
        store = SqlStore(f"sqlite:///{path}", busy_timeout=0.05)
        store.setup()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            store.outbox.add([entry("1")])
        other.execute("COMMIT")
        store.outbox.add([entry("1")])
        other.close()
        store.close()

    def test_a_file_that_cannot_be_written_says_so(self, file: SqlStore, path: Path) -> None:
        store = SqlStore(f"sqlite:///file:{path}?mode=ro&uri=true")
        for refused in (store.check, lambda: store.outbox.add([entry("1")])):
            with pytest.raises(StorageNotReady, match="writable"):
                refused()
        store.close()

    def test_a_folder_that_is_missing_says_so(self, tmp_path: Path) -> None:
        store = SqlStore(f"sqlite:///{tmp_path / 'missing' / 'events.db'}")
        with pytest.raises(StorageNotReady, match="folder"):
            store.check()
        store.close()

    def test_a_damaged_file_is_refused_and_left_as_it_is(self, path: Path) -> None:
        path.write_bytes(b"no database" * 1_000)
        store = SqlStore(f"sqlite:///{path}")
        for refused in (store.check, store.setup, store.outbox.status):
            with pytest.raises(StorageNotReady, match="damaged"):
                refused()
        store.close()
        assert path.read_bytes() == b"no database" * 1_000

    def test_or_set_aside_where_that_was_asked_for(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.write_bytes(b"no database" * 1_000)
        store = SqlStore.open(path)
        store.outbox.add([entry("1")])
        store.close()
        (kept,) = path.parent.glob("events.db.corrupt-*")
        assert kept.read_bytes() == b"no database" * 1_000
        assert [record.levelname for record in caplog.records] == ["ERROR"]

    def test_so_is_one_that_is_damaged_inside(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        store = SqlStore.open(path)
        store.outbox.add([entry(str(number), "x" * 500) for number in range(500)])
        store.close()
        content = bytearray(path.read_bytes())
        content[len(content) // 4 : len(content) * 3 // 4] = b"\x5a" * (
            len(content) * 3 // 4 - len(content) // 4
        )
        path.write_bytes(bytes(content))
        store = SqlStore.open(path)
        assert store.outbox.list() == []
        store.close()
        assert len(list(path.parent.glob("events.db.corrupt-*"))) == 1
        assert "set aside" in caplog.text

    def test_a_sound_file_is_opened_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "events.db"
        store = SqlStore.open(path, synchronous="FULL")
        store.outbox.add([entry("1")])
        store.close()
        store = SqlStore.open(path)
        assert store.outbox.list() == [entry("1")]
        store.close()
        assert [each.name for each in path.parent.iterdir()] == ["events.db"]

    def test_of_two_that_open_a_damaged_file_at_once_one_sets_it_aside(self, path: Path) -> None:
        store = SqlStore.open(path)
        store.outbox.add([entry(str(number)) for number in range(200)])
        store.close()
        damaged = bytearray(path.read_bytes())
        damaged[4_096:] = b"\xff" * (len(damaged) - 4_096)
        path.write_bytes(damaged)

        with ThreadPoolExecutor(4) as pool:
            for store in pool.map(SqlStore.open, [path] * 4):
                store.close()

        assert len(list(path.parent.glob("events.db.corrupt-*[Z]"))) == 1

    def test_a_newer_file_is_not_set_aside(self, path: Path) -> None:
        store = SqlStore.open(path)
        store._database.write(lambda connection: connection.execute(sa.update(version).values(version=9)))
        store.close()
        with pytest.raises(StorageNotReady, match="Upgrade"):
            SqlStore.open(path)
        assert path.exists()

    @pytest.mark.parametrize("mode", ["NORMAL", "FULL"])
    def test_files_have_a_log_and_the_safety_that_was_asked_for(self, path: Path, mode: Any) -> None:
        store = SqlStore(f"sqlite:///{path}", synchronous=mode)
        store.setup()
        asked = store._database.read(
            lambda connection: [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous")
            ]
        )
        assert asked == ["wal", {"NORMAL": 1, "FULL": 2}[mode]]
        store.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        SqlStore(url)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("mysql+pymysql://localhost/events", "mysql"),
        ("redis://localhost/0", "redis"),
        ("postgressql://h/d", "postgressql"),
    ],
)
def test_another_kind_of_database_is_refused(url: str, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"needs SQLite or PostgreSQL, not {kind}"):
        SqlStore(url)


def test_a_file_of_sqlite_with_two_slashes_is_refused_with_the_cure() -> None:
    with pytest.raises(ConfigurationError, match=r"three slashes, sqlite:///events\.db"):
        SqlStore("sqlite://events.db")


def test_errors_show_no_password_and_no_payload() -> None:
    store = SqlStore("postgresql://cat:s3cret@127.0.0.1:1/events")
    with pytest.raises(StorageError) as caught:
        store.outbox.add([entry("1", "a payload")])
    assert "s3cret" not in str(caught.value)
    assert "a payload" not in str(caught.value.__cause__)
    store.close()


@pytest.mark.postgres
class TestPostgreSQL:
    def test_another_processs_events_are_heard_of(self) -> None:
        with schema_of_its_own() as schema:
            url = f"{postgres_url()}?options=-csearch_path%3D{schema}"
            # Given a relay that waits, and another process, which is here a store of its own
            relay, web = SqlStore(url), SqlStore(url)
            relay.setup()
            relay.outbox.wait(0)
            waited = threading.Thread(target=relay.outbox.wait, args=(100,))
            began = time.monotonic()
            waited.start()
            # When something is added, then the relay need not wait to the end
            web.outbox.add([entry("1")])
            waited.join()
            assert time.monotonic() - began < 90
            relay.close()
            web.close()

    def test_waiting_survives_a_broken_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        with schema_of_its_own() as schema:
            store = SqlStore(f"{postgres_url()}?options=-csearch_path%3D{schema}")
            store.setup()
            store.outbox.wait(0)
            listening: Any = store.outbox._notifications._listening.get().connection
            listening.close()
            store.outbox.wait(0)
            assert "notifications failed" in caplog.text
            store.outbox.wait(0)
            store.close()

    def test_a_read_only_server_says_so(self) -> None:
        with schema_of_its_own() as schema:
            options = f"-csearch_path%3D{schema}%20-cdefault_transaction_read_only%3Don"
            store = SqlStore(f"{postgres_url()}?options={options}")
            with pytest.raises(StorageNotReady, match="primary"):
                store.setup()
            primary = SqlStore(f"{postgres_url()}?options=-csearch_path%3D{schema}")
            primary.setup()
            primary.close()
            with pytest.raises(StorageNotReady, match="primary"):
                store.check()
            store.close()
