"""For test suites of applications that dispatch events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi_events import scope


@contextmanager
def raise_errors(enabled: bool = True) -> Iterator[None]:
    """A block in which every scope raises its handlers' errors, as if opened with `raise_errors=True`."""
    before = scope.raise_errors_everywhere
    scope.raise_errors_everywhere = enabled
    try:
        yield
    finally:
        scope.raise_errors_everywhere = before
