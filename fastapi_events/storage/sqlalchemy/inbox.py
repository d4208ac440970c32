"""The inbox in an SQL database."""

from __future__ import annotations

import sqlalchemy as sa

from fastapi_events.storage.base import DONE, NEW, Busy
from fastapi_events.storage.inbox import Begun, Inbox
from fastapi_events.storage.sqlalchemy.base import SqlPart, delete_in_batches
from fastapi_events.storage.sqlalchemy.database import Database, free
from fastapi_events.storage.sqlalchemy.schema import inbox


class SqlInbox(SqlPart, Inbox):
    """An inbox in an SQL database.

    Parameters:
        database: Where it is; `SqlStore` makes one.
    """

    def __init__(self, database: Database) -> None:
        SqlPart.__init__(self, database)

    def begin(self, key: str, *, token: str, lease: float) -> Begun:
        def take(connection: sa.Connection) -> Begun:
            now = self._database.now()
            hold = {"owner": token, "done": False, "held_from": now, "held_until": now + lease}
            unfinished = sa.and_(sa.not_(inbox.c.done), sa.or_(inbox.c.owner == token, free(inbox, now)))
            forgotten = sa.and_(inbox.c.done, inbox.c.held_until <= now)
            taken = connection.execute(
                self._database.insert(inbox)
                .values(key=key, **hold)
                .on_conflict_do_update(
                    index_elements=[inbox.c.key], set_=hold, where=sa.or_(unfinished, forgotten)
                )
                .returning(inbox.c.key)
            ).first()
            if taken is not None:
                return NEW
            row = connection.execute(
                sa.select(inbox.c.done, (inbox.c.held_until - now).label("left")).where(inbox.c.key == key)
            ).first()
            if row is None:  # released between the two statements
                return Busy(0.0)
            return DONE if row.done else Busy(row.left)

        return self._database.write(take)

    def extend(self, key: str, *, token: str, lease: float) -> bool:
        now = self._database.now()
        return self._database.write(
            lambda connection: (
                connection.execute(
                    sa.update(inbox)
                    .where(*_unfinished(key, token))
                    .values(held_from=now, held_until=now + lease)
                ).rowcount
                > 0
            )
        )

    def complete(self, key: str, *, token: str, keep: float) -> bool:
        return self._database.write(
            lambda connection: self.complete_in(connection, key, token=token, keep=keep)
        )

    def complete_in(self, connection: sa.Connection, key: str, *, token: str, keep: float) -> bool:
        """Note in the caller's transaction that the subscription has completed the event.

        Parameters:
            connection: Of the caller's transaction, in the same database.
            keep: Seconds for which that is remembered.

        Returns:
            False where the lease had gone to another: the caller should roll back.
        """
        now = self._database.now()
        done = {"owner": token, "done": True, "held_from": now, "held_until": now + keep}
        insert = self._database.insert(inbox).values(key=key, **done)
        upsert = insert.on_conflict_do_update(
            index_elements=[inbox.c.key], set_=done, where=inbox.c.owner == token
        )
        return connection.execute(upsert.returning(inbox.c.key)).first() is not None

    def release(self, key: str, *, token: str) -> None:
        self._database.write(
            lambda connection: connection.execute(sa.delete(inbox).where(*_unfinished(key, token)))
        )

    def expire(self) -> int:
        return delete_in_batches(self._database, inbox.c.key, inbox.c.held_until <= self._database.now())


def _unfinished(key: str, token: str) -> tuple[sa.ColumnElement[bool], ...]:
    return inbox.c.key == key, inbox.c.owner == token, sa.not_(inbox.c.done)
