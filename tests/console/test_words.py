"""How times, numbers and states are written."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from fastapi_events.console import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"), (0.0, "0 s"), (0.012, "12 ms"), (1.25, "1.2 s"), (45.0, "45 s"), (150.0, "2 min"),
        (7_300.0, "2 h"), (5_000.0, "83 min"), (260_000.0, "3 d"),
    ],
)  # fmt: skip
def test_lengths_of_time(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


def test_times_are_told_as_their_distance_and_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(words.clock, "timestamp", lambda: now)

    assert words.ago(now - 180.2) == "3 min ago"
    assert words.ago(now) == "now"
    assert words.ago(datetime.fromtimestamp(now + 7_200.4, UTC)) == "in 2 h"
    assert words.ago(None) == "\u2013"
    assert words.iso(0.0) == "1970-01-01T00:00:00.000+00:00"
    assert words.exactly(datetime.fromtimestamp(0.0, UTC))[-6] in "+-"
    assert words.exactly(None) == ""


def test_numbers_states_and_ids() -> None:
    assert words.number(1_234_567) == "1\u202f234\u202f567"
    assert words.number(None) == "\u2013"
    assert (words.said("nobody"), words.said("fanned_out"), words.said("dead")) == (
        "no worker", "fanned out", "dead",
    )  # fmt: skip
    assert (words.tone("dead"), words.tone("retried, succeeded"), words.tone("else")) == (
        "bad", "warn", "plain",
    )  # fmt: skip
    assert words.short("0123456789abcdef") == "0123456789ab…"
    assert words.short("short") == "short"
