"""Batches: what several threads of a worker have in hand is run together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fastapi_events.per_process import PerProcess

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Share(Generic[T]):
    """The items that one thread brought."""

    items: Sequence[T]
    done: threading.Event = field(default_factory=threading.Event)
    errors: Sequence[Exception | None] = ()


class _Waiting(Generic[T]):
    """What the threads of one process have brought for the next batch."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.shares: list[_Share[T]] = []


class Batcher(Generic[T]):
    """Collects items from threads, and runs them together in the one that came first.

    Parameters:
        run: Runs a batch; answers for each item what was wrong with it, or None.
        size: The most items that run together; one thread may bring more.
        window: Seconds that the first item waits for others.
    """

    def __init__(
        self, run: Callable[[Sequence[T]], Sequence[Exception | None]], *, size: int, window: float
    ) -> None:
        self._run = run
        self._size = size
        self._window = window
        self._waiting: PerProcess[_Waiting[T]] = PerProcess(_Waiting)

    def submit(self, items: Sequence[T]) -> Sequence[Exception | None]:
        """Run items, together with those of other threads, and wait for it.

        Returns:
            For each of them what was wrong with it, or None.
        """
        waiting, share = self._waiting.get(), _Share(items)
        with waiting.changed:
            leads = not waiting.shares
            waiting.shares.append(share)
            waiting.changed.notify_all()
        if leads:
            self._run_together(self._gather(waiting))
        else:
            share.done.wait()
        return share.errors

    def _gather(self, waiting: _Waiting[T]) -> list[_Share[T]]:
        until = time.monotonic() + self._window
        with waiting.changed:
            while (
                sum(len(share.items) for share in waiting.shares) < self._size
                and (left := until - time.monotonic()) > 0
            ):
                waiting.changed.wait(left)
            shares, waiting.shares = waiting.shares, []
            return shares

    def _run_together(self, shares: Sequence[_Share[T]]) -> None:
        items = [item for share in shares for item in share.items]
        errors: list[Exception | None] = []
        failure: BaseException | None = None
        try:
            for begin in range(0, len(items), self._size):
                errors += self._run(items[begin : begin + self._size])
        except BaseException as raised:  # such as a time limit of the leader; no thread may wait for ever
            failure = raised
        finally:
            rest = RuntimeError(f"The batch was interrupted: {failure!r}") if failure else None
            errors += [rest] * (len(items) - len(errors))
            at = 0
            for share in shares:
                share.errors = errors[at : at + len(share.items)]
                at += len(share.items)
                share.done.set()
        if failure is not None:
            raise failure
