"""The outbox in an SQL database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from fastapi_events.errors import StorageFull
from fastapi_events.storage.base import moment
from fastapi_events.storage.outbox import (
    LONGEST_RESEND_SECONDS,
    MAX_ENTRIES,
    RESEND_AFTER_SECONDS,
    Entries,
    Entry,
    Outbox,
    OutboxStatus,
    read_place,
)
from fastapi_events.storage.sqlalchemy.base import CHUNK, Room, SqlPart, among, begins_with
from fastapi_events.storage.sqlalchemy.claim import Claim
from fastapi_events.storage.sqlalchemy.database import Database, free
from fastapi_events.storage.sqlalchemy.notifications import Notifications, notify
from fastapi_events.storage.sqlalchemy.schema import outbox, receipts

_NOBODY = {"owner": None, "held_from": None, "held_until": None}


class SqlOutbox(SqlPart, Outbox):
    """An outbox in an SQL database.

    Parameters:
        database: Where it is; `SqlStore` makes one.
        max_entries: How many it holds at most.
    """

    def __init__(self, database: Database, *, max_entries: int = MAX_ENTRIES) -> None:
        SqlPart.__init__(self, database)
        Outbox.__init__(self, max_entries=max_entries)
        self._room = Room(outbox, max_entries)
        self._notifications = Notifications(database, self._bell)

    def add(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._database.write(
            lambda connection: self._add(connection, entries),
            grows=True,
            is_one_statement=len(entries) == 1 and not _concern_relays(entries),
        )
        if _concern_relays(entries):
            self._bell.ring()

    def add_in(self, connection: sa.Connection, entries: Sequence[Entry]) -> None:
        """Keep entries if the caller's transaction commits, and only then.

        Parameters:
            connection: Of the caller's transaction, in the same database. Of an `AsyncSession`, it is
                `await session.run_sync(lambda session: outbox.add_in(session.connection(), entries))`.

        Raises:
            StorageFull: When there is no room for them.
            sqlalchemy.exc.SQLAlchemyError: When the database fails, as for the caller's own statements.
        """
        if not entries:
            return
        if self._database.dialect == "sqlite":
            # Takes the right to write before anything is read: what has read already is refused it, at once,
            # where somebody else has written since.
            connection.execute(sa.update(outbox).where(sa.false()).values(expected=False))
        self._add(connection, entries)

    def claim(
        self,
        token: str,
        *,
        destinations: Collection[str],
        limit: int,
        lease: float,
        ordered: bool | None = None,
    ) -> Entries:
        if not destinations or limit < 1:
            return []

        def claim(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
            now = self._database.now()
            return Claim(now, token, destinations, limit=limit, lease=lease, ordered=ordered).made(connection)

        return [_entry(row) for row in self._database.write(claim)]

    def waiting_keys(
        self, destination: str, keys: Collection[str], *, beside: Collection[str] = ()
    ) -> set[str]:
        def look(connection: sa.Connection) -> set[str]:
            query = (
                sa.select(outbox.c.ordering_key)
                .where(
                    outbox.c.destination == destination,
                    among(connection, outbox.c.ordering_key, sorted(keys)),
                    sa.not_(outbox.c.published),
                    sa.not_(among(connection, outbox.c.event_id, sorted(beside))),
                )
                .distinct()
            )
            return set(connection.scalars(query))

        return self._database.read(look)

    def extend(self, token: str, entries: Sequence[Entry], *, lease: float) -> int:
        now = self._database.now()
        return self._change_owned(token, entries, held_from=now, held_until=now + lease)

    def published(
        self, token: str, entries: Sequence[Entry], *, resend_after: float = RESEND_AFTER_SECONDS
    ) -> int:
        def mark(connection: sa.Connection) -> int:
            now = self._database.now()
            count = 0
            for chunk in _chunks(entries):
                rows = connection.execute(
                    sa.select(outbox.c.seq, outbox.c.confirm)
                    .where(_are(connection, chunk), outbox.c.owner == token)
                    .order_by(outbox.c.seq)
                    .with_for_update()
                ).all()
                _remove(connection, [row.seq for row in rows if row.confirm == "published"])
                unconfirmed = [row.seq for row in rows if row.confirm != "published"]
                if unconfirmed:
                    connection.execute(
                        sa.update(outbox)
                        .where(among(connection, outbox.c.seq, unconfirmed))
                        .values(
                            owner=None,
                            published=True,
                            held_from=now,
                            held_until=now + _until_resent(now, resend_after),
                        )
                    )
                count += len(rows)
            return count

        return self._database.write(mark)

    def release(self, token: str, entries: Sequence[Entry]) -> int:
        count = self._change_owned(token, entries, **_NOBODY)
        if count:
            self._bell.ring()
        return count

    def expect(self, event_id: str, destination: str, subscriptions: Collection[str]) -> set[str]:
        return self.expect_all(destination, {event_id: subscriptions})[event_id]

    def expect_all(
        self, destination: str, listening: Mapping[str, Collection[str]]
    ) -> Mapping[str, set[str]]:
        return self._database.write(
            lambda connection: {
                event_id: self._expect(connection, event_id, destination, names)
                for event_id, names in listening.items()
            }
        )

    def _expect(
        self, connection: sa.Connection, event_id: str, destination: str, subscriptions: Collection[str]
    ) -> set[str]:
        entry = _locked(connection, event_id, destination)
        if entry is None:
            return set(subscriptions)
        connection.execute(
            sa.delete(receipts).where(receipts.c.entry == entry.seq, sa.not_(receipts.c.received))
        )
        if subscriptions:
            connection.execute(
                self._database.insert(receipts).on_conflict_do_nothing(),
                [{"entry": entry.seq, "subscription": each, "received": False} for each in subscriptions],
            )
        connection.execute(sa.update(outbox).where(outbox.c.seq == entry.seq).values(expected=True))
        missing = set(connection.scalars(_missing(entry.seq)))
        if not missing:
            _remove(connection, [entry.seq])
        return missing

    def receipt(self, event_id: str, destination: str, subscription: str) -> None:
        def take(connection: sa.Connection) -> None:
            entry = _locked(connection, event_id, destination)
            if entry is None:
                return
            insert = self._database.insert(receipts).values(
                entry=entry.seq, subscription=subscription, received=True
            )
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[receipts.c.entry, receipts.c.subscription], set_={"received": True}
                )
            )
            if entry.expected and connection.execute(_missing(entry.seq).limit(1)).first() is None:
                _remove(connection, [entry.seq])

        self._database.write(take)

    def awaits(self, event_id: str, destination: str, subscription: str) -> bool:
        def look(connection: sa.Connection) -> bool:
            entry = sa.select(outbox.c.seq).where(_are(connection, [(event_id, destination)]))
            seq = connection.scalar(entry)
            received = sa.select(receipts.c.entry).where(
                receipts.c.entry == seq, receipts.c.subscription == subscription, receipts.c.received
            )
            return seq is not None and connection.execute(received).first() is None

        return self._database.read(look)

    def status(self) -> OutboxStatus:
        def count(connection: sa.Connection) -> OutboxStatus:
            claimed = sa.and_(outbox.c.owner.is_not(None), sa.not_(free(outbox, self._database.now())))
            kinds = sa.case((claimed, "claimed"), (outbox.c.published, "unconfirmed"), else_="waiting")
            kind = sa.select(kinds.label("kind")).subquery()
            counts = {
                row.kind: row.number
                for row in connection.execute(
                    sa.select(kind.c.kind, sa.func.count().label("number")).group_by(kind.c.kind)
                )
            }
            oldest = connection.scalar(sa.select(outbox.c.added_at).order_by(outbox.c.seq).limit(1))
            return OutboxStatus(
                waiting=counts.get("waiting", 0),
                claimed=counts.get("claimed", 0),
                unconfirmed=counts.get("unconfirmed", 0),
                oldest=None if oldest is None else moment(oldest),
            )

        return self._database.read(count)

    def list(self, *, limit: int = 100, after: str | None = None) -> Entries:
        behind = () if after is None else (outbox.c.seq > read_place(after),)
        return self._oldest(limit, *behind)

    def find(self, prefix: str, *, limit: int = 20) -> Entries:
        return self._oldest(limit, *begins_with(self._database, outbox.c.event_id, prefix))

    def of_key(self, ordering_key: str, *, limit: int = 20) -> Entries:
        return self._oldest(limit, outbox.c.ordering_key == ordering_key)

    def _oldest(self, limit: int, *meant: sa.ColumnElement[bool]) -> Entries:
        query = sa.select(outbox).where(sa.true(), *meant).order_by(outbox.c.seq).limit(limit)
        return [
            _entry(row) for row in self._database.read(lambda connection: connection.execute(query).all())
        ]

    def discard(self, entries: Sequence[Entry]) -> int:
        ids: dict[str, list[str]] = defaultdict(list)
        for key, destination in sorted({_key(entry) for entry in entries}):
            ids[destination].append(key)

        def remove(connection: sa.Connection) -> int:
            count = 0
            for destination, some in ids.items():
                given = {
                    "destination": destination,
                    "ids": some if self._database.dialect == "postgresql" else json.dumps(some),
                }
                for statement in self._discarding:
                    removed = connection.execute(statement, given).rowcount
                count += removed  # by the last of them, whose rows are entries
            return count

        return self._database.write(remove, is_one_statement=len(ids) == 1) if ids else 0

    @cached_property
    def _discarding(self) -> Sequence[Any]:
        """The statements that remove the entries `ids` of a `destination`, made once."""
        there = sa.select(outbox.c.seq).where(outbox.c.destination == sa.bindparam("destination"))
        if self._database.dialect == "postgresql":
            ids = sa.bindparam("ids", type_=postgresql.ARRAY(sa.Text))
            # In their order, so that two processes which lock the same rows do not wait for each other.
            locked = there.where(outbox.c.event_id == sa.any_(ids)).order_by(outbox.c.seq).with_for_update()
            these = sa.select(locked.cte("these").c.seq)
            receipts_too = sa.delete(receipts).where(receipts.c.entry.in_(these)).cte("receipts_too")
            return [sa.delete(outbox).where(outbox.c.seq.in_(these)).add_cte(receipts_too)]
        given = sa.func.json_each(sa.bindparam("ids", type_=sa.Text)).table_valued("value")
        these = there.where(outbox.c.event_id.in_(sa.select(given.c.value)))
        return [
            sa.delete(receipts).where(receipts.c.entry.in_(these)),
            sa.delete(outbox).where(outbox.c.seq.in_(these)),
        ]

    def reschedule(self, entries: Sequence[Entry]) -> None:
        def put_off(connection: sa.Connection) -> None:
            times: dict[float | None, list[Entry]] = {}
            for entry in entries:
                times.setdefault(entry.due.timestamp() if entry.due else None, []).append(entry)
            for due, several in times.items():
                for chunk in _chunks(several):
                    these = sa.update(outbox).where(_are(connection, chunk))
                    connection.execute(these.values(due=due))
                    is_only_held = outbox.c.owner.is_(None), sa.not_(outbox.c.published)
                    connection.execute(these.where(*is_only_held).values(**_NOBODY))
            notify(connection)

        self._database.write(put_off)
        self._bell.ring()

    def wait(self, timeout: float) -> None:
        self._notifications.wait(timeout)

    def close(self) -> None:
        self._notifications.close()
        super().close()

    def _add(self, connection: sa.Connection, entries: Sequence[Entry]) -> None:
        if not self._room.has(connection, len(entries)):
            there = sum(
                connection.scalar(
                    sa.select(sa.func.count()).select_from(outbox).where(_are(connection, chunk))
                )
                or 0
                for chunk in _chunks(entries)
            )
            if not self._room.has(connection, len({_key(entry) for entry in entries}) - there):
                raise StorageFull(f"The outbox holds as many entries as it may, {self.max_entries}.")
        clock = self._database.own_clock
        now = {} if clock is None else {"now": clock()}
        rows = [
            {
                "event_id": entry.id,
                "destination": entry.destination,
                "envelope": entry.envelope,
                "ordering_key": entry.ordering_key,
                "due": None if entry.due is None else entry.due.timestamp(),
                "confirm": entry.confirm,
                "held": entry.held or None,
                **now,
            }
            for entry in entries
        ]
        connection.execute(self._insert, rows if len(rows) > 1 else rows[0])
        if _concern_relays(entries):
            notify(connection)

    @cached_property
    def _insert(self) -> Any:
        """The statement that adds an entry, made once: to make it takes as long as to run it."""
        is_given = self._database.own_clock is not None
        now = sa.bindparam("now", type_=sa.Double) if is_given else self._database.now()
        given = ("event_id", "destination", "envelope", "ordering_key", "due", "confirm")
        held = sa.bindparam("held", type_=sa.Double)  # null where nobody holds it
        insert = self._database.insert(outbox).values(
            {name: sa.bindparam(name) for name in given}
            | {"added_at": now, "published": False, "expected": False}
            | {"held_from": now, "held_until": now + held}
        )
        return insert.on_conflict_do_nothing()

    def _change_owned(self, token: str, entries: Sequence[Entry], /, **values: Any) -> int:
        return self._database.write(
            lambda connection: sum(
                connection.execute(
                    sa.update(outbox).where(_are(connection, chunk), outbox.c.owner == token).values(**values)
                ).rowcount
                for chunk in _chunks(entries)
            )
        )


def _concern_relays(entries: Sequence[Entry]) -> bool:
    """Whether a relay may take some of them at once; what is held need wake none."""
    return not all(entry.held for entry in entries)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.id, entry.destination


def _chunks(entries: Sequence[Entry]) -> Iterator[list[tuple[str, str]]]:
    # Sorted, so that two processes which lock the same rows do so in the same order.
    keys = sorted({_key(entry) for entry in entries})
    return (keys[begin : begin + CHUNK] for begin in range(0, len(keys), CHUNK))


def _are(connection: sa.Connection, keys: Sequence[tuple[str, str]]) -> sa.ColumnElement[bool]:
    ids: dict[str, list[str]] = defaultdict(list)
    for id_, destination in keys:
        ids[destination].append(id_)
    # Mostly there is one destination. A list of pairs would be planned as an alternative for each of them.
    return sa.or_(
        *(
            sa.and_(outbox.c.destination == destination, among(connection, outbox.c.event_id, some))
            for destination, some in ids.items()
        )
    )


def _until_resent(now: sa.ColumnElement[float], resend_after: float) -> sa.ColumnElement[float]:
    """Seconds for which a published entry waits for receipts: as long again as it could be published."""
    due = sa.func.coalesce(outbox.c.due, outbox.c.added_at)
    waited = now - sa.case((due > outbox.c.added_at, due), else_=outbox.c.added_at)
    longest = max(LONGEST_RESEND_SECONDS, resend_after)
    return sa.case((waited > longest, longest), (waited > resend_after, waited), else_=resend_after)


def _locked(connection: sa.Connection, event_id: str, destination: str) -> Any:
    """The entry, until the transaction ends: receipts that arrive at once must see one another."""
    return connection.execute(
        sa.select(outbox.c.seq, outbox.c.expected)
        .where(_are(connection, [(event_id, destination)]))
        .with_for_update()
    ).first()


def _missing(seq: int) -> sa.Select[Any]:
    return sa.select(receipts.c.subscription).where(receipts.c.entry == seq, sa.not_(receipts.c.received))


def _remove(connection: sa.Connection, rows: Sequence[int]) -> None:
    if rows:
        connection.execute(sa.delete(receipts).where(among(connection, receipts.c.entry, rows)))
        connection.execute(sa.delete(outbox).where(among(connection, outbox.c.seq, rows)))


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(
        id=row.event_id,
        destination=row.destination,
        envelope=row.envelope,
        ordering_key=row.ordering_key,
        due=None if row.due is None else moment(row.due),
        confirm=row.confirm,
        cursor=str(row.seq),
    )
