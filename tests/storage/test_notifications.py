"""Waiting for the outbox: who listens to PostgreSQL, and what a connection that fails is allowed to cost."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from fastapi_events.storage.base import Bell
from fastapi_events.storage.sqlalchemy.notifications import CHANNEL, Notifications, notify

AT_ONCE = 0.0
LONG = 30.0


class Connection:
    """A connection of the driver's, which is told what the server would tell it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.autocommit = False
        self.closed = False
        self.failing: Exception | None = None
        self.asked = threading.Event()
        self.notified = threading.Event()
        self.notified.set()

    def rollback(self) -> None:
        self.log.append("rollback")

    def execute(self, statement: str) -> None:
        if self.failing is not None:
            raise self.failing
        self.log.append(statement)

    def notifies(self, *, timeout: float, stop_after: int) -> Iterator[str]:
        self.log.append(f"notifies within {timeout} s, at most {stop_after}")
        self.asked.set()
        if self.failing is not None:
            raise self.failing
        assert self.notified.wait(30)
        yield "notification"

    def close(self) -> None:
        self.closed = True


class Server:
    """Stands for the database: its driver, and an engine that hands out connections."""

    def __init__(self, driver: str = "psycopg") -> None:
        self.driver = driver
        self.handed_out: list[Connection] = []
        self.detached = 0
        self.failing: Exception | None = None

    @property
    def engine(self) -> Server:
        return self

    def raw_connection(self) -> Server:
        if self.failing is not None:
            raise self.failing
        self.handed_out.append(Connection())
        return self

    @property
    def driver_connection(self) -> Connection:
        return self.handed_out[-1]

    def detach(self) -> None:
        self.detached += 1


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def notifications(server: Server, bell: Bell) -> Iterator[Notifications]:
    database: Any = server
    notifications = Notifications(database, bell)
    yield notifications
    for connection in server.handed_out:
        connection.notified.set()


def in_thread(call: Any) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


# Listening


def test_who_begins_to_listen_looks_into_the_outbox_first(
    server: Server, notifications: Notifications
) -> None:
    notifications.wait(LONG)  # returns: something may have been added before we listened

    [connection] = server.handed_out
    assert connection.log == ["rollback", f"LISTEN {CHANNEL}"]
    assert connection.autocommit
    assert server.detached == 1  # the pool does not get it back, nor count it


def test_who_listens_returns_at_a_notification(server: Server, notifications: Notifications) -> None:
    notifications.wait(LONG)
    notifications.wait(LONG)

    [connection] = server.handed_out
    assert connection.log[2:] == ["notifies within 30.0 s, at most 1"]


def test_what_this_process_has_added_is_not_waited_for(
    server: Server, notifications: Notifications, bell: Bell
) -> None:
    notifications.wait(LONG)
    bell.ring()

    notifications.wait(LONG)
    assert not server.handed_out[0].asked.is_set()

    notifications.wait(LONG)
    assert server.handed_out[0].asked.is_set()  # it has heard of that by now


def test_one_thread_listens_and_others_hear_the_bell(
    server: Server, notifications: Notifications, bell: Bell
) -> None:
    # Given a thread that waits for the server
    notifications.wait(LONG)
    [connection] = server.handed_out
    connection.notified.clear()
    listens = in_thread(lambda: notifications.wait(LONG))
    assert connection.asked.wait(10)

    # When another one waits, and something is added in this process
    other = in_thread(lambda: notifications.wait(LONG))
    bell.ring()

    # Then it hears of it, without a connection of its own
    other.join(10)
    assert not other.is_alive()
    assert listens.is_alive()
    assert len(server.handed_out) == 1
    connection.notified.set()
    listens.join(10)


@pytest.mark.parametrize("driver", ["pysqlite", "asyncpg", "psycopg_async"])
def test_with_another_driver_there_is_the_bell(bell: Bell, driver: str) -> None:
    database: Any = Server(driver)
    notifications = Notifications(database, bell)
    bell.ring()

    notifications.wait(LONG)

    assert not bell.wait(AT_ONCE)  # it has been heard
    assert database.handed_out == []


# Failing


def test_a_connection_that_fails_is_closed_and_the_next_wait_opens_another(
    server: Server, notifications: Notifications, bell: Bell, caplog: pytest.LogCaptureFixture
) -> None:
    notifications.wait(LONG)
    first = server.handed_out[0]
    first.failing = OSError("connection to postgresql://user:secret@db lost")

    with caplog.at_level(logging.WARNING):
        notifications.wait(AT_ONCE)
    notifications.wait(LONG)

    assert first.closed
    assert [each.closed for each in server.handed_out] == [True, False]
    assert "notifications failed: OSError" in caplog.text
    assert "secret" not in caplog.text


def test_while_there_is_no_server_the_bell_is_heard_and_the_log_has_it_once(
    server: Server, notifications: Notifications, bell: Bell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.failing = OSError("refused")
    for _ in range(3):
        bell.ring()
        notifications.wait(LONG)
    assert server.handed_out == []

    server.failing = None
    notifications.wait(LONG)

    assert caplog.messages == [
        "Waiting for PostgreSQL's notifications failed: OSError",
        "PostgreSQL's notifications are heard again.",
    ]


def test_a_connection_that_cannot_listen_is_not_kept(
    server: Server, notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "execute", lambda self, statement: 1 / 0)
    notifications.wait(AT_ONCE)
    monkeypatch.undo()

    notifications.wait(AT_ONCE)

    assert [each.closed for each in server.handed_out] == [True, False]


def test_one_that_fails_even_to_close_harms_nobody(
    server: Server, notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifications.wait(LONG)
    monkeypatch.setattr(Connection, "close", lambda self: 1 / 0)

    notifications.close()


# Ending


def test_closing_closes_the_connection_and_the_next_wait_opens_another(
    server: Server, notifications: Notifications
) -> None:
    notifications.wait(LONG)
    notifications.close()
    assert server.handed_out[0].closed

    notifications.wait(LONG)

    assert [each.closed for each in server.handed_out] == [True, False]
    notifications.wait(LONG)  # and it is kept
    assert len(server.handed_out) == 2


def test_a_thread_that_waits_closes_the_connection_itself(
    server: Server, notifications: Notifications
) -> None:
    notifications.wait(LONG)
    [connection] = server.handed_out
    connection.notified.clear()
    waits = in_thread(lambda: notifications.wait(LONG))
    assert connection.asked.wait(10)

    notifications.close()
    assert not connection.closed  # it is in use

    connection.notified.set()
    waits.join(10)
    assert connection.closed


def test_what_was_never_open_can_be_closed(server: Server, notifications: Notifications) -> None:
    notifications.close()

    assert server.handed_out == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_opens_its_own_and_closes_none_of_its_parents(
    server: Server, notifications: Notifications
) -> None:
    notifications.wait(LONG)
    child = os.fork()
    if child == 0:
        good = False
        try:
            notifications.close()
            inherited = server.handed_out[0]
            good = not inherited.closed
            notifications.wait(LONG)
            good = good and len(server.handed_out) == 2 and not inherited.closed
            notifications.close()
            good = good and server.handed_out[1].closed and not inherited.closed
        finally:
            os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


# Telling


def test_only_postgresql_is_told() -> None:
    class Transaction:
        def __init__(self, dialect: str) -> None:
            self.dialect = sa.make_url(f"{dialect}://").get_dialect()()
            self.executed: list[str] = []

        def execute(self, statement: Any) -> None:
            self.executed.append(str(statement.compile(compile_kwargs={"literal_binds": True})))

    postgresql, sqlite = Transaction("postgresql+psycopg"), Transaction("sqlite")
    for each in (postgresql, sqlite):
        transaction: Any = each
        notify(transaction)

    [told] = postgresql.executed
    assert "pg_notify('fastapi_events_outbox', '')" in told
    assert sqlite.executed == []
