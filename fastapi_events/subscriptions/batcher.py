"""Batches: what several threads of a worker have in hand is run together."""

from __future__ import annotations

import threading
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

    def take(self) -> list[_Share[T]]:
        """Take what there is; who comes next leads another batch."""
        with self.changed:
            shares, self.shares = self.shares, []
        return shares


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
            self._lead(waiting)
        else:
            share.done.wait()
        return share.errors

    def _lead(self, waiting: _Waiting[T]) -> None:
        """Wait for what other threads bring, and run all of it."""
        shares: list[_Share[T]] = []
        errors: list[Exception | None] = []
        failure: BaseException | None = None
        try:
            self._gather(waiting)
            shares = waiting.take()
            items = [item for share in shares for item in share.items]
            for begin in range(0, len(items), self._size):
                errors += self._run(items[begin : begin + self._size])
        except BaseException as raised:  # such as a time limit of the leader; no thread may wait for ever
            failure = raised
        finally:
            shares = shares or waiting.take()  # it was interrupted while it waited for others
            rest = RuntimeError(f"The batch was interrupted: {failure!r}") if failure else None
            errors += [rest] * (sum(len(share.items) for share in shares) - len(errors))
            at = 0
            for share in shares:
                share.errors = errors[at : at + len(share.items)]
                at += len(share.items)
                share.done.set()
        if failure is not None:
            raise failure

    def _gather(self, waiting: _Waiting[T]) -> None:
        with waiting.changed:
            # By a method that has the loop: Python 3.13 would leave an error that is raised at the end of a
            # loop's round, as time limits are, out of the block around it.
            waiting.changed.wait_for(
                lambda: sum(len(share.items) for share in waiting.shares) >= self._size, timeout=self._window
            )
