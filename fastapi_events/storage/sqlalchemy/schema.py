"""The tables, and whether a database has them.

Times are seconds since 1970, as floating-point numbers: they are compared and added to, on the server's clock
where it has one.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from fastapi_events.envelope import ORDERING_KEY
from fastapi_events.errors import StorageNotReady
from fastapi_events.storage.base import storable
from fastapi_events.storage.letters import fingerprint, ordering_key_in

VERSION = 6
"""Of the tables; a database of a newer one is refused."""

PREFIX = "fastapi_events_"

# What every process that creates the tables locks first, so that two do not at once.
_SETUP_LOCK = 0x66617374

metadata: sa.MetaData = sa.MetaData()
"""The tables of all stores."""

# An index that was replaced by one with more columns.
_WITHOUT_OUTCOMES = f"{PREFIX}journal_events_time"

_FILLED_AT_ONCE = 500

InBytes: sa.types.TypeEngine[str] = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""A text that is compared byte by byte, whatever the database's language: an index finds a prefix."""

KEY_LENGTH = 64
"""Characters of `event_key` and of a letter's key: a forged one may be longer than an index takes."""

# SQLite numbers the rows by itself only where the type is INTEGER.
_Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _hold() -> tuple[sa.Column[str], sa.Column[float], sa.Column[float]]:
    return (
        sa.Column("owner", sa.Text),
        sa.Column("held_from", sa.Double),
        sa.Column("held_until", sa.Double),
    )


def _index_ordering_keys(table: sa.Table, *then: str) -> None:
    """Find rows by their ordering keys. Those that have none are not in the index: they are most of them."""
    key = table.c.ordering_key
    has_one = key.is_not(None)
    columns = (key, *(table.c[each] for each in then))
    sa.Index(f"{table.name}_keys", *columns, sqlite_where=has_one, postgresql_where=has_one)


version: sa.Table = sa.Table(
    f"{PREFIX}schema",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

outbox: sa.Table = sa.Table(
    f"{PREFIX}outbox",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.Column("ordering_key", sa.Text),
    sa.Column("due", sa.Double),
    sa.Column("confirm", sa.Text, nullable=False),
    sa.Column("added_at", sa.Double, nullable=False),
    sa.Column("published", sa.Boolean, nullable=False),
    sa.Column("expected", sa.Boolean, nullable=False),
    *_hold(),
    sa.UniqueConstraint("event_id", "destination", name=f"{PREFIX}outbox_key"),
    sqlite_autoincrement=True,
)
# None begins with the destination: claims shall follow the primary key, and stop when they have enough.
_index_ordering_keys(outbox, "destination")

receipts: sa.Table = sa.Table(
    f"{PREFIX}receipts",
    metadata,
    sa.Column("entry", _Sequence, primary_key=True, autoincrement=False),
    sa.Column("subscription", sa.Text, primary_key=True),
    sa.Column("received", sa.Boolean, nullable=False),
)

inbox: sa.Table = sa.Table(
    f"{PREFIX}inbox",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("done", sa.Boolean, nullable=False),
    *_hold(),
    sa.Index(f"{PREFIX}inbox_until", "held_until"),
)

dead_letters: sa.Table = sa.Table(
    f"{PREFIX}dead_letters",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("handler", sa.Text, nullable=False),
    sa.Column("subscription", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text),
    sa.Column("event_name", sa.Text),
    sa.Column("argument", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("traceback", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at", sa.Double, nullable=False),
    sa.Column("last_at", sa.Double, nullable=False),
    sa.Column("event_key", InBytes),  # the beginning of the event's id, which an index can take
    sa.Column("fingerprint", sa.Text),  # of its cause, by which letters are grouped
    sa.Column("ordering_key", sa.Text),  # the beginning of the event's
    sa.Index(f"{PREFIX}dead_letters_time", "last_at", "id"),
    # None begins with the handler: SQLite would take it for pages of all letters, and sort them.
    sa.Index(f"{PREFIX}dead_letters_group", "fingerprint", "handler", "last_at", "id"),
    sa.Index(f"{PREFIX}dead_letters_event", "event_key"),
    # No index on names of events: a forged one may be longer than an index can take.
    sa.Index(f"{PREFIX}dead_letters_subscription", "subscription", "last_at"),
)
_index_ordering_keys(dead_letters, "last_at", "id")

lanes: sa.Table = sa.Table(
    f"{PREFIX}lane_turns",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("destination", sa.Text, nullable=False),
    sa.Column("token", sa.Text),
    sa.Column("changed", sa.Double, nullable=False),
    sa.Column("held_until", sa.Double, nullable=False),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("look_at", sa.Double, nullable=False),
    sa.Column("rings", sa.Integer, nullable=False),
    sa.Column("starts", sa.Integer, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Index(f"{PREFIX}lane_turns_look", "destination", "look_at"),
)

lane_items: sa.Table = sa.Table(
    f"{PREFIX}lane_items",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.UniqueConstraint("lane", "id", name=f"{PREFIX}lane_items_key"),
    sa.Index(f"{PREFIX}lane_items_order", "lane", "seq"),
    sqlite_autoincrement=True,
)


catalogue: sa.Table = sa.Table(
    f"{PREFIX}catalogue",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)

journal_events: sa.Table = sa.Table(
    f"{PREFIX}journal_events",
    metadata,
    sa.Column("id", InBytes, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("first_at", sa.Double, nullable=False),
    sa.Column("last_at", sa.Double, nullable=False),
    sa.Column("outcomes", sa.Integer, nullable=False),
    sa.Column("notable", sa.Boolean, nullable=False),
    sa.Column("cause", sa.Text),
    sa.Column("correlation", sa.Text),
    sa.Column("payload", sa.Text),
    sa.Column("ordering_key", sa.Text),
    # A search for names or outcomes reads the index alone, however many events there are.
    sa.Index(f"{PREFIX}journal_events_latest", "last_at", "id", "outcomes", "name"),
    sa.Index(f"{PREFIX}journal_events_worth", "notable", "last_at"),
    sa.Index(f"{PREFIX}journal_events_chain", "correlation"),
)
_index_ordering_keys(journal_events, "last_at", "id")

journal_records: sa.Table = sa.Table(
    f"{PREFIX}journal_records",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index(f"{PREFIX}journal_records_event", "event_id"),
)

journal_actions: sa.Table = sa.Table(
    f"{PREFIX}journal_actions",
    metadata,
    sa.Column("seq", _Sequence, primary_key=True, autoincrement=True),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

journal_counts: sa.Table = sa.Table(
    f"{PREFIX}journal_counts",
    metadata,
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event_name", sa.Text, primary_key=True),
    sa.Column("handler", sa.Text, primary_key=True),
    sa.Column("subscription", sa.Text, primary_key=True),
    sa.Column("measure", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)


def create(connection: sa.Connection) -> None:
    """Create what is missing, in the caller's transaction; a migration may call it, too.

    Tables of an older version are brought up to this one: columns and indexes are added, and filled.

    Raises:
        StorageNotReady: When the tables are those of a newer version.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SETUP_LOCK)))
    _refuse_newer_version(connection)
    metadata.create_all(connection)
    found = connection.scalar(sa.select(version.c.version))
    if found == VERSION:
        return
    _add_what_is_missing(connection)  # also to tables of a migration, which say no version
    if found is None:
        connection.execute(sa.insert(version).values(name="storage", version=VERSION))
    else:
        connection.execute(sa.update(version).values(version=VERSION))


def _add_what_is_missing(connection: sa.Connection) -> None:
    """Columns and indexes of tables that an older version has made; `create_all` only adds tables."""
    _tell_counts_of_handlers_apart(connection)
    indexes = sa.inspect(connection).get_multi_indexes(filter_names=list(metadata.tables))
    there = {each["name"] for found in indexes.values() for each in found}
    for name, columns in _columns(connection).items():
        table = metadata.tables[name]
        for column in table.columns:
            if column.name not in columns:  # which may be null, since there are rows
                kind = column.type.compile(connection.dialect)
                connection.execute(sa.text(f'ALTER TABLE {name} ADD COLUMN "{column.name}" {kind}'))
        for index in table.indexes:
            if index.name not in there:
                index.create(connection)
    connection.execute(sa.text(f"DROP INDEX IF EXISTS {_WITHOUT_OUTCOMES}"))
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f'ALTER TABLE {journal_events.name} ALTER id TYPE TEXT COLLATE "C"'))
    _fill_letters(connection)


def _tell_counts_of_handlers_apart(connection: sa.Connection) -> None:
    """Make the table of counts anew where its key has no handler: SQLite cannot change a primary key."""
    name = journal_counts.name
    if "handler" in {each["name"] for each in sa.inspect(connection).get_columns(name)}:
        return
    connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {name}_old"))
    journal_counts.create(connection)
    columns = "minute, event_name, subscription, measure, count"
    connection.execute(
        sa.text(f"INSERT INTO {name} (handler, {columns}) SELECT '', {columns} FROM {name}_old")  # noqa: S608
    )
    connection.execute(sa.text(f"DROP TABLE {name}_old"))


def _fill_letters(connection: sa.Connection) -> None:
    """Letters that an older version has kept have a group, too, and are found by their events."""
    column = dead_letters.c
    said = (
        column.id, column.event_id, column.subscription, column.reason, column.traceback, column.argument,
    )  # fmt: skip
    has_key = column.argument.contains(f'"{ORDERING_KEY}"', autoescape=True)
    connection.execute(
        sa.update(dead_letters).where(column.ordering_key.is_(None), has_key).values(fingerprint=None)
    )
    unknown = sa.select(*said).where(column.fingerprint.is_(None)).limit(_FILLED_AT_ONCE)
    change = sa.update(dead_letters).where(column.id == sa.bindparam("letter"))
    while rows := connection.execute(unknown).all():
        found = [
            {
                "letter": row.id,
                "found": fingerprint(row.subscription, row.reason, row.traceback),
                "key": None if row.event_id is None else row.event_id[:KEY_LENGTH],
                "lane": key_start(ordering_key_in(row.argument)),
            }
            for row in rows
        ]
        connection.execute(
            change.values(
                fingerprint=sa.bindparam("found"),
                event_key=sa.bindparam("key"),
                ordering_key=sa.bindparam("lane"),
            ),
            found,
        )


def key_start(ordering_key: str | None) -> str | None:
    """What the column has of a letter's ordering key."""
    return None if ordering_key is None else storable(ordering_key)[:KEY_LENGTH]


def verify(connection: sa.Connection) -> None:
    """Verify that the tables are there. Those that a migration has made need no version.

    Raises:
        StorageNotReady: When they are not, or are those of a newer version.
    """
    _refuse_newer_version(connection)
    there = _columns(connection)
    missing = [name for name in metadata.tables if name not in there]
    missing += [
        f"{name}.{column}"
        for name, columns in there.items()
        for column in set(metadata.tables[name].columns.keys()) - columns
    ]
    if missing:
        raise StorageNotReady(
            f"The database lacks {', '.join(sorted(missing))}. "
            "Create the tables with `fastapi-events outbox setup MODULE`, with setup(), or by a migration."
        )


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    """The columns of those of our tables that are there, asked for at once."""
    found = sa.inspect(connection).get_multi_columns(filter_names=list(metadata.tables))
    return {name: {each["name"] for each in columns} for (_, name), columns in found.items()}


def _refuse_newer_version(connection: sa.Connection) -> None:
    if not sa.inspect(connection).has_table(version.name):
        return
    found = connection.scalar(sa.select(version.c.version))
    if found is not None and found > VERSION:
        raise StorageNotReady(
            f"The tables of the database have version {found}, this release knows version {VERSION}. "
            "Upgrade fastapi-events."
        )
