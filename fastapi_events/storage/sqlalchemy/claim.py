"""What a relay takes out of the outbox in an SQL database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import sqlalchemy as sa

from fastapi_events.storage.sqlalchemy.base import CHUNK, among
from fastapi_events.storage.sqlalchemy.database import free
from fastapi_events.storage.sqlalchemy.schema import outbox

_Rows: TypeAlias = list[sa.Row[Any]]


class Claim:
    """A relay's claim of entries: the oldest that are due, that nobody holds, and that overtake none.

    Parameters:
        now: The time, as the database has it.
        token: Who claims.
        destinations: Whose entries.
        limit: How many at most.
        lease: Seconds for which they are held.
        ordered: Only entries with an ordering key, or only those without; None for both.
    """

    def __init__(
        self,
        now: sa.ColumnElement[float],
        token: str,
        destinations: Collection[str],
        *,
        limit: int,
        lease: float,
        ordered: bool | None,
    ) -> None:
        self._now = now
        self._token = token
        self._destinations = sorted(destinations)
        self._limit = limit
        self._lease = lease
        self._ordered = ordered

    def made(self, connection: sa.Connection) -> _Rows:
        """Hold entries, and return their rows."""
        is_postgresql = connection.dialect.name == "postgresql"
        if is_postgresql:
            # The planner would sort a long backlog at each claim where its statistics are old; the primary
            # key has the order, and ends the search as soon as there is enough. Not knowing how soon that is,
            # the planner would also compile the statement, which takes a hundred times as long as to run it.
            settings = "enable_sort", "jit"
            connection.execute(sa.select(*(sa.func.set_config(each, "off", True) for each in settings)))
        rows: _Rows = list(connection.execute(self._chosen()))
        if is_postgresql:
            rows = self._in_order(connection, rows)
        for begin in range(0, len(rows), CHUNK):
            connection.execute(
                sa.update(outbox)
                .where(among(connection, outbox.c.seq, [row.seq for row in rows[begin : begin + CHUNK]]))
                .values(owner=self._token, held_from=self._now, held_until=self._now + self._lease)
            )
        return rows

    def _chosen(self) -> sa.Select[Any]:
        before = outbox.alias()
        blocked = (
            sa.exists(sa.literal(1))
            .select_from(before)
            .where(
                _precedes(before, outbox),
                sa.not_(before.c.published),
                sa.or_(self._keeps_back(before), before.c.due > self._now),
            )
            .correlate(outbox)
        )
        kind = {
            None: sa.or_(outbox.c.ordering_key.is_(None), sa.not_(blocked)),
            True: sa.and_(outbox.c.ordering_key.is_not(None), sa.not_(blocked)),
            False: outbox.c.ordering_key.is_(None),
        }[self._ordered]
        return (
            sa.select(outbox)
            .where(
                outbox.c.destination.in_(self._destinations),
                self._is_due(outbox),
                free(outbox, self._now),
                kind,
            )
            .order_by(outbox.c.seq)
            .limit(self._limit)
            .with_for_update(skip_locked=True, of=outbox)
        )

    def _in_order(self, connection: sa.Connection, rows: _Rows) -> _Rows:
        """The locked rows without those that would overtake one which another token has locked just now."""
        keyed = [row.seq for row in rows if row.ordering_key is not None]
        if not keyed:
            return rows
        # A statement of its own, which sees what has been committed since the rows were chosen.
        others = connection.execute(
            sa.select(outbox.c.seq, outbox.c.destination, outbox.c.ordering_key).where(
                outbox.c.seq < max(keyed),
                sa.not_(among(connection, outbox.c.seq, keyed)),
                among(
                    connection,
                    outbox.c.ordering_key,
                    {row.ordering_key for row in rows if row.ordering_key is not None},
                ),
                sa.or_(
                    self._keeps_back(outbox),
                    sa.and_(free(outbox, self._now), self._is_due(outbox)),
                ),
            )
        )
        first: dict[tuple[str, str], int] = {}
        for other in others:
            lane = other.destination, other.ordering_key
            first[lane] = min(other.seq, first.get(lane, other.seq))
        return [row for row in rows if row.seq < first.get((row.destination, row.ordering_key), row.seq + 1)]

    def _is_due(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.or_(table.c.due.is_(None), table.c.due <= self._now)

    def _keeps_back(self, table: sa.FromClause) -> sa.ColumnElement[bool]:
        """The condition that an entry is held by another: a relay, or the process that added it."""
        others = sa.or_(table.c.owner.is_(None), table.c.owner != self._token)
        return sa.and_(others, sa.not_(table.c.published), sa.not_(free(table, self._now)))


def _precedes(before: sa.FromClause, after: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        before.c.destination == after.c.destination,
        before.c.ordering_key == after.c.ordering_key,
        before.c.seq < after.c.seq,
    )
