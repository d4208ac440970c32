"""The catalogue in an SQL database."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from fastapi_events.storage.catalogue import Catalogue, Decision, Fields
from fastapi_events.storage.sqlalchemy.base import CHUNK, SqlPart, among
from fastapi_events.storage.sqlalchemy.schema import catalogue

# The field that those who change a handler's catalogue lock first.
_REVISION = "revision"


class SqlCatalogue(SqlPart, Catalogue):
    """A catalogue in an SQL database."""

    def _change(self, destination: str, decide: Decision) -> None:
        def change(connection: sa.Connection) -> None:
            self._put(connection, destination, {_REVISION: "1"})
            found, now = self._fields(connection, destination)
            wanted = decide(found, now)
            if wanted is None:
                return
            removed = sorted(wanted.remove)
            for begin in range(0, len(removed), CHUNK):
                part = removed[begin : begin + CHUNK]
                connection.execute(
                    sa.delete(catalogue).where(
                        catalogue.c.destination == destination, among(connection, catalogue.c.name, part)
                    )
                )
            self._put(connection, destination, wanted.put)

        self._database.write(change)

    def _touch(self, destination: str, required: str, names: Sequence[str]) -> bool:
        def touch(connection: sa.Connection) -> bool:
            there = sa.select(catalogue.c.name).where(
                catalogue.c.destination == destination, catalogue.c.name == required
            )
            if connection.execute(there).first() is None:
                return False
            now = connection.execute(sa.select(self._database.now())).scalar_one()
            self._put(connection, destination, dict.fromkeys(sorted(names), repr(now)))
            return True

        return self._database.write(touch)

    def _read(self, destination: str) -> tuple[Fields, float]:
        return self._database.read(lambda connection: self._fields(connection, destination))

    def _fields(self, connection: sa.Connection, destination: str) -> tuple[Fields, float]:
        now = connection.execute(sa.select(self._database.now())).scalar_one()
        rows = connection.execute(
            sa.select(catalogue.c.name, catalogue.c.body).where(catalogue.c.destination == destination)
        )
        return {row.name: row.body for row in rows}, float(now)

    def _put(self, connection: sa.Connection, destination: str, put: Fields) -> None:
        if not put:
            return
        insert = self._database.insert(catalogue)
        upsert = insert.on_conflict_do_update(
            index_elements=[catalogue.c.destination, catalogue.c.name], set_={"body": insert.excluded.body}
        )
        # Sorted, so that two processes which lock the same rows do so in the same order.
        rows = [
            {"destination": destination, "name": name, "body": body} for name, body in sorted(put.items())
        ]
        connection.execute(upsert, rows)
