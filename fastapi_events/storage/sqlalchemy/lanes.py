"""Lanes in an SQL database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import CLOCK_SLACK_SECONDS, GONE, HEAD, WAITING, Busy
from fastapi_events.storage.lanes import MAX_LANE_ITEMS, Entered, Item, Lanes
from fastapi_events.storage.sqlalchemy.base import CHUNK, SqlPart
from fastapi_events.storage.sqlalchemy.database import Database, free, held_by_another
from fastapi_events.storage.sqlalchemy.schema import lanes

T = TypeVar("T")


class SqlLanes(SqlPart, Lanes):
    """Lanes in an SQL database.

    Parameters:
        database: Where they are; `SqlStore` makes one.
        max_items: How many items wait in one lane at most.
    """

    def __init__(self, database: Database, *, max_items: int = MAX_LANE_ITEMS) -> None:
        SqlPart.__init__(self, database)
        Lanes.__init__(self, max_items=max_items)

    def push(self, lane: str, items: Sequence[Item]) -> str | None:
        def append(connection: sa.Connection) -> str | None:
            there = {
                id_
                for begin in range(0, len(items), CHUNK)
                for id_ in connection.scalars(
                    sa.select(lanes.c.id).where(
                        lanes.c.lane == lane, lanes.c.id.in_([id_ for id_, _ in items[begin : begin + CHUNK]])
                    )
                )
            }
            new = {id_: text for id_, text in reversed(items) if id_ not in there}
            waiting = connection.scalar(
                sa.select(sa.func.count()).select_from(lanes).where(lanes.c.lane == lane)
            )
            if new and (waiting or 0) + len(new) > self.max_items:
                raise StorageFull(f"The lane {lane!r} holds {waiting} of {self.max_items} items.")
            if new:
                rows = [{"lane": lane, "id": id_, "text": text} for id_, text in reversed(new.items())]
                connection.execute(sa.insert(lanes), rows)
            if not waiting and new:
                self._begin_head(connection, lane)
            head = _head(connection, lane)
            return head.id if head is not None and head.id in {id_ for id_, _ in items} else None

        return self._in_lane(lane, append, grows=True)

    def enter(self, lane: str, id: str, *, token: str, lease: float) -> Entered:  # noqa: A002
        def take(connection: sa.Connection) -> Entered:
            now = self._database.now()
            head = _head(
                connection,
                lane,
                held_by_another(lanes, token, now).label("taken"),
                (lanes.c.held_until - now).label("left"),
            )
            if head is None or head.id != id:
                there = sa.select(lanes.c.id).where(lanes.c.lane == lane, lanes.c.id == id)
                return GONE if connection.execute(there).first() is None else WAITING
            if head.taken:
                return Busy(head.left)
            self._hold(connection, head.seq, token, lease)
            return HEAD

        return self._in_lane(lane, take)

    def extend(self, lane: str, id: str, *, token: str, lease: float) -> bool:  # noqa: A002
        def again(connection: sa.Connection) -> bool:
            head = _head(connection, lane)
            if head is None or head.id != id or head.owner != token:
                return False
            self._hold(connection, head.seq, token, lease)
            return True

        return self._in_lane(lane, again)

    def release(self, lane: str, id: str, *, token: str) -> None:  # noqa: A002
        self._in_lane(
            lane,
            lambda connection: connection.execute(
                sa.update(lanes)
                .where(lanes.c.lane == lane, lanes.c.id == id, lanes.c.owner == token)
                .values(owner=None, held_from=None, held_until=None)
            ),
        )

    def leave(self, lane: str, id: str, *, token: str) -> Item | None:  # noqa: A002
        def remove(connection: sa.Connection) -> Item | None:
            row = connection.execute(
                sa.select(lanes.c.seq, lanes.c.owner).where(lanes.c.lane == lane, lanes.c.id == id)
            ).first()
            head = _head(connection, lane)
            if row is not None and head is not None:
                if head.seq != row.seq or row.owner not in (None, token):
                    return None
                connection.execute(sa.delete(lanes).where(lanes.c.seq == row.seq))
                self._begin_head(connection, lane)
                head = _head(connection, lane)
            return None if head is None else (head.id, head.text)

        return self._in_lane(lane, remove)

    def stalled(
        self, *, older_than: float, limit: int = 100, lane: str | None = None
    ) -> list[tuple[str, str, str]]:
        now = self._database.now()
        query = (
            sa.select(lanes.c.lane, lanes.c.id, lanes.c.text)
            .where(
                sa.or_(
                    lanes.c.head_since < now - older_than,
                    lanes.c.head_since > now + CLOCK_SLACK_SECONDS,  # set back meanwhile
                ),
                free(lanes, now),
            )
            .order_by(lanes.c.head_since)
            .limit(limit)
        )
        if lane is not None:
            query = query.where(lanes.c.lane == lane)
        return self._database.read(
            lambda connection: [(row.lane, row.id, row.text) for row in connection.execute(query)]
        )

    def _in_lane(self, lane: str, work: Callable[[sa.Connection], T], *, grows: bool = False) -> T:
        """Run a transaction that nobody else runs for this lane: two may not both find it empty."""

        def alone(connection: sa.Connection) -> T:
            if self._database.dialect == "postgresql":  # SQLite has one writer at a time anyway
                digest = hashlib.blake2b(lane.encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "big", signed=True)
                connection.execute(
                    sa.select(sa.func.pg_advisory_xact_lock(sa.literal(number, sa.BigInteger)))
                )
            return work(connection)

        return self._database.write(alone, grows=grows)

    def _hold(self, connection: sa.Connection, seq: int, token: str, lease: float) -> None:
        now = self._database.now()
        connection.execute(
            sa.update(lanes)
            .where(lanes.c.seq == seq)
            .values(owner=token, held_from=now, held_until=now + lease)
        )

    def _begin_head(self, connection: sa.Connection, lane: str) -> None:
        first = sa.select(sa.func.min(lanes.c.seq)).where(lanes.c.lane == lane).scalar_subquery()
        connection.execute(
            sa.update(lanes).where(lanes.c.seq == first).values(head_since=self._database.now())
        )


def _head(connection: sa.Connection, lane: str, *more: sa.ColumnElement[Any]) -> sa.Row[Any] | None:
    return connection.execute(
        sa.select(lanes.c.seq, lanes.c.id, lanes.c.text, lanes.c.owner, *more)
        .where(lanes.c.lane == lane)
        .order_by(lanes.c.seq)
        .limit(1)
    ).first()
