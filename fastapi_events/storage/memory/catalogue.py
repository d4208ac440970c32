"""The catalogue in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from fastapi_events.storage.base import Clock
from fastapi_events.storage.catalogue import Catalogue, Decision, Fields


class MemoryCatalogue(Catalogue):
    """A catalogue that ends with its process, for a fleet of one."""

    def __init__(self, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._kept: dict[str, dict[str, str]] = {}

    def _change(self, destination: str, decide: Decision) -> None:
        with self._lock:
            kept = self._kept.setdefault(destination, {})
            change = decide(dict(kept), self._clock())
            if change is not None:
                for name in change.remove:
                    kept.pop(name, None)
                kept.update(change.put)

    def _touch(self, destination: str, required: str, names: Sequence[str]) -> bool:
        with self._lock:
            kept = self._kept.get(destination, {})
            if required not in kept:
                return False
            kept.update(dict.fromkeys(names, repr(self._clock())))
            return True

    def _read(self, destination: str) -> tuple[Fields, float]:
        with self._lock:
            return dict(self._kept.get(destination, {})), self._clock()
