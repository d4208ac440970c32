"""Events that are in the outbox before they are flushed: with their response, or with a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi_events import clock
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.lane_writer import LaneWriter
from fastapi_events.handlers.task_queue.publish.outbox_writer import OutboxWriter
from fastapi_events.storage.outbox import Entry


class PersistedEvents:
    """Remembers which events this process has persisted, for their flush to publish or forget.

    Parameters:
        writer: The way into the outbox.
        lanes: The way of events with an ordering key.
        held: Seconds for which no relay takes an entry, because this process is to publish it.
        deadline: Seconds that a flush may take.
    """

    def __init__(
        self, writer: OutboxWriter, *, lanes: LaneWriter | None, held: float, deadline: float
    ) -> None:
        self._writer = writer
        self._lanes = lanes
        self._held = held
        self._latest_flush = held - deadline
        self._since: dict[str, float] = {}
        """When each event was persisted, on the monotonic clock, by its id."""

    async def persist(self, events: Sequence[Event]) -> None:
        """Write the entries of events before their response goes out.

        Raises:
            StorageError: When the outbox did not take them. They are flushed all the same.
        """
        if new := [each for each in events if each.id not in self._since]:
            await self._writer.write(new, held=self._held)
            self._note(new, clock.monotonic())

    def entries(self, events: Sequence[Event]) -> list[Entry]:
        """The outbox entries for these events; the caller inserts them in its own transaction."""
        return self._writer.entries(events, held=self._held)

    def committed(self, events: Sequence[Event], since: float) -> None:
        """Take note that the transaction with the entries of these events is committed.

        Parameters:
            since: When the entries were made, on the monotonic clock.
        """
        self._note(events, since)
        self._writer.announce()

    async def forget(self, events: Sequence[Event]) -> None:
        """Remove the entries of events that are not to be flushed after all."""
        persisted, _ = self.take(events)
        if persisted:
            await self._writer.remove(persisted)

    def take(self, events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
        """Divide events into those persisted before, which are remembered no longer, and the others."""
        if not self._since:
            return [], list(events)
        persisted: list[Event] = []
        others: list[Event] = []
        for event in events:
            (persisted if self._since.pop(event.id, None) is not None else others).append(event)
        return persisted, others

    def without_late(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events without those persisted so long ago that a relay may have taken them."""
        if not self._since:
            return events
        earliest = clock.monotonic() - self._latest_flush
        late = {each.id for each in events if self._since.get(each.id, earliest + 1.0) <= earliest}
        for each in late:
            del self._since[each]
        return [event for event in events if event.id not in late]

    def _note(self, events: Sequence[Event], since: float) -> None:
        """Remember events; later events of their ordering keys have to go into the outbox as well."""
        self._since.update(dict.fromkeys([each.id for each in events], since))
        if self._lanes is not None:
            self._lanes.behind.add([each.ordering_key for each in events if each.ordering_key is not None])
