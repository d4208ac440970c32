"""The clock is the system's, unless a test has set it ahead."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from fastapi_events import clock, under_test


def test_it_is_the_systems() -> None:
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.timestamp() == pytest.approx(time.time(), abs=5)
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=5)


def test_a_test_sets_it_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "seconds_ahead", 3_600.0)
    assert clock.now() - datetime.now(UTC) > timedelta(minutes=59)
    assert clock.timestamp() - time.time() > 3_500
    assert clock.monotonic() - time.monotonic() > 3_500
