"""The journal in an SQL database."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from fastapi_events.storage.histories import History, bits_of, outcomes_of
from fastapi_events.storage.journal import (
    COUNT_PARTS,
    KEEP,
    MAX_ACTIONS,
    MAX_EVENTS,
    Action,
    Actions,
    Count,
    CountPart,
    Counts,
    Journal,
    JournalEvent,
    JournalEvents,
    Records,
    action_of,
    count_of,
    records_of,
    text_of_action,
)
from fastapi_events.storage.sqlalchemy.base import BATCH, SqlPart, among, begins_with
from fastapi_events.storage.sqlalchemy.database import Database
from fastapi_events.storage.sqlalchemy.schema import (
    journal_actions,
    journal_counts,
    journal_events,
    journal_records,
)

_COUNTED = list(journal_counts.primary_key)


class SqlJournal(SqlPart, Journal):
    """A journal in an SQL database.

    Parameters:
        database: Where it is; `SqlStore` makes one.
        keep: How long an event is kept after the last that happened to it.
        max_events: How many are kept at most.
    """

    def __init__(
        self, database: Database, *, keep: timedelta | float = KEEP, max_events: int = MAX_EVENTS
    ) -> None:
        SqlPart.__init__(self, database)
        Journal.__init__(self, keep=keep, max_events=max_events)

    def put(self, histories: Sequence[History], counts: Sequence[Count] = ()) -> None:
        events = [
            {
                "id": each.id, "name": each.name, "first_at": each.first_at, "last_at": each.last_at,
                "outcomes": each.bits, "notable": each.is_notable, "cause": each.cause,
                "correlation": each.correlation, "ordering_key": each.ordering_key, "payload": each.payload,
            }
            for each in histories
        ]  # fmt: skip
        texts = [{"event_id": each.id, "body": each.text} for each in histories]
        sums = [
            dict(zip((*COUNT_PARTS, "measure"), each.key, strict=True)) | {"count": each.count}
            for each in sorted(counts, key=lambda each: each.key)
        ]

        def put(connection: sa.Connection) -> None:
            if events:
                connection.execute(self._add_events(), events)
                connection.execute(sa.insert(journal_records), texts)
            if sums:
                connection.execute(self._add_counts(), sums)

        self._database.write(put, grows=True)

    def chain(self, correlation: str, *, limit: int = 1_000) -> JournalEvents:
        query = (
            sa.select(journal_events)
            .where(journal_events.c.correlation == correlation)
            .order_by(journal_events.c.first_at, journal_events.c.id)
            .limit(limit)
        )
        return self._events(query)

    def find(self, prefix: str, *, limit: int = 10) -> JournalEvents:
        id_ = journal_events.c.id
        query = sa.select(journal_events).where(*begins_with(self._database, id_, prefix))
        return self._events(query.order_by(id_).limit(limit))

    def records(self, event_id: str) -> Records:
        query = (
            sa.select(journal_records.c.body)
            .where(journal_records.c.event_id == event_id)
            .order_by(journal_records.c.seq)
        )
        found = self._events(sa.select(journal_events).where(journal_events.c.id == event_id))
        texts = self._database.read(lambda connection: connection.scalars(query).all())
        return records_of(found[0], texts) if found else []

    def counts(self, since: datetime) -> Counts:
        return self._counts(sa.select(*_COUNTED, journal_counts.c.count), since, _COUNTED)

    def sums(
        self,
        since: datetime,
        *,
        by: Collection[CountPart] = ("event_name", "handler", "subscription"),
        measures: Collection[str] | None = None,
    ) -> Counts:
        apart = [
            journal_counts.c[name] for name in (*(part for part in COUNT_PARTS if part in by), "measure")
        ]
        said = [
            journal_counts.c[part] if part in by else sa.literal(kind()) for part, kind in COUNT_PARTS.items()
        ]
        total = sa.cast(sa.func.sum(journal_counts.c.count), sa.BigInteger)
        query = sa.select(*said, journal_counts.c.measure, total).group_by(*apart)
        if measures is not None:
            query = query.where(journal_counts.c.measure.in_(measures))
        return self._counts(query, since, apart)

    def _counts(
        self, query: sa.Select[Any], since: datetime, order: Sequence[sa.ColumnElement[Any]]
    ) -> Counts:
        query = query.where(journal_counts.c.minute > since.timestamp() - 60).order_by(*order)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [
            count_of((minute, name, of, subscription, measure), count)
            for minute, name, of, subscription, measure, count in rows
        ]

    def note(self, action: Action) -> None:
        row = {"body": text_of_action(action)}
        newest = sa.select(sa.func.max(journal_actions.c.seq)).scalar_subquery()

        def put(connection: sa.Connection) -> None:
            connection.execute(sa.insert(journal_actions), row)
            old = journal_actions.c.seq <= newest - MAX_ACTIONS
            connection.execute(sa.delete(journal_actions).where(old))

        self._database.write(put, grows=True)

    def actions(self, *, limit: int = 100) -> Actions:
        query = sa.select(journal_actions.c.body).order_by(journal_actions.c.seq.desc()).limit(limit)
        texts = self._database.read(lambda connection: connection.scalars(query).all())
        return [action_of(each) for each in texts]

    def prune(self) -> int:
        count = 0
        while True:
            removed = self._database.write(self._prune_some)
            count += removed
            if removed < BATCH:
                return count

    def _prune_some(self, connection: sa.Connection) -> int:
        now = connection.execute(sa.select(self._database.now())).scalar_one()
        end = float(now) - self.keep_seconds
        connection.execute(sa.delete(journal_counts).where(journal_counts.c.minute <= end - 60))
        query = sa.select(journal_events.c.id).order_by(journal_events.c.last_at).limit(BATCH)
        gone: Sequence[str] = connection.scalars(query.where(journal_events.c.last_at < end)).all()
        if not gone:
            total = connection.scalar(sa.select(sa.func.count()).select_from(journal_events)) or 0
            spare = min(max(0, total - self.max_events), BATCH)
            worth = journal_events.c.notable, journal_events.c.last_at
            gone = connection.scalars(sa.select(journal_events.c.id).order_by(*worth).limit(spare)).all()
        for column in (journal_records.c.event_id, journal_events.c.id):
            connection.execute(sa.delete(column.table).where(among(connection, column, gone)))
        return len(gone)

    def _latest(
        self,
        limit: int,
        *,
        below: tuple[float, str] | None,
        since: float | None,
        only_notable: bool,
        name: str | None = None,
        outcome: str | None = None,
        ordering_key: str | None = None,
    ) -> JournalEvents:
        at, id_ = journal_events.c.last_at, journal_events.c.id
        order = at.desc(), id_.desc()
        query = sa.select(id_).order_by(*order).limit(limit)
        if below is not None:
            query = query.where(at <= below[0], sa.or_(at < below[0], id_ < below[1]))
        if since is not None:
            query = query.where(at >= since)
        if ordering_key is not None:
            query = query.where(journal_events.c.ordering_key == ordering_key)
        if name is not None:
            query = query.where(self._may_be_called(name))
        if outcome is not None:
            query = query.where(journal_events.c.outcomes.bitwise_and(bits_of([outcome])) != 0)
        elif only_notable:
            query = query.where(journal_events.c.notable)
        # What is looked for stands in an index; the rows are read of what was found.
        return self._events(sa.select(journal_events).where(id_.in_(query)).order_by(*order))

    def _may_be_called(self, pattern: str) -> sa.ColumnElement[bool]:
        """The condition that a name may match a pattern; the caller checks it again with `fnmatch`."""
        name = journal_events.c.name
        literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        if literal == pattern:
            return name == pattern
        if "[" in pattern:  # which a database reads in another way
            return name.startswith(literal, autoescape=True)
        escaped = re.sub(r"([%_/])", r"/\1", pattern).replace("*", "%").replace("?", "_")
        return name.like(escaped, escape="/")

    def _events(self, query: sa.Select[Any]) -> JournalEvents:
        rows = self._database.read(lambda connection: connection.execute(query).all())
        return [
            JournalEvent(
                id=row.id, name=row.name, first_at=row.first_at, last_at=row.last_at,
                outcomes=outcomes_of(row.outcomes), cause=row.cause, correlation=row.correlation,
                ordering_key=row.ordering_key, payload=row.payload,
            )
            for row in rows
        ]  # fmt: skip

    def _add_events(self) -> sa.Insert:
        insert = self._database.insert(journal_events)
        known, new = journal_events.c, insert.excluded
        statement: sa.Insert = insert.on_conflict_do_update(
            index_elements=[known.id],
            set_={
                "first_at": sa.case((new.first_at < known.first_at, new.first_at), else_=known.first_at),
                "last_at": sa.case((new.last_at > known.last_at, new.last_at), else_=known.last_at),
                "outcomes": known.outcomes.bitwise_or(new.outcomes),
                "notable": sa.or_(known.notable, new.notable),
                "cause": sa.func.coalesce(known.cause, new.cause),
                "ordering_key": sa.func.coalesce(known.ordering_key, new.ordering_key),
                "payload": sa.func.coalesce(known.payload, new.payload),
            },
        )
        return statement

    def _add_counts(self) -> sa.Insert:
        insert = self._database.insert(journal_counts)
        total = journal_counts.c.count + insert.excluded["count"]
        statement: sa.Insert = insert.on_conflict_do_update(
            index_elements=list(journal_counts.primary_key), set_={"count": total}
        )
        return statement
