"""Connections to a broker that are kept open, each for one thread at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar

from fastapi_events.green_threads import real_thread
from fastapi_events.per_process import PerProcess


class Closable(Protocol):
    """A connection that a `Keep` can hold."""

    def close(self) -> None:
        """Say goodbye; never raises, never waits for long."""


C = TypeVar("C", bound=Closable)


class Keep(Generic[C]):
    """Connections that nobody uses just now.

    A connection belongs to who took it until it is given back, so that there are as many as threads publish
    at once. A forked child has none: those of its parent are not for sharing. Nor are, among green threads,
    those that were opened in another real thread, such as the event loop's.
    """

    def __init__(self) -> None:
        self._idle: PerProcess[defaultdict[int, deque[C]]] = PerProcess(lambda: defaultdict(deque))

    @contextmanager
    def lent(self) -> Iterator[list[C]]:
        """Lend a connection, if there is one, as the one item of a list.

        Whatever connection is in the list at the end is kept; one that failed has to be taken out.
        """
        own: list[C] = []
        idle = self._idle.get()[real_thread()]
        with suppress(IndexError):
            own.append(idle.pop())  # the one used last, which the server is least likely to have closed
        try:
            yield own
        finally:
            idle.extend(own)

    def close(self) -> None:
        """Close every connection that is not in use, and that this thread may close."""
        idle = self._idle.get()[real_thread()]
        while idle:
            idle.pop().close()


def listed(queues: Iterable[str]) -> str:
    """Names of queues for an error message, each once."""
    return ", ".join(map(repr, sorted(set(queues))))
