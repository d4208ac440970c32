"""How old a message is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fastapi_events.envelope import seal
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.depth import QueueDepth, age_of


@pytest.fixture
def argument() -> str:
    """A message about an event of five minutes ago."""
    event = Event("cat-fed", {}, dispatched_at=datetime.now(UTC) - timedelta(minutes=5))
    return seal(event, source="test")


def test_it_is_as_old_as_its_event(argument: str) -> None:
    assert age_of([argument]) == pytest.approx(300, abs=60)
    assert age_of([f"[{argument}]"]) == pytest.approx(300, abs=60)


@pytest.mark.parametrize("arguments", [[], ["no envelope"], [{}], [None]])
def test_of_what_cannot_be_read_nobody_knows(arguments: list[object]) -> None:
    assert age_of(arguments) is None


def test_what_a_broker_does_not_tell_is_none() -> None:
    found = QueueDepth(queue="events")
    assert (found.ready, found.in_hand, found.delayed, found.dead, found.consumers) == (None,) * 5
