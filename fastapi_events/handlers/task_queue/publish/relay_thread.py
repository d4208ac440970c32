"""The relay's work: takes the events of a handler from its outbox to its broker."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Protocol

from fastapi_events import clock
from fastapi_events.errors import StorageError
from fastapi_events.failpoints import crash_point
from fastapi_events.handlers.task_queue.fleet import Fleet
from fastapi_events.handlers.task_queue.messages import marked_resent
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.handlers.task_queue.publish.relay_presence import RelayPresence
from fastapi_events.leases import Keeper, keeper
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.storage.lanes import Due
from fastapi_events.storage.outbox import Entry, Outbox

logger: logging.Logger = logging.getLogger(__name__)

_BATCH = 500
_LEASE_SECONDS = 30.0
"""How long a killed relay's claim keeps others from its batch; longer than the keeper waits to extend it."""

_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_REFUSED_SECONDS = 5.0


class LaneRelay(Protocol):
    """The way of entries with an ordering key."""

    def put_entries(self, entries: Sequence[Entry]) -> tuple[Sequence[Due], Mapping[str, str]]:
        """Put entries into their lanes.

        Returns:
            The bells to ring, and the ids of entries that were refused, each with the reason.
        """

    def ring(self, due: Sequence[Due]) -> None:
        """Ring bells."""


class RelayThread:
    """Publishes what an outbox holds for a handler, in the order in which it came.

    Several may be at work on one outbox, in this process and in others: each entry is claimed by one of them.

    Parameters:
        handler_name: Who publishes, in the words of the lifecycle hooks.
        publishing: The way to the broker.
        outbox: Where the entries are.
        destination: Whose entries it takes.
        resend_after: Seconds that a published entry may wait for its receipts.
        lease: Seconds for which it claims a batch, and for which it extends the claim while it publishes.
        leases: What extends the claim in time.
        order: Where events with an ordering key are put, whatever the broker does.
        fleet: Whose catalogue says that the relay is at work.
    """

    def __init__(
        self,
        handler_name: str,
        publishing: Publisher,
        outbox: Outbox,
        destination: str,
        *,
        resend_after: float,
        lease: float = _LEASE_SECONDS,
        leases: Keeper = keeper,
        order: LaneRelay | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        self._handler_name = handler_name
        self._publisher = publishing
        self._outbox = outbox
        self._destination = destination
        self._resend_after = resend_after
        self._lease = lease
        self._leases = leases
        self._order = order
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._looked_at: dict[str, float] = {}
        self._presence = None if fleet is None else RelayPresence(destination, fleet, self)

    def start(self) -> None:
        """Begin to relay, in daemon threads that `stop` ends."""
        if any(each.is_alive() for each in self._threads):
            return
        self._stopping.clear()
        self._looked_at = dict.fromkeys(self._steps(), time.monotonic())
        self._threads = [
            threading.Thread(
                target=self._run, args=(what, step), daemon=True,
                name=f"fastapi-events-{what}-{self._destination}",
            )
            for what, step in self._steps().items()
        ]  # fmt: skip
        for each in self._threads:
            each.start()
        if self._presence is not None:
            self._presence.start()

    @property
    def silent_for(self) -> float | None:
        """Seconds since it has published what the outbox held, if anything; None where it does not run."""
        if not self._threads or not all(each.is_alive() for each in self._threads):
            return None
        return time.monotonic() - min(self._looked_at.values())

    def stop(self, timeout: float) -> None:
        """Let the batches in hand be published, and end."""
        self._stopping.set()
        if self._presence is not None:
            self._presence.stop()
        ends = time.monotonic() + timeout
        for each in self._threads:
            each.join(max(ends - time.monotonic(), 0.0))

    def step(self) -> int:
        """Publish a batch, and put another of events with an ordering key into their lanes.

        Returns:
            How many entries it published.

        Raises:
            StorageError: When the outbox fails.
            Exception: What the broker's client raises; the entries are claimable again at once.
        """
        count, errors = 0, []
        for step in self._steps().values():
            try:
                count += step(str(uuid.uuid4()))
            except Exception as error:  # of one of the two ways: the other goes on
                errors.append(error)
        if errors and not count:
            raise errors[0]
        return count

    def _steps(self) -> dict[str, Callable[[str], int]]:
        """What is to be done again and again, each in a thread of its own: neither waits for the other."""
        steps: dict[str, Callable[[str], int]] = {"relay": self._step}
        if self._order is not None:
            steps["lane-relay"] = partial(self._step_in_order, self._order)
        return steps

    def _run(self, what: str, step: Callable[[str], int]) -> None:
        """Relay until `stop`. While there is nothing to do, or no broker, it looks less and less often."""
        wait = _SHORTEST_WAIT_SECONDS
        trouble: str | None = None
        token = str(uuid.uuid4())
        while not self._stopping.is_set():
            relayed = 0
            try:
                relayed = step(token)
            except Exception as error:  # a relay that ends of it would leave the outbox to fill up
                if trouble is None:  # once, and not at each attempt of a long outage
                    trouble = f"{type(error).__name__}: {error}"
                    logger.warning("The relay of %s has to wait: %s", self._destination, trouble)
                self._stopping.wait(wait)
            else:
                self._looked_at[what] = time.monotonic()
                if trouble is not None:
                    logger.info("The relay of %s goes on.", self._destination)
                trouble = None
            if relayed:
                wait = _SHORTEST_WAIT_SECONDS
                continue
            self._rest(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    def _claim(self, token: str, *, ordered: bool | None) -> Sequence[Entry]:
        """Claim entries; what the outbox still has when an event has been handled is known there."""
        claimed = self._outbox.claim(
            token, destinations=[self._destination], limit=_BATCH, lease=self._lease, ordered=ordered
        )
        return [
            replace(entry, envelope=marked_resent(entry.envelope)) if entry.confirm == "handled" else entry
            for entry in claimed
        ]

    def _step(self, token: str) -> int:
        entries = self._claim(token, ordered=None if self._order is None else False)
        if not entries:
            return 0
        crash_point("relay.after_claim")
        with self._kept(token, entries):
            try:
                self._publisher.publish_entries(entries)
            except Exception as error:
                published = self._one_by_one(token, entries, error)
            else:
                published = entries
        crash_point("relay.after_publish")
        self._published(token, published)
        return len(published)

    def _step_in_order(self, order: LaneRelay, token: str) -> int:
        claimed_at = time.monotonic()
        entries = self._claim(token, ordered=True)
        if not entries:
            return 0
        crash_point("relay.after_claim")
        with self._kept(token, entries):
            # Whoever was frozen meanwhile puts nothing behind what another relay has put since.
            late = time.monotonic() - claimed_at > self._lease / 2
            if late and self._outbox.extend(token, entries, lease=self._lease) < len(entries):
                return 0
            due, refused = order.put_entries(entries)
        crash_point("relay.after_publish")
        self._published(token, [entry for entry in entries if entry.id not in refused])
        order.ring(due)
        if refused:
            self._put_off(token, [entry for entry in entries if entry.id in refused], refused)
        if len(refused) == len(entries):
            raise StorageError(next(iter(refused.values())))
        return len(entries) - len(refused)

    def _put_off(self, token: str, entries: Sequence[Entry], reasons: Mapping[str, str]) -> None:
        """Let the first refused entry of each key, and with it those behind it, wait for a while."""
        due = clock.now() + timedelta(seconds=_REFUSED_SECONDS)
        first: dict[str | None, Entry] = {}
        for entry in entries:
            if first.setdefault(entry.ordering_key, entry) is entry:
                logger.warning(
                    "Event %s waits in the outbox, with those of its key: %s", entry.id, reasons[entry.id]
                )
        self._outbox.reschedule([replace(entry, due=due) for entry in first.values()])
        self._outbox.release(token, entries)

    def _kept(self, token: str, entries: Sequence[Entry]) -> AbstractContextManager[None]:
        return self._leases.keep(partial(self._extended, token, entries), of=self._outbox)

    def _extended(self, token: str, entries: Sequence[Entry]) -> bool:
        return self._outbox.extend(token, entries, lease=self._lease) > 0

    def _published(self, token: str, entries: Sequence[Entry]) -> None:
        if entries:
            self._outbox.published(token, entries, resend_after=self._resend_after)
            tell(Lifecycle.relayed, len(entries), handler=self._handler_name)

    def _one_by_one(self, token: str, entries: Sequence[Entry], error: Exception) -> Sequence[Entry]:
        """Find out whether the broker refuses everything, or one entry that stands in the others' way."""
        published: list[Entry] = []
        refused: list[Entry] = []
        for entry in entries:
            if (len(refused) >= 2 and not published) or self._stopping.is_set():
                break
            try:
                self._publisher.publish_entries([entry])
            except Exception as raised:
                error = raised
                refused.append(entry)
            else:
                published.append(entry)
        done = {entry.id for entry in published}
        self._outbox.release(token, [entry for entry in entries if entry.id not in done])
        if not published:
            raise error
        for entry in refused:
            logger.error("The broker refuses event %s, which stays in the outbox: %s", entry.id, error)
        return published

    def _rest(self, seconds: float) -> None:
        try:
            self._outbox.wait(seconds)
        except StorageError:
            self._stopping.wait(seconds)
