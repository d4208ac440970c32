"""What fails while an engine runs functions in place: where they are flushed, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_failures: ContextVar[list[BaseException] | None] = ContextVar("fastapi_events_failures", default=None)


@contextmanager
def failures_in_place() -> Iterator[list[BaseException]]:
    """Collect the errors of functions that are given up in place within the block.

    A flush within another, of what a function has dispatched, leaves its errors to the outermost: the
    function that dispatched has not failed.
    """
    if _failures.get() is not None:
        yield []
        return
    failures: list[BaseException] = []
    token = _failures.set(failures)
    try:
        yield failures
    finally:
        _failures.reset(token)


def raise_at_flush(error: BaseException) -> None:
    """Have an error of a function raised by the flush that runs it, once the other functions have run."""
    failures = _failures.get()
    if failures is not None:
        failures.append(error)
