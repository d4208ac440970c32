"""Requests whose events are in an outbox before their response goes out, and such whose are not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from in_process import event_loop, new_scope, receive
from payload import NAME, PAYLOAD
from publishing import our_handler

App = Callable[..., Awaitable[None]]

_AT_ONCE = 64


@contextmanager
def alone(url: str, database: str) -> Iterator[Callable[[int], dict[str, float]]]:
    """Seconds that it adds to a request, at the median: one request with and one without, in turn.

    Beside them, what it takes the database's driver alone to keep such a row.
    """
    with event_loop() as loop, _store(database) as store, _Rows.of(store) as rows:
        handlers = [our_handler(url, "dramatiq", **each)[0] for each in _settings(store)]
        apps = [_app(each) for each in handlers]

        async def measure(requests: int) -> dict[str, float]:
            taken: list[list[float]] = [[] for _ in apps]
            floor = []
            for _ in range(requests):
                for app, times in zip(apps, taken, strict=True):
                    times.append(await _until_response(app))
                floor.append(rows.keep(1))
                rows.remove(1)
            without, durable = map(statistics.median, taken)
            return {
                "seconds": durable, "added": durable - without, "floor": statistics.median(floor),
            }  # fmt: skip

        yield lambda requests: loop.run_until_complete(measure(requests))
        for handler in handlers:
            loop.run_until_complete(handler.on_shutdown())


@contextmanager
def at_once(
    url: str, database: str, durable: bool, with_rows: bool = False
) -> Iterator[Callable[[int], float]]:
    """Seconds until so many requests are answered and their events published, 64 at a time.

    Parameters:
        durable: Whether their events are in the outbox before their response.
        with_rows: Whether the driver alone keeps and removes as many rows beside, a transaction for 64 each.
    """
    with event_loop() as loop, _store(database) as store, _Rows.of(store) as rows:
        handler, _ = our_handler(url, "dramatiq", **_settings(store)[durable])
        app = _app(handler)

        async def serve(requests: int) -> float:
            left = iter(range(requests))
            began = time.perf_counter()

            async def client() -> None:
                for _ in left:
                    await app(new_scope(), receive, _ignore)

            await asyncio.gather(*(client() for _ in range(_AT_ONCE)))
            if with_rows:
                for _ in range(0, requests, _AT_ONCE):
                    rows.keep(_AT_ONCE)
                    rows.remove(_AT_ONCE)
            return time.perf_counter() - began

        yield lambda requests: loop.run_until_complete(serve(requests))
        loop.run_until_complete(handler.on_shutdown())


class _Rows:
    """Rows like those of the outbox, in its database, kept and removed by the driver alone."""

    def __init__(self, connection: Any, table: str, *, is_sqlite: bool) -> None:
        self._connection = connection
        self._is_sqlite = is_sqlite
        mark = "?" if is_sqlite else "%s"
        self._numbers = itertools.count()
        columns = {
            "event_id": None, "destination": "floor", "envelope": json.dumps([NAME, PAYLOAD]),
            "confirm": "published", "added_at": 1.0, "published": False, "expected": False,
            "held_from": 1.0, "held_until": 2.0,
        }  # fmt: skip
        self._rest = list(columns.values())[1:]
        self._insert = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))}) "
            "ON CONFLICT DO NOTHING"
        )
        self._delete = f"DELETE FROM {table} WHERE destination = 'floor' AND event_id = {mark}"
        self._kept: list[str] = []

    @classmethod
    @contextmanager
    def of(cls, store: Any) -> Iterator[_Rows]:
        """Open a connection like those of the store's own."""
        from fastapi_events.storage.sqlalchemy.schema import outbox

        database = store.outbox._database
        with contextlib.closing(database.engine.raw_connection()) as connection:
            is_sqlite = database.dialect == "sqlite"
            yield cls(connection.driver_connection, outbox.name, is_sqlite=is_sqlite)

    def keep(self, count: int) -> float:
        """Seconds until so many new rows are committed."""
        self._kept = [f"floor-{next(self._numbers)}" for _ in range(count)]
        return self._commit(self._insert, [[each, *self._rest] for each in self._kept])

    def remove(self, count: int) -> float:
        """The same for removing them again."""
        return self._commit(self._delete, [[each] for each in self._kept[:count]])

    def _commit(self, statement: str, rows: list[list[Any]]) -> float:
        began = time.perf_counter()
        cursor = self._connection.cursor()
        if self._is_sqlite:  # where the driver leaves it to us
            cursor.execute("BEGIN IMMEDIATE")
        if len(rows) == 1:
            cursor.execute(statement, rows[0])
        else:
            cursor.executemany(statement, rows)
        self._connection.commit()
        return time.perf_counter() - began


def _settings(store: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the handler whose events are in memory until their flush, and of the one that is durable."""
    without = {"queue": "without", "outbox": store.outbox}
    return without, {"queue": "durable", "outbox": store.outbox, "durability": "response"}


@contextmanager
def _store(database: str) -> Iterator[Any]:
    from fastapi_events.storage.sqlalchemy import SqlStore

    with TemporaryDirectory() as folder:
        store = SqlStore(database or f"sqlite:///{Path(folder) / 'events.db'}")
        store.setup()
        yield store


def _app(handler: Any) -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from fastapi_events.dispatcher import dispatch
    from fastapi_events.middleware import EventHandlerASGIMiddleware

    async def endpoint(request: Request) -> Response:
        dispatch(NAME, payload=PAYLOAD)
        return Response(status_code=204)

    return EventHandlerASGIMiddleware(Starlette(routes=[Route("/", endpoint)]), handlers=[handler])


async def _until_response(app: App) -> float:
    """Seconds until the last byte of a response; then its events are flushed, which is not counted."""
    sent: list[float] = []

    async def send(message: Any) -> None:
        sent.append(time.perf_counter())

    began = time.perf_counter()
    await app(new_scope(), receive, send)
    return sent[-1] - began


async def _ignore(message: Any) -> None: ...
