"""SQLite as a store: settings of each connection, and what becomes of a damaged file."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from fastapi_events import checks
from fastapi_events.storage.base import Clock

logger: logging.Logger = logging.getLogger(__name__)

Synchronous = Literal["NORMAL", "FULL"]

GROWS = "fastapi_events_grows"
"""The execution option of a transaction to which the cap on the file's size applies."""

# Above the cap, what empties the file still finds room for the pages that it needs for a moment.
_RESERVE_PAGES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class SqliteOptions:
    """How a SQLite file is used.

    Parameters:
        synchronous: NORMAL survives the death of every process, FULL a power cut as well.
        busy_timeout: Seconds to wait for another process that writes.
        max_page_count: Pages (of 4 KiB, usually) that the file may have before nothing more is added; what
            is there can still be taken out, which a full disk would not allow.
        clock: Tells the time.
    """

    synchronous: Synchronous = "NORMAL"
    busy_timeout: float = 5.0
    max_page_count: int | None = None
    clock: Clock = time.time

    def __post_init__(self) -> None:
        checks.one_of("synchronous", self.synchronous, Synchronous)
        checks.seconds("busy_timeout", self.busy_timeout)
        if self.max_page_count is not None:
            checks.whole("max_page_count", self.max_page_count, least=1)


def prepare(engine: sa.Engine, options: SqliteOptions) -> None:
    """Let each connection of the engine be what a store needs."""

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # We begin transactions ourselves: the driver would do so late, when another may have written since.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {round(options.busy_timeout * 1000)}")
            cursor.execute(f"PRAGMA synchronous = {options.synchronous}")
            _write_ahead(cursor, options.busy_timeout)
        except BaseException:
            connection.close()  # nobody else will: the pool does not have it yet
            raise
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        settings = connection.get_execution_options()
        if options.max_page_count is not None:
            pages = options.max_page_count + (0 if settings.get(GROWS) else _RESERVE_PAGES)
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.exec_driver_sql(settings.get("fastapi_events_begin", "BEGIN"))


def _write_ahead(cursor: Any, busy_timeout: float) -> None:
    """Turn on the write-ahead log. Several processes that do so at once do not wait for each other."""
    deadline = time.monotonic() + busy_timeout
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            cursor.execute("PRAGMA journal_mode = WAL").fetchone()
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Let one process at a time open a file: two would set it aside one after the other, the new one, too.

    They wait for a lock on its folder. On Windows, which has none, they do not.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def set_aside(path: Path) -> Path:
    """Rename a damaged file and its log, so that a new one can be begun; nothing is deleted.

    Returns:
        Where the file is now.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = path.with_name(f"{path.name}.corrupt-{stamp}")
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    logger.error("%s is damaged: it was set aside as %s, and a new file is begun", path, kept)
    return kept
