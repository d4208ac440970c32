"""The stores in an SQL database: a SQLite file, or PostgreSQL; with SQLAlchemy 2, sync or async.

`metadata` holds the tables, for migrations.
"""

from fastapi_events.errors import MissingDependencyError

try:
    import sqlalchemy as sqlalchemy
except ImportError as _missing:
    raise MissingDependencyError("SQLAlchemy", "sql") from _missing

from fastapi_events.storage.sqlalchemy.catalogue import SqlCatalogue
from fastapi_events.storage.sqlalchemy.dead_letters import SqlDeadLetters
from fastapi_events.storage.sqlalchemy.inbox import SqlInbox
from fastapi_events.storage.sqlalchemy.journal import SqlJournal
from fastapi_events.storage.sqlalchemy.lanes import SqlLanes
from fastapi_events.storage.sqlalchemy.outbox import SqlOutbox
from fastapi_events.storage.sqlalchemy.schema import VERSION, create, metadata
from fastapi_events.storage.sqlalchemy.store import SqlStore

__all__ = [
    "VERSION",
    "SqlCatalogue",
    "SqlDeadLetters",
    "SqlInbox",
    "SqlJournal",
    "SqlLanes",
    "SqlOutbox",
    "SqlStore",
    "create",
    "metadata",
]
