"""Every journal does what it has to, within its limits."""

from __future__ import annotations

import sys
from collections import deque
from datetime import timedelta
from typing import Any

import pytest

from fastapi_events.storage import journal as journals
from fastapi_events.storage.journal import bucket_of
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.testing.contracts import JournalContract
from fastapi_events.testing.contracts.journal import _action as action


class TestJournal(JournalContract):
    pass


def test_a_histogram_has_a_bucket_for_everything() -> None:
    assert bucket_of("age", 0.0) == "age<=0.01"
    assert bucket_of("age", 0.5) == "age<=0.5"
    assert bucket_of("age", 0.51) == "age<=1"
    assert bucket_of("age", 1e9) == "age"


def test_limits_are_checked_where_they_are_written() -> None:
    with pytest.raises(ValueError, match="max_events=0: expected a whole number, 1 or more"):
        MemoryStore(max_events=0)
    with pytest.raises(ValueError, match="keep=-1: expected a number of seconds or a timedelta"):
        MemoryStore(keep=-1)
    assert MemoryStore(keep=timedelta(hours=1)).journal.keep_seconds == 3_600


def test_no_more_actions_are_kept_than_the_last_ones(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[type(store.journal).__module__]
    monkeypatch.setattr(module, "MAX_ACTIONS", 2)
    if hasattr(store.journal, "_actions"):  # which has its limit from the start
        monkeypatch.setattr(store.journal, "_actions", deque(maxlen=2))

    for at in range(5):
        store.journal.note(action(float(at)))

    assert [each.at for each in store.journal.actions()] == [4.0, 3.0]
    assert journals.MAX_ACTIONS == 10_000
