"""What the events of a scope cause: those that their functions dispatch, and what these cause in turn."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from typing import Any

CUT_OFF_GRACE_SECONDS = 1.0
"""How long what was cut off at a deadline may take to end."""


class Consequence:
    """One event that is being handled, or about to be; its task may run on another thread's loop."""

    def __init__(self) -> None:
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._task: asyncio.Task[Any] | None = None

    def follow(self, task: asyncio.Task[Any]) -> None:
        """Say which task handles it."""
        self._task = task

    def cut_off(self) -> None:
        """Cancel its task, from any thread."""
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is gone, and the task with it
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)


class Consequences:
    """The events that a scope's events have caused in this process, until they have been handled."""

    def __init__(self) -> None:
        self._pending: set[Consequence] = set()
        self._errors: list[BaseException] = []

    def __bool__(self) -> bool:
        return bool(self._pending or self._errors)

    def expect(self) -> Consequence:
        """Begin to wait for an event that is going to be handled."""
        expected = Consequence()
        self._pending.add(expected)
        return expected

    def follow(self, task: asyncio.Task[list[BaseException]], expected: Consequence | None = None) -> None:
        """Wait for the task that handles an event."""
        consequence = self.expect() if expected is None else expected
        consequence.follow(task)
        task.add_done_callback(lambda done: self.end(consequence, [] if done.cancelled() else done.result()))

    def end(self, consequence: Consequence, errors: list[BaseException]) -> None:
        """Stop to wait for an event: it has been handled, or nobody will."""
        self._errors += errors
        self._pending.discard(consequence)
        consequence.ended.set_result(None)

    async def settle(self, timeout: float | None) -> list[BaseException]:
        """Wait until nothing is being handled any more.

        Parameters:
            timeout: Seconds after which what is still going on is cut off, and thereby reported lost.

        Returns:
            The errors of what was handled, already reported, and a `TimeoutError` if something was cut off.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while self._pending:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                await self._cut_off()
                self._errors.append(
                    TimeoutError(f"Events were still being handled after {timeout} s, and are reported lost.")
                )
                break
            await _wait(list(self._pending), left)
        errors, self._errors = self._errors, []
        return errors

    async def _cut_off(self) -> None:
        pending = list(self._pending)
        for each in pending:
            each.cut_off()
        await _wait(pending, CUT_OFF_GRACE_SECONDS)


async def _wait(pending: list[Consequence], timeout: float | None) -> None:
    await asyncio.wait([asyncio.wrap_future(each.ended) for each in pending], timeout=timeout)
