"""For test suites of applications that dispatch events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi_events.scope import errors


@contextmanager
def raise_errors(enabled: bool = True) -> Iterator[None]:
    """A block in which every scope raises its handlers' errors that was not told `raise_errors=False`."""
    before = errors.raise_errors_by_default
    errors.raise_errors_by_default = enabled
    try:
        yield
    finally:
        errors.raise_errors_by_default = before
