"""State that belongs to one process: a forked child makes its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that is made at its first use, once in each process.

    A forked child has none of its parent's threads, and its locks as they were held at the fork. So it makes
    a value anew. The parent's is kept there, untouched: to collect it would close connections that the parent
    still uses.

    Parameters:
        make: Makes the value; called by one thread at a time.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[int, T] | None = None
        self._inherited: list[T] = []
        # One lock a process: another thread may have held the parent's when this one was forked.
        self._locks: dict[int, threading.Lock] = {}

    def get(self) -> T:
        """This process's value, made now if it has none yet."""
        made, pid = self._made, os.getpid()
        if made is not None and made[0] == pid:
            return made[1]
        with self._locks.setdefault(pid, threading.Lock()):
            made = self._made
            if made is None or made[0] != pid:
                if made is not None:
                    self._inherited.append(made[1])
                made = self._made = pid, self._make()
            return made[1]

    @property
    def made(self) -> T | None:
        """This process's value, or None where it has made none."""
        made = self._made
        return None if made is None or made[0] != os.getpid() else made[1]

    def set(self, value: T) -> None:
        """Let a value that is made already be this process's."""
        made, pid = self._made, os.getpid()
        if made is not None and made[0] != pid:
            self._inherited.append(made[1])
        self._made = pid, value

    def take(self) -> T | None:
        """This process's value, which it has no longer: the next to ask makes another."""
        made = self.made
        if made is not None:
            self._made = None
        return made
