"""The inbox in this process's memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from fastapi_events.storage.base import DONE, NEW, Clock
from fastapi_events.storage.inbox import Begun, Inbox
from fastapi_events.storage.memory.held import Held


@dataclass(slots=True)
class _Work(Held):
    """Work at one key; what is done is held for as long as that is remembered."""

    done: bool = False


class MemoryInbox(Inbox):
    """An inbox that ends with its process."""

    def __init__(self, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._works: dict[str, _Work] = {}

    def begin(self, key: str, *, token: str, lease: float) -> Begun:
        with self._lock:
            now = self._clock()
            work = self._works.setdefault(key, _Work())
            if work.done and work.hold is not None and now < work.hold.until:
                return DONE
            if not work.done and work.is_held_by_another(token, now):
                return work.busy(now)
            work.done = False
            work.take(token, now, lease)
            return NEW

    def extend(self, key: str, *, token: str, lease: float) -> bool:
        with self._lock:
            work = self._works.get(key)
            if work is None or work.done or work.token != token:
                return False
            work.take(token, self._clock(), lease)
            return True

    def complete(self, key: str, *, token: str, keep: float) -> bool:
        with self._lock:
            work = self._works.setdefault(key, _Work())
            if work.token not in (None, token):
                return False
            work.done = True
            work.take(token, self._clock(), keep)
            return True

    def release(self, key: str, *, token: str) -> None:
        with self._lock:
            work = self._works.get(key)
            if work is not None and not work.done and work.token == token:
                del self._works[key]

    def expire(self) -> int:
        with self._lock:
            now = self._clock()
            old = [key for key, work in self._works.items() if work.hold is None or work.hold.until <= now]
            for key in old:
                del self._works[key]
            return len(old)
