"""An outbox whose time a test sets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fastapi_events.storage.memory import MemoryOutbox


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def outbox(time: Time) -> MemoryOutbox:
    return MemoryOutbox(clock=time)
