"""Errors of handlers, raised in tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi_events import checks, under_test


@contextmanager
def raise_errors(enabled: bool = True) -> Iterator[None]:
    """A block in which every scope raises its handlers' errors that was not told `raise_errors=False`."""
    checks.flag("enabled", enabled)
    before = under_test.raise_errors
    under_test.raise_errors = enabled
    try:
        yield
    finally:
        under_test.raise_errors = before
