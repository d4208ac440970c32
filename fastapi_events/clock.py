"""What time it is: that of the system, which a test may set ahead."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from fastapi_events import under_test


def now() -> datetime:
    """The time, with a time zone."""
    found = datetime.now(UTC)
    return found + timedelta(seconds=under_test.seconds_ahead) if under_test.seconds_ahead else found


def timestamp() -> float:
    """Seconds since 1970."""
    return time.time() + under_test.seconds_ahead


def monotonic() -> float:
    """Seconds that never go back, from an arbitrary beginning."""
    return time.monotonic() + under_test.seconds_ahead
