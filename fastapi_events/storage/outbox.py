"""The outbox: events that have not arrived yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from fastapi_events import checks
from fastapi_events.storage.base import Bell, Store, check_aware

MAX_ENTRIES = 1_000_000
"""Events that an outbox holds."""


RESEND_AFTER_SECONDS = 60.0
"""How long a published event may wait for its receipts before it is published again."""


LONGEST_RESEND_SECONDS = 6 * 3_600.0
"""How long it waits at most, however often it has been published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event on its way to one handler.

    Parameters:
        id: The event's id.
        destination: The name of the handler that it is for.
        envelope: The event's envelope, JSON text.
        ordering_key: Entries of one destination with the same key go out in the order they came.
        due: When to publish it, at the earliest; at once if not given.
        held: Seconds for which nobody is given it, since whoever adds it publishes it; by the outbox's clock.
        confirm: When the entry is done: once the broker has confirmed it, or once its subscriptions have run.
        cursor: Where it stands in the outbox that it comes from; opaque, and good even after it has gone.
    """

    id: str
    destination: str
    envelope: str
    ordering_key: str | None = None
    due: datetime | None = None
    held: float = field(default=0.0, compare=False)
    confirm: Literal["published", "handled"] = "published"
    cursor: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_aware("due", self.due)
        if self.confirm not in ("published", "handled"):
            raise ValueError(f"confirm must be 'published' or 'handled', not {self.confirm!r}")


Entries: TypeAlias = list[Entry]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxStatus:
    """How many entries an outbox holds.

    Parameters:
        waiting: To be published, now or when they are due.
        claimed: Held by a relay that publishes them.
        unconfirmed: Published, and waiting for the receipts of their subscriptions.
        oldest: When the oldest entry was added.
    """

    waiting: int
    claimed: int
    unconfirmed: int
    oldest: datetime | None


def read_place(cursor: str) -> int:
    """Where in its outbox an entry stands.

    Raises:
        ValueError: When it is not a cursor.
    """
    try:
        return int(cursor)
    except ValueError:
        raise ValueError(f"{cursor!r} is not a cursor of an entry") from None


class Outbox(Store, ABC):
    """Events that have not arrived yet.

    Parameters:
        max_entries: How many it holds at most; several processes that add at once may exceed it a little.
    """

    max_entries: int = MAX_ENTRIES

    def __init__(self, *, max_entries: int = MAX_ENTRIES) -> None:
        self.max_entries = checks.whole("max_entries", max_entries, least=1)
        self._bell = Bell()

    @abstractmethod
    def add(self, entries: Sequence[Entry]) -> None:
        """Keep entries: all or none, durable on return. One with the same id and destination stays as it is.

        Raises:
            StorageFull: When there is no room for them.
        """

    @abstractmethod
    def claim(
        self,
        token: str,
        *,
        destinations: Collection[str],
        limit: int,
        lease: float,
        ordered: bool | None = None,
    ) -> Entries:
        """Take the oldest entries that are due and that nobody holds, in the order in which they were added.

        An entry with an ordering key is not given out before all those of its key that came before it and
        have not been published yet, be it that somebody holds them or that they are not due. An entry that
        waits for its receipts is given out again once its resend time has passed.

        Parameters:
            token: A token of the relay's own, which it uses nowhere else.
            destinations: The handlers whose entries the relay can publish.
            lease: Seconds until the entries may go to somebody else.
            ordered: Only those with an ordering key, or only those without.
        """

    @abstractmethod
    def waiting_keys(
        self, destination: str, keys: Collection[str], *, beside: Collection[str] = ()
    ) -> set[str]:
        """Of which of these ordering keys there are entries that have not been published yet.

        Parameters:
            beside: The ids of events whose own entries do not count.
        """

    @abstractmethod
    def extend(self, token: str, entries: Sequence[Entry], *, lease: float) -> int:
        """Hold entries for another `lease` seconds from now.

        Returns:
            How many of them the token still holds.
        """

    @abstractmethod
    def published(
        self, token: str, entries: Sequence[Entry], *, resend_after: float = RESEND_AFTER_SECONDS
    ) -> int:
        """The broker has confirmed them: they are removed, or wait for their receipts (`confirm="handled"`).

        Parameters:
            resend_after: Seconds after which an entry that has not got its receipts is given out again. One
                that has been in the outbox for longer waits for as long again, up to
                `LONGEST_RESEND_SECONDS`, so that what is in a backlog does not make it longer.

        Returns:
            How many of them the token still held; the others are left as they are.
        """

    @abstractmethod
    def release(self, token: str, entries: Sequence[Entry]) -> int:
        """Give back what was claimed and not published: it may be claimed again at once.

        Returns:
            How many of them the token still held.
        """

    @abstractmethod
    def expect(self, event_id: str, destination: str, subscriptions: Collection[str]) -> set[str]:
        """Fan-out has found who listens to an event. Repeated, it replaces what was expected before.

        Returns:
            Those that have given no receipt yet: all of them where the outbox does not have the event. With
            none left the entry is done, and removed.
        """

    def expect_all(
        self, destination: str, listening: Mapping[str, Collection[str]]
    ) -> Mapping[str, set[str]]:
        """`expect` for many events: who listens to each, by its id, and who has given no receipt yet."""
        return {event_id: self.expect(event_id, destination, names) for event_id, names in listening.items()}

    @abstractmethod
    def receipt(self, event_id: str, destination: str, subscription: str) -> None:
        """A subscription has handled the event, or it is among the dead letters.

        The entry is removed once all who are expected have said so. Nothing is kept of an event that the
        outbox does not have.
        """

    @abstractmethod
    def awaits(self, event_id: str, destination: str, subscription: str) -> bool:
        """Whether the outbox has the event, and no receipt of this subscription."""

    @abstractmethod
    def status(self) -> OutboxStatus:
        """Count the entries."""

    @abstractmethod
    def list(self, *, limit: int = 100, after: str | None = None) -> Entries:
        """Show entries, the oldest first.

        Parameters:
            after: Begin behind the entry with this `cursor`, which may have gone meanwhile.
        """

    def find(self, prefix: str, *, limit: int = 20) -> Entries:
        """Entries of events whose ids begin with a prefix, the oldest first.

        A store that has an index is to use it: a backlog may be long when people look for an event.
        """
        return self._looked_for(lambda entry: entry.id.startswith(prefix), limit)

    def of_key(self, ordering_key: str, *, limit: int = 20) -> Entries:
        """Entries with an ordering key, the oldest first."""
        return self._looked_for(lambda entry: entry.ordering_key == ordering_key, limit)

    def _looked_for(self, is_meant: Callable[[Entry], bool], limit: int) -> Entries:
        found: Entries = []
        after = None
        while len(found) < limit and (page := self.list(limit=1_000, after=after)):
            found += filter(is_meant, page)
            after = page[-1].cursor
        return found[:limit]

    @abstractmethod
    def discard(self, entries: Sequence[Entry]) -> int:
        """Remove entries, whoever holds them, and count those that were there."""

    @abstractmethod
    def reschedule(self, entries: Sequence[Entry]) -> None:
        """Update the stored due time to that of the entries given; they are `held` no longer."""

    def wait(self, timeout: float) -> None:
        """Wait until something may be there to claim, or until so many seconds have passed."""
        self._bell.wait(timeout)
