"""Every outbox does what an outbox has to, and an entry says what is wrong with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from fastapi_events.errors import StorageFull
from fastapi_events.storage.outbox import Entry
from fastapi_events.testing.contracts import OutboxContract


def entry(id_: str) -> Entry:
    return Entry(id=id_, destination="dramatiq:events", envelope="{}")


class TestOutbox(OutboxContract):
    @pytest.fixture
    def store(self, with_outbox: Any) -> Any:
        return with_outbox


def test_an_entry_says_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Entry(id="1", destination="dramatiq:events", envelope="{}", due=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="confirm"):
        Entry(id="1", destination="dramatiq:events", envelope="{}", confirm="perhaps")  # type: ignore[arg-type]


def test_an_outbox_has_a_limit(with_outbox: Any) -> None:
    # Given an outbox with room for three
    outbox = type(with_outbox.outbox)(
        *([with_outbox._database] if hasattr(with_outbox, "_database") else []), max_entries=3
    )
    outbox.add([entry("1"), entry("2")])
    # When more come than there is room for, then none of them are kept
    with pytest.raises(StorageFull, match="3"):
        outbox.add([entry("3"), entry("4")])
    assert [each.id for each in outbox.list()] == ["1", "2"]
    # and what is there already needs no room
    outbox.add([entry("2"), entry("3")])
    outbox.add([entry("1"), entry("2"), entry("3")])
    # and when some have gone, there is room again
    outbox.discard([entry("1")])
    outbox.add([entry("5")])
    assert [each.id for each in outbox.list()] == ["2", "3", "5"]
