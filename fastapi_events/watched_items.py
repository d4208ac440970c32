"""Items that a thread looks at again and again, as long as there are any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from fastapi_events.per_process import PerProcess

T = TypeVar("T")

IDLE_SECONDS = 30.0
"""How long a thread waits for another item before it ends."""


class WatchedItems(Generic[T]):
    """Items, and the daemon thread that looks at them: it starts with the first, and ends when it is idle.

    A forked child has none of its parent's items, and starts a thread of its own.

    Parameters:
        look: Called with each item in the thread, again and again; returns whether to look at it once more.
        every: Seconds between two looks. An item that comes meanwhile waits for the next one, and wakes
            nobody.
        name: The thread's name.
    """

    def __init__(self, look: Callable[[T], bool], *, every: float, name: str) -> None:
        self._look = look
        self._every = every
        self._name = name
        self._here: PerProcess[_Here[T]] = PerProcess(_Here)

    @property
    def is_idle(self) -> bool:
        """Whether no thread of this process looks at anything."""
        here = self._here.made
        return here is None or not here.items

    @contextmanager
    def watch(self, item: T) -> Iterator[None]:
        """Look at an item while the block runs."""
        here, ticket = self._here.get(), object()
        with here.changed:
            here.items[ticket] = item
            if here.thread is None:
                here.thread = threading.Thread(target=self._work, args=(here,), name=self._name, daemon=True)
                here.thread.start()
            here.changed.notify()
        try:
            yield
        finally:
            with here.changed:
                here.items.pop(ticket, None)

    def _work(self, here: _Here[T]) -> None:
        while True:
            with here.changed:
                while not here.items:
                    if not here.changed.wait(IDLE_SECONDS) and not here.items:
                        here.thread = None
                        return
            time.sleep(self._every)
            with here.changed:
                items = list(here.items.items())
            for ticket, item in items:
                if not self._look(item):
                    with here.changed:
                        here.items.pop(ticket, None)


class _Here(Generic[T]):
    """What one process has."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.items: dict[object, T] = {}
        self.thread: threading.Thread | None = None
