"""Every store, on every place that has it, with a clock that only the test moves."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from fastapi_events.storage.memory import MemoryStore
from fastapi_events.storage.redis import RedisStore
from fastapi_events.storage.sqlalchemy import SqlStore, schema
from fastapi_events.testing.contracts import StoppedClock as Clock

POSTGRES_URL = os.environ.get("FASTAPI_EVENTS_TEST_POSTGRES_URL")

MEMORY = "memory"
REDIS = pytest.param("redis", marks=pytest.mark.valkey)
SQL = [
    "sqlite",
    "sqlite-async",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("postgres-asyncpg", marks=pytest.mark.postgres),
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def postgres_url(driver: str = "psycopg") -> str:
    """The server's URL; the test is skipped at home where there is none."""
    if POSTGRES_URL is None:
        if os.environ.get("CI") == "true":
            pytest.fail("FASTAPI_EVENTS_TEST_POSTGRES_URL must be set in CI")
        pytest.skip("needs PostgreSQL: set FASTAPI_EVENTS_TEST_POSTGRES_URL")
    return sa.make_url(POSTGRES_URL).set(drivername=f"postgresql+{driver}").render_as_string(False)


@contextmanager
def schema_of_its_own() -> Iterator[str]:
    """A schema of PostgreSQL for one test, so that tests do not meet."""
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(postgres_url(), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield name
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()


@pytest.fixture(scope="session")
def tables() -> Iterator[sa.Engine]:
    """A schema of PostgreSQL with our tables, for one test after the other: they take a while to make."""
    with schema_of_its_own() as name:
        engine = sa.create_engine(f"{postgres_url()}?options=-csearch_path%3D{name}")
        with engine.begin() as connection:
            schema.create(connection)
        yield engine
        engine.dispose()


def emptied(tables: sa.Engine) -> str:
    """The name of that schema, once its tables are empty."""
    rows = [table for table in schema.metadata.tables.values() if table is not schema.version]
    with tables.begin() as connection:
        connection.exec_driver_sql("; ".join(f"DELETE FROM {table.name}" for table in rows))
        return str(connection.scalar(sa.func.current_schema()))


@contextmanager
def opened(
    kind: str, request: pytest.FixtureRequest, clock: Clock | None, *, alters: bool = False, **settings: Any
) -> Iterator[Any]:
    """A store of that kind, set up and empty.

    Parameters:
        alters: Whether the test changes the tables.
    """
    folder: Path = request.getfixturevalue("tmp_path")
    if kind == "memory":
        yield MemoryStore(**({} if clock is None else {"clock": clock}))
        return
    if kind == "redis":
        prefix = f"test-{uuid.uuid4()}"
        store: Any = RedisStore(request.getfixturevalue("valkey_url"), prefix=prefix, clock=clock)
        yield store
        store.close()
        return
    if kind.startswith("sqlite"):
        path = folder / "events.db"
        target: Any = f"sqlite:///{path}"
        if kind == "sqlite-async":
            target = create_async_engine(f"sqlite+aiosqlite:///{path}")
        store = SqlStore(target, clock=clock, **settings)
        store.setup()
        yield store
        store.close()
        return
    with schema_of_its_own() if alters else nullcontext(emptied(request.getfixturevalue("tables"))) as name:
        if kind == "postgres":
            target = f"{postgres_url()}?options=-csearch_path%3D{name}"
        else:
            settings_of_server = {"server_settings": {"search_path": name}}
            target = create_async_engine(postgres_url("asyncpg"), connect_args=settings_of_server)
        store = SqlStore(target, clock=clock, **settings)
        if alters:
            store.setup()
        yield store
        store.close()


Opener = Callable[..., Any]


@pytest.fixture(params=[MEMORY, *SQL])
def with_outbox(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Any]:
    """Every store that has an outbox."""
    with opened(request.param, request, clock) as store:
        yield store


@pytest.fixture(params=[MEMORY, REDIS, *SQL])
def store(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Any]:
    """Every store."""
    with opened(request.param, request, clock) as store:
        yield store


@pytest.fixture(params=SQL)
def sql(request: pytest.FixtureRequest, clock: Clock) -> Iterator[SqlStore]:
    """Every SQL database, with tables that the test may change."""
    with opened(request.param, request, clock, alters=True) as store:
        yield store


@pytest.fixture(params=[REDIS, *SQL])
def on_own_clock(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every store that survives a process, with the clock that it has by itself."""
    with opened(request.param, request, None) as store:
        yield store


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqlStore]:
    """A store in a SQLite file."""
    store = SqlStore(f"sqlite:///{tmp_path / 'events.db'}")
    store.setup()
    yield store
    store.close()
