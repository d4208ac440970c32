"""Inbox, dead letters, lanes, catalogue and journal in Redis or Valkey, from version 5; an outbox needs SQL.

Each method is one script, which the server runs alone. The keys have one hash tag, so that a cluster keeps
them on one node.
"""

from fastapi_events.errors import MissingDependencyError

try:
    import redis as redis
except ImportError as _missing:
    raise MissingDependencyError("redis", "redis") from _missing

from fastapi_events.storage.redis.catalogue import RedisCatalogue
from fastapi_events.storage.redis.dead_letters import RedisDeadLetters
from fastapi_events.storage.redis.inbox import RedisInbox
from fastapi_events.storage.redis.journal import RedisJournal
from fastapi_events.storage.redis.lanes import RedisLanes
from fastapi_events.storage.redis.store import RedisStore

__all__ = [
    "RedisCatalogue",
    "RedisDeadLetters",
    "RedisInbox",
    "RedisJournal",
    "RedisLanes",
    "RedisStore",
]
