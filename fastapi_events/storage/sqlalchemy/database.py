"""One database, its connections, and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fastapi_events.errors import ConfigurationError, InvalidSetting, MissingDependencyError, StorageError
from fastapi_events.per_process import PerProcess
from fastapi_events.process_loop import process_loop
from fastapi_events.storage.base import CLOCK_SLACK_SECONDS, Clock
from fastapi_events.storage.sqlalchemy import schema
from fastapi_events.storage.sqlalchemy.errors import translated
from fastapi_events.storage.sqlalchemy.forking import gate
from fastapi_events.storage.sqlalchemy.sqlite import GROWS, SqliteOptions, prepare

T = TypeVar("T")

Seconds = sa.ColumnElement[float]

_POOL = {"pool_size": 5, "max_overflow": 5, "pool_timeout": 5.0}

# A database that does not answer must not hold a thread for ever.
_TIMEOUTS = {
    "psycopg": {"connect_timeout": 5, "tcp_user_timeout": 10_000},
    "asyncpg": {"timeout": 5, "command_timeout": 10},
}

_LOCK_SECONDS = 5.0
"""How long a statement waits for a row that another transaction has locked, in PostgreSQL."""

_INSERT: dict[str, Callable[[sa.Table], Any]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite_dialect.insert,
}

# They have a synchronous half, which needs no event loop: SQLite's in the standard library.
_SYNCHRONOUS_HALF = {
    "aiosqlite": "sqlite",
    "psycopg": "postgresql+psycopg",
    "psycopg_async": "postgresql+psycopg",
}


@dataclass(slots=True)
class _Opened:
    """The connections of one process."""

    engine: sa.Engine
    asynchronous: AsyncEngine | None
    verified: bool = False


@dataclass(slots=True)
class Database:
    """Runs transactions, with connections of its own, in whatever process it is asked.

    Parameters:
        target: A URL, or an engine: its URL and its way to connect are used, not its connections.
        sqlite: Settings of a SQLite file.
        clock: Tells the time instead of the server or the system.

    Raises:
        ConfigurationError: When it is a database that cannot keep our tables.
        MissingDependencyError: When its driver is not installed.
    """

    target: sa.Engine | AsyncEngine | sa.URL | str
    sqlite: SqliteOptions
    clock: Clock | None = None
    url: sa.URL = field(init=False)
    _pool: sa.Pool | None = field(init=False, default=None)
    _asynchronous: bool = field(init=False)
    _opened: PerProcess[_Opened] = field(init=False)

    def __post_init__(self) -> None:
        target = self.target
        if isinstance(target, (sa.Engine, AsyncEngine)):
            self.url, self._pool = target.url, target.pool
        else:
            self.url = _with_driver(_url(target))
        if self.url.get_backend_name() not in _INSERT:  # before its driver is looked for
            raise ConfigurationError(
                f"A store needs SQLite or PostgreSQL, not {self.url.get_backend_name()}."
            )
        driver = self.url.get_driver_name()
        if isinstance(target, AsyncEngine) or self.url.get_dialect().is_async:
            if driver in _SYNCHRONOUS_HALF:
                self.url, self._pool = self.url.set(drivername=_SYNCHRONOUS_HALF[driver]), None
                self._asynchronous = False
            else:
                self._asynchronous = True
        else:
            self._asynchronous = False
        _check_kind(self.url)
        self._opened = PerProcess(self._connectable)
        self._opened.get()  # a driver that is missing is missed here, before anything happens

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @property
    def driver(self) -> str:
        return self.url.get_driver_name()

    @property
    def engine(self) -> sa.Engine:
        """This process's engine; the synchronous face of it where it is asynchronous."""
        return self._opened.get().engine

    @property
    def own_clock(self) -> Clock | None:
        """What tells the time here; None where the server does."""
        return self.clock or (None if self.dialect == "postgresql" else self.sqlite.clock)

    def now(self) -> Seconds:
        """The time, as part of a statement."""
        clock = self.own_clock
        if clock is None:
            return sa.cast(sa.extract("epoch", sa.func.statement_timestamp()), sa.Double)
        return sa.literal(clock(), sa.Double)

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT."""
        return _INSERT[self.dialect](table)

    def write(
        self,
        work: Callable[[sa.Connection], T],
        *,
        grows: bool = False,
        verify: bool = True,
        is_one_statement: bool = False,
    ) -> T:
        """Run a transaction that changes something.

        Parameters:
            grows: It makes the database larger, which a cap on its size may forbid.
            verify: Look at the tables' version first, once a process.
            is_one_statement: It has one statement that changes something: PostgreSQL makes a transaction of
                that by itself, without the round trips of beginning and committing one.

        Raises:
            StorageError: When it did not succeed, or nobody can tell whether it did.
        """
        options: dict[str, Any] = {"fastapi_events_begin": "BEGIN IMMEDIATE", GROWS: grows}
        if is_one_statement and self.dialect == "postgresql":
            options["isolation_level"] = "AUTOCOMMIT"
        return self._run(work, options, verify=verify)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run a transaction that changes nothing."""
        return self._run(work, {"fastapi_events_begin": "BEGIN"}, verify=True)

    def close(self) -> None:
        """Close the connections of this process."""
        opened = self._opened.take()
        if opened is None:
            return
        if opened.asynchronous is not None:
            process_loop().run(opened.asynchronous.dispose())
        else:
            opened.engine.dispose()

    def _run(self, work: Callable[[sa.Connection], T], options: dict[str, Any], *, verify: bool) -> T:
        opened = self._opened.get()

        def transact(connection: sa.Connection) -> T:
            connection = connection.execution_options(**options)
            with connection.begin():
                if verify and not opened.verified:
                    schema.verify(connection)
                result = work(connection)
            opened.verified = opened.verified or verify
            return result

        async def transact_on_loop(engine: AsyncEngine) -> T:
            async with engine.connect() as connection:
                return await connection.run_sync(transact)

        try:
            if opened.asynchronous is not None:
                return process_loop().run(transact_on_loop(opened.asynchronous))
            with self._gate, opened.engine.connect() as connection:
                return transact(connection)
        except StorageError:
            raise
        except (sa.exc.SQLAlchemyError, opened.engine.dialect.loaded_dbapi.Error, OSError) as error:
            raise translated(error, self.url) from error

    @property
    def _gate(self) -> AbstractContextManager[None]:
        return gate if self.dialect == "sqlite" else nullcontext()

    def _connectable(self) -> _Opened:
        settings: dict[str, Any] = {"hide_parameters": True}  # payloads have no business in errors and logs
        if self.dialect == "postgresql":
            settings["isolation_level"] = "READ COMMITTED"
        if self._pool is not None:
            settings["pool"] = self._pool.recreate()
        else:
            settings["pool_pre_ping"] = self.dialect == "postgresql"
            settings |= {**_POOL, "connect_args": _TIMEOUTS.get(self.driver, {})}
        try:
            asynchronous = create_async_engine(self.url, **settings) if self._asynchronous else None
            engine = (
                sa.create_engine(self.url, **settings) if asynchronous is None else asynchronous.sync_engine
            )
        except ImportError as missing:
            extra = "postgres" if self.dialect == "postgresql" else "sql"
            raise MissingDependencyError(self.driver, extra) from missing
        if self.dialect == "sqlite":
            prepare(engine, self.sqlite)
        else:
            sa.event.listen(engine, "connect", _wait_for_locks_only_so_long)
        return _Opened(engine, asynchronous)


def _wait_for_locks_only_so_long(connection: Any, _: Any) -> None:
    """Let no transaction that hangs, such as one of the application's, hold up all that we do."""
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {round(_LOCK_SECONDS * 1000)}")
    cursor.close()
    connection.commit()


def free(table: sa.FromClause, now: Seconds) -> sa.ColumnElement[bool]:
    """The condition that nobody holds a row. A hold from the future is void: the clock was set back."""
    return sa.or_(
        table.c.held_until.is_(None),
        table.c.held_until <= now,
        table.c.held_from > now + CLOCK_SLACK_SECONDS,
    )


def _url(target: sa.URL | str) -> sa.URL:
    try:
        return sa.make_url(target)
    except sa.exc.ArgumentError:
        raise InvalidSetting(
            f"SqlStore({type(target).__name__}): expected an engine or the URL of a database, such as "
            "sqlite:///events.db or postgresql://localhost/shop."
        ) from None


def _with_driver(url: sa.URL) -> sa.URL:
    """The URL as people write it for other programs, with the driver that we support."""
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _check_kind(url: sa.URL) -> None:
    if url.get_backend_name() == "sqlite":
        if url.host:
            raise ConfigurationError(
                f"sqlite://{url.host} names a server, which SQLite has not: a file takes three slashes, "
                f"sqlite:///{url.host}, and four with its whole path."
            )
        memory = not url.database or ":memory:" in url.database or "mode=memory" in str(url)
        if memory:
            raise ConfigurationError("SQLite in memory keeps nothing: name a file, or use MemoryStore.")
