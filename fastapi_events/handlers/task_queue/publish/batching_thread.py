"""The thread that publishes: it commits the flushes of concurrent requests together.

Whatever a broker's client has to wait for, it waits for in this thread and not on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from fastapi_events.combined_calls import another_like
from fastapi_events.errors import NotPublished

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_REFUSALS_THAT_SPEAK_FOR_ALL = 2
"""After so many in a row the rest of a batch is not tried, since it is the broker that is away."""


class Destination(Protocol[T_contra]):
    """Where a thread takes its items."""

    def take_batch(self, items: Sequence[T_contra]) -> None:
        """Take items in one round trip; called in the thread.

        Raises:
            Exception: When they were not taken; each of them is tried alone then.
        """


class BatchingThread(Generic[T]):
    """A thread and the bounded buffer in front of it.

    The thread starts with the first item and ends with `shutdown`, or when the process does. A forked child
    has none of its parent's items: the parent publishes them.

    Parameters:
        destination: Where it takes the items.
        name: The thread's name.
        max_pending: How much may wait, as the sum of sizes; more is refused.
        max_batch: How much is sent at once.
    """

    def __init__(self, destination: Destination[T], *, name: str, max_pending: int, max_batch: int) -> None:
        self._destination = destination
        self._name = name
        self._max_pending = max_pending
        self._max_batch = max_batch
        self._thread: threading.Thread | None = None
        self._pending: deque[tuple[Future[None], T, int]] = deque()
        self._pending_size = 0
        self._start_over()

    async def send(self, item: T, *, size: int, answer: Future[None] | None = None) -> None:
        """Hand over an item and wait until it has been taken. Who is cancelled meanwhile takes it back.

        Parameters:
            size: How much of the buffer it takes.
            answer: Is done when it has been taken, also where the caller waits no longer.

        Raises:
            NotPublished: When the buffer is full, or `shutdown` left the item behind.
            Exception: Whatever the destination raises.
        """
        future: Future[None] = answer or Future()
        taken = asyncio.wrap_future(future)
        try:
            self._put(future, item, size)  # last: the thread cannot run before this one lets go of the GIL
            await taken
        except asyncio.CancelledError:
            future.cancel()  # at once, rather than in the loop's next round
            raise
        finally:
            taken.cancel()  # where it was refused: the two futures would hold each other
            del future, taken, answer  # they hold an error, which holds this frame

    def submit(self, item: T, *, size: int) -> Future[None]:
        """Hand over an item. Cancel the future to take it back, as long as it has not been sent.

        Parameters:
            size: How much of the buffer it takes.

        Raises:
            NotPublished: When the buffer is full.
        """
        future: Future[None] = Future()
        self._put(future, item, size)
        return future

    def _put(self, future: Future[None], item: T, size: int) -> None:
        if self._pid != os.getpid():
            self._start_over()
        with self._changed:
            if self._pending_size + size > self._max_pending:
                self._forget_cancelled()
            if self._pending_size + size > self._max_pending and self._pending:
                raise NotPublished(
                    f"{self._pending_size} events wait for the broker already, the limit of the buffer"
                )
            self._pending.append((future, item, size))
            self._pending_size += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def shutdown(self, timeout: float) -> list[T]:
        """Let the thread send what waits, then end it; the next `submit` starts another.

        Parameters:
            timeout: Seconds to wait for it.

        Returns:
            What could not be sent in time. What is being sent just then is not among it: its future tells.
        """
        if self._pid != os.getpid():
            return []
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        with self._changed:
            left = list(self._pending) if self._thread is None else []
            self._pending.clear()
            self._pending_size = 0
        behind = [(future, item) for future, item, _ in left if future.set_running_or_notify_cancel()]
        for future, _ in behind:
            future.set_exception(NotPublished("the process stopped before the broker took it"))
        return [item for _, item in behind]

    @property
    def pending(self) -> int:
        """How much waits, as the sum of sizes."""
        return self._pending_size

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and nothing is being sent."""
        return not self._sending and not self._pending

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._pending = deque()
        self._pending_size = 0
        self._sending = False
        self._thread = None

    def _forget_cancelled(self) -> None:
        self._pending = deque(each for each in self._pending if not each[0].cancelled())
        self._pending_size = sum(size for _, _, size in self._pending)

    def _work(self) -> None:
        this = threading.current_thread()
        while True:
            with self._changed:
                self._sending = False
                while not self._pending:
                    if self._thread is not this:
                        return
                    self._changed.wait()
                self._sending = True
                batch = self._take()
            # One that was cancelled meanwhile has been reported lost; it must not be sent after all.
            futures_and_items = [(f, item) for f, item in batch if f.set_running_or_notify_cancel()]
            if futures_and_items:
                self._send_batch(futures_and_items)

    def _send_batch(self, batch: Sequence[tuple[Future[None], T]]) -> None:
        try:
            self._destination.take_batch([item for _, item in batch])
        except Exception as error:  # whatever the broker's client raises; each flush gets to know
            if len(batch) == 1:
                self._sending = False
                batch[0][0].set_exception(error)
            else:
                self._send_singly(batch)
        else:
            self._sending = False  # before anybody is told, who may look at once
            for future, _ in batch:
                future.set_result(None)

    def _send_singly(self, batch: Sequence[tuple[Future[None], T]]) -> None:
        """Find out whether everything is refused, or one item that stands in the others' way."""
        refused: Exception | None = None
        in_a_row = 0
        for future, item in batch:
            if refused is not None and in_a_row >= _REFUSALS_THAT_SPEAK_FOR_ALL:
                future.set_exception(another_like(refused) or refused)
                continue
            try:
                self._destination.take_batch([item])
            except Exception as error:
                refused = error
                in_a_row += 1
                future.set_exception(error)
            else:
                in_a_row = 0
                future.set_result(None)

    def _take(self) -> list[tuple[Future[None], T]]:
        batch: list[tuple[Future[None], T]] = []
        taken = 0
        while self._pending and (not batch or taken + self._pending[0][2] <= self._max_batch):
            future, item, size = self._pending.popleft()
            self._pending_size -= size
            taken += size
            batch.append((future, item))
        return batch
