"""Dead letters in an SQL database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import moment, read_cursor, storable
from fastapi_events.storage.dead_letters import (
    MAX_LETTERS,
    DeadLetter,
    DeadLetters,
    LetterGroups,
    Letters,
)
from fastapi_events.storage.letters import LetterFilter, group_id, group_like, ordering_key_in
from fastapi_events.storage.sqlalchemy.base import CHUNK, Room, SqlPart, among, begins_with, delete_in_batches
from fastapi_events.storage.sqlalchemy.database import Database
from fastapi_events.storage.sqlalchemy.schema import KEY_LENGTH, dead_letters, key_start

_FIELDS = [field.name for field in fields(DeadLetter)]


class SqlDeadLetters(SqlPart, DeadLetters):
    """Dead letters in an SQL database.

    Parameters:
        database: Where they are; `SqlStore` makes one.
        max_letters: How many are kept at most.
        edit_letters: Whether commands may replay a letter with another payload.
    """

    def __init__(
        self, database: Database, *, max_letters: int = MAX_LETTERS, edit_letters: bool = False
    ) -> None:
        SqlPart.__init__(self, database)
        DeadLetters.__init__(self, max_letters=max_letters, edit_letters=edit_letters)
        self._room = Room(dead_letters, max_letters)

    def add(self, letter: DeadLetter) -> None:
        row = {name: getattr(letter, name) for name in _FIELDS}
        row |= {"first_at": letter.first_at.timestamp(), "last_at": letter.last_at.timestamp()}
        row["fingerprint"] = group_id(letter)
        row["ordering_key"] = key_start(ordering_key_in(letter.argument))
        row["event_key"] = None if letter.event_id is None else letter.event_id[:KEY_LENGTH]
        insert = self._database.insert(dead_letters).values(row)
        upsert = insert.on_conflict_do_update(index_elements=[dead_letters.c.id], set_=row)
        there = sa.select(dead_letters.c.id).where(dead_letters.c.id == letter.id)

        def put(connection: sa.Connection) -> None:
            if connection.execute(there).first() is None and not self._room.has(connection, 1):
                raise StorageFull(f"There are as many dead letters as there may be, {self.max_letters}.")
            connection.execute(upsert)

        self._database.write(put, grows=True)

    def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
        wanted: LetterFilter | None = None,
    ) -> Letters:
        place = dead_letters.c.last_at, dead_letters.c.id
        query = (
            sa.select(dead_letters)
            .where(*_matching(subscription, event_name, handler, group), *self._meant(wanted))
            .order_by(*place)
            .limit(limit)
        )
        if after is not None:
            time, id_ = read_cursor(after)
            later = sa.and_(place[0] == time, place[1] > id_)
            query = query.where(place[0] >= time, sa.or_(place[0] > time, later))
        return self._database.read(lambda connection: [_letter(row) for row in connection.execute(query)])

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002
        query = sa.select(dead_letters).where(dead_letters.c.id == id)
        row = self._database.read(lambda connection: connection.execute(query).first())
        return None if row is None else _letter(row)

    def find(self, prefix: str, *, handler: str | None = None, limit: int = 20) -> Letters:
        key, id_ = dead_letters.c.event_key, dead_letters.c.event_id
        query = (
            sa.select(dead_letters)
            .where(
                *begins_with(self._database, key, prefix[:KEY_LENGTH]),
                sa.func.substr(id_, 1, len(prefix)) == prefix,
                *_matching(None, None, handler, None),
            )
            .order_by(key, dead_letters.c.id)
            .limit(limit)
        )
        return self._database.read(lambda connection: [_letter(row) for row in connection.execute(query)])

    def discard(self, ids: Collection[str]) -> int:
        return self._database.write(
            lambda connection: sum(
                connection.execute(
                    sa.delete(dead_letters).where(among(connection, dead_letters.c.id, chunk))
                ).rowcount
                for chunk in _chunks(ids)
            )
        )

    def replayed(self, letters: Sequence[DeadLetter]) -> int:
        given_up = {each.id: each.last_at.timestamp() for each in letters}

        def remove(connection: sa.Connection) -> int:
            count = 0
            for chunk in _chunks(given_up):
                there = sa.select(dead_letters.c.id, dead_letters.c.last_at).where(
                    among(connection, dead_letters.c.id, chunk)
                )
                rows = connection.execute(there.order_by(dead_letters.c.id).with_for_update())
                same = [row.id for row in rows if row.last_at == given_up[row.id]]
                connection.execute(sa.delete(dead_letters).where(among(connection, dead_letters.c.id, same)))
                count += len(same)
            return count

        return self._database.write(remove)

    def expire(self, before: datetime, *, handler: str | None = None) -> int:
        old = dead_letters.c.last_at < before.timestamp()
        meant = sa.and_(old, *_matching(None, None, handler, None))
        return delete_in_batches(self._database, dead_letters.c.id, meant)

    def count(
        self,
        *,
        subscription: str | None = None,
        event_name: str | None = None,
        handler: str | None = None,
        group: str | None = None,
    ) -> int:
        query = (
            sa.select(sa.func.count())
            .select_from(dead_letters)
            .where(*_matching(subscription, event_name, handler, group))
        )
        return self._database.read(lambda connection: connection.scalar(query) or 0)

    def groups(
        self, *, handler: str | None = None, limit: int = 100, wanted: LetterFilter | None = None
    ) -> LetterGroups:
        of = dead_letters.c.handler, dead_letters.c.fingerprint
        time, count = dead_letters.c.last_at, sa.func.count()
        meant = *_matching(None, None, handler, None), *self._meant(wanted)
        # Of some letters an index would group all, and fetch each: the table is read from end to end instead.
        grouped = of if wanted is None or wanted.is_empty else [sa.func.coalesce(each, "") for each in of]
        sizes = (
            sa.select(*(sa.func.min(each) for each in of), count, sa.func.min(time), sa.func.max(time))
            .where(*meant)
            .group_by(*grouped)
            .order_by(count.desc(), sa.func.min(of[1]))
            .limit(limit)
        )

        def read(connection: sa.Connection) -> LetterGroups:
            if wanted is not None and wanted.looks_inside:
                rows = connection.execute(sa.select(*of, time, dead_letters.c.argument).where(*meant))
                found = _counted(rows, wanted)[:limit]
            else:
                found = [tuple(row) for row in connection.execute(sizes)]
            groups = []
            for owner, id_, size, first, last in found:
                one = sa.select(dead_letters).where(*_matching(None, None, owner, id_), *meant, time == last)
                row = connection.execute(one.order_by(dead_letters.c.id.desc()).limit(1)).first()
                if row is not None:  # another transaction may have taken the last one away meanwhile
                    groups.append(group_like(_letter(row), count=size, first_at=moment(first)))
            return groups

        return self._database.read(read)

    def _meant(self, wanted: LetterFilter | None) -> Iterator[sa.ColumnElement[bool]]:
        """The condition that a filter selects a letter; for fields, that it may select it."""
        if wanted is None:
            return
        column = dead_letters.c
        is_in = sa.func.strpos if self._database.dialect == "postgresql" else sa.func.instr
        yield from _matching(wanted.subscription, wanted.event_name, None, wanted.whole_group)
        if wanted.group is not None:
            # An index finds those that begin so: groups are named by the digits 0 to 9 and a to f.
            yield column.fingerprint.between(wanted.group, f"{wanted.group}g")
            yield sa.func.substr(column.fingerprint, 1, len(wanted.group)) == wanted.group
        if wanted.error is not None:
            yield is_in(column.reason, storable(wanted.error)) > 0
        if wanted.since is not None:
            yield column.last_at >= wanted.since.timestamp()
        if wanted.before is not None:
            yield column.last_at < wanted.before.timestamp()
        if wanted.ordering_key is not None:
            yield column.ordering_key == key_start(wanted.ordering_key)
        for texts in wanted.texts:
            yield sa.or_(*(is_in(column.argument, each) > 0 for each in texts))


def _counted(rows: Iterable[Any], wanted: LetterFilter) -> list[tuple[str, str, int, float, float]]:
    """The sizes of groups by the payloads of their letters, which the database cannot read."""
    found: dict[tuple[str, str], list[float]] = {}
    for owner, id_, at, argument in rows:
        if wanted.means(argument):
            found.setdefault((owner, id_), []).append(at)
    sizes = ((*of, len(times), min(times), max(times)) for of, times in found.items())
    return sorted(sizes, key=lambda each: (-each[2], each[1]))


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    some = sorted(set(ids))
    return (some[begin : begin + CHUNK] for begin in range(0, len(some), CHUNK))


def _matching(
    subscription: str | None, event_name: str | None, handler: str | None, group: str | None
) -> tuple[sa.ColumnElement[bool], ...]:
    wanted = {
        "subscription": subscription, "event_name": event_name, "handler": handler, "fingerprint": group,
    }  # fmt: skip
    return (
        sa.true(),
        *(dead_letters.c[name] == value for name, value in wanted.items() if value is not None),
    )


def _letter(row: sa.Row[Any]) -> DeadLetter:
    values = {name: getattr(row, name) for name in _FIELDS}
    return DeadLetter(**values | {"first_at": moment(row.first_at), "last_at": moment(row.last_at)})
