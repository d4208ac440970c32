"""The faults by name alone are those of the worker that is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.testing import InlineWorker, broker_down, crash_after, duplicate, reorder


def test_they_are_the_workers(queue: DramatiqHandler, worker: InlineWorker) -> None:
    queue.register(lambda event: None, event_name="x", name="f")
    with broker_down(queue):
        assert len(worker.emit("x").lost) == 1
    with crash_after("run"):
        worker.emit("x").assert_ran("f", times=2)
    with duplicate(), reorder(seed=1):
        assert worker.emit("x").of("f").times > 1


@pytest.mark.parametrize(
    "fault",
    [broker_down, lambda: crash_after("run"), duplicate, reorder],
    ids=["broker_down", "crash_after", "duplicate", "reorder"],
)
def test_without_a_worker_they_say_so(fault: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="use the fixture `worker`"):
        fault()
