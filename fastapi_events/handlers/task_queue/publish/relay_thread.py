"""The relay's work: takes the events of a handler from its outbox to its broker."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence

from fastapi_events.errors import StorageError
from fastapi_events.failpoints import crash_point
from fastapi_events.handlers.task_queue.publish.publisher import Publisher
from fastapi_events.leases import Keeper, keeper
from fastapi_events.lifecycle import Lifecycle, tell
from fastapi_events.storage.outbox import Entry, Outbox

logger: logging.Logger = logging.getLogger(__name__)

_BATCH = 500
_LEASE_SECONDS = 30.0
"""How long a killed relay's claim keeps others from its batch; longer than the keeper waits to extend it."""

_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0


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
    ) -> None:
        self._handler_name = handler_name
        self._publisher = publishing
        self._outbox = outbox
        self._destination = destination
        self._resend_after = resend_after
        self._lease = lease
        self._leases = leases
        self._token = str(uuid.uuid4())
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked_at = 0.0

    def start(self) -> None:
        """Begin to relay, in a daemon thread that `stop` ends."""
        if self._thread is None or not self._thread.is_alive():
            self._stopping.clear()
            self._looked_at = time.monotonic()
            self._token = str(uuid.uuid4())
            self._thread = threading.Thread(
                target=self.run, name=f"fastapi-events-relay-{self._destination}", daemon=True
            )
            self._thread.start()

    @property
    def silent_for(self) -> float | None:
        """Seconds since it has published what the outbox held, if anything; None where it does not run."""
        if self._thread is None or not self._thread.is_alive():
            return None
        return time.monotonic() - self._looked_at

    def stop(self, timeout: float) -> None:
        """Let the batch in hand be published, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Relay until `stop`. While there is nothing to do, or no broker, it looks less and less often."""
        wait = _SHORTEST_WAIT_SECONDS
        trouble: str | None = None
        while not self._stopping.is_set():
            relayed = 0
            try:
                relayed = self.step()
            except Exception as error:  # a relay that ends of it would leave the outbox to fill up
                if trouble is None:  # once, and not at each attempt of a long outage
                    trouble = f"{type(error).__name__}: {error}"
                    logger.warning("The relay of %s has to wait: %s", self._destination, trouble)
                self._stopping.wait(wait)
            else:
                self._looked_at = time.monotonic()
                if trouble is not None:
                    logger.info("The relay of %s goes on.", self._destination)
                trouble = None
            if relayed:
                wait = _SHORTEST_WAIT_SECONDS
                continue
            self._rest(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    def step(self) -> int:
        """Publish one batch.

        Returns:
            How many entries it published.

        Raises:
            StorageError: When the outbox fails.
            Exception: What the broker's client raises; the entries are claimable again at once.
        """
        entries = self._outbox.claim(
            self._token, destinations=[self._destination], limit=_BATCH, lease=self._lease
        )
        if not entries:
            return 0
        crash_point("relay.after_claim")
        with self._leases.keep(lambda: self._outbox.extend(self._token, entries, lease=self._lease) > 0):
            try:
                self._publisher.publish_entries(entries)
            except Exception as error:
                published = self._one_by_one(entries, error)
            else:
                published = entries
        crash_point("relay.after_publish")
        self._outbox.published(self._token, published, resend_after=self._resend_after)
        tell(Lifecycle.relayed, len(published), handler=self._handler_name)
        return len(published)

    def _one_by_one(self, entries: Sequence[Entry], error: Exception) -> Sequence[Entry]:
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
        self._outbox.release(self._token, [entry for entry in entries if entry.id not in done])
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
