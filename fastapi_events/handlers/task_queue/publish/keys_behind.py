"""The ordering keys of which events wait in the outbox, so that later events of them must not overtake."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fastapi_events.errors import StorageError
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker
from fastapi_events.storage.outbox import Outbox

_MOST_ASKED = 100_000
"""Keys that are remembered as asked for; then they are asked for again."""


class Behind:
    """The keys of which events wait in the outbox, so that those that follow have to go there as well.

    Parameters:
        outbox: Where they wait; None where nothing can be behind.
        destination: The handler's name there.
        breaker: That of the outbox.
    """

    def __init__(self, outbox: Outbox | None, destination: str, breaker: CircuitBreaker) -> None:
        self._outbox = outbox
        self._destination = destination
        self._breaker = breaker
        self._lock = threading.Lock()
        self._keys: dict[str, int] = {}
        """How many events of a key are under way."""
        self._asked: set[str] = set()
        """The keys of which this process knows what another one, such as the last, has left in the outbox."""
        self._there: set[str] = set()
        """The keys of which there are events in the outbox, as far as this process knows."""

    def add(self, keys: Sequence[str], *, under_way: int = 0) -> None:
        """Events of these keys are in the outbox.

        Parameters:
            under_way: 1 where they are only on their way there: `arrived` follows.
        """
        if self._outbox is None:
            return
        with self._lock:
            for key in keys:
                self._keys[key] = self._keys.get(key, 0) + under_way
            if not under_way:
                self._there.update(keys)

    def arrived(self, keys: Sequence[str], *, kept: bool = True) -> None:
        """What was under way is in the outbox; or it is not, and nothing has to wait for it."""
        with self._lock:
            for key in keys:
                if key not in self._keys:
                    continue
                self._keys[key] = max(self._keys[key] - 1, 0)
                if kept:
                    self._there.add(key)
                elif not self._keys[key] and key not in self._there:
                    del self._keys[key]

    def of(self, events: Sequence[Event]) -> frozenset[str]:
        """Which keys of these events are behind; a relay may have put the last of their events.

        An entry of the outbox that is one of these events, persisted before its flush, is not before it.
        """
        keys = list(dict.fromkeys(keys_of(events)))
        with self._lock:
            known = {key: self._keys[key] for key in keys if key in self._keys}
            new = [] if self._outbox is None else [key for key in keys if key not in self._asked]
        asked = list(dict.fromkeys([key for key, under_way in known.items() if not under_way] + new))
        if asked and self._outbox is not None:
            if not self._breaker.allows():
                return frozenset(known)
            try:
                waiting = self._outbox.waiting_keys(
                    self._destination, asked, beside=[event.id for event in events]
                )
            except StorageError:  # unknown; what was known before stays in force
                self._breaker.failed()
                return frozenset(known)
            self._breaker.succeeded()
            with self._lock:
                if len(self._asked) + len(new) > _MOST_ASKED:
                    self._asked.clear()
                self._asked.update(new)
                for key in waiting - self._keys.keys():
                    self._keys[key] = known[key] = 0
                    self._there.add(key)
                for key in set(asked) - waiting:
                    if self._keys.get(key) == 0:
                        del self._keys[key]
                        known.pop(key, None)
                        self._there.discard(key)
        return frozenset(known)


def keys_of(events: Sequence[Event]) -> list[str]:
    """The ordering keys of events, all of which have one."""
    return [str(event.ordering_key) for event in events]
