"""What is told of a handler and its fleet: plain values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict

import pytest

from fastapi_events.handlers.task_queue.depth import QueueDepth
from fastapi_events.status import QueueStatus


def test_they_are_frozen_and_made_of_what_json_can_say() -> None:
    found = QueueStatus(depth=QueueDepth(queue="events", ready=1), workers=None)

    with pytest.raises(FrozenInstanceError):
        found.workers = ()  # type: ignore[misc]
    assert asdict(found)["depth"]["ready"] == 1
