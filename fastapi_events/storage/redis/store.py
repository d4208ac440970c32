"""All stores but the outbox on one server."""

from __future__ import annotations

from datetime import timedelta

import redis

from fastapi_events import checks
from fastapi_events.storage.base import Clock
from fastapi_events.storage.dead_letters import MAX_LETTERS
from fastapi_events.storage.journal import KEEP, MAX_EVENTS
from fastapi_events.storage.lanes import MAX_LANE_ITEMS
from fastapi_events.storage.redis.catalogue import RedisCatalogue
from fastapi_events.storage.redis.dead_letters import RedisDeadLetters
from fastapi_events.storage.redis.inbox import RedisInbox
from fastapi_events.storage.redis.journal import RedisJournal
from fastapi_events.storage.redis.lanes import RedisLanes
from fastapi_events.storage.redis.server import RedisPart, Server


@checks.names_parameters
class RedisStore(RedisPart):
    """Inbox, dead letters, lanes, catalogue and journal on one Redis or Valkey server.

    Parameters:
        target: A URL, or a client; a client keeps its own time-outs, and is not closed by us.
        prefix: What the keys begin with, in braces.
        max_letters: Dead letters that are kept at most.
        edit_letters: Whether commands may replay a dead letter with another payload.
        max_items: Items that wait in one lane at most.
        keep: How long the journal keeps an event after the last that happened to it.
        max_events: Events that the journal keeps at most.
        clock: Tells the time instead of the server.
    """

    def __init__(
        self,
        target: redis.Redis | str,
        *,
        prefix: str = "fastapi_events",
        max_letters: int = MAX_LETTERS,
        edit_letters: bool = False,
        max_items: int = MAX_LANE_ITEMS,
        keep: timedelta | float = KEEP,
        max_events: int = MAX_EVENTS,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(Server(target, prefix, clock))
        self.inbox: RedisInbox = RedisInbox(self._server)
        self.dead_letters: RedisDeadLetters = RedisDeadLetters(
            self._server, max_letters=max_letters, edit_letters=edit_letters
        )
        self.lanes: RedisLanes = RedisLanes(self._server, max_items=max_items)
        self.catalogue: RedisCatalogue = RedisCatalogue(self._server)
        self.journal: RedisJournal = RedisJournal(self._server, keep=keep, max_events=max_events)
