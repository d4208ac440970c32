"""NullHandler does nothing."""

from __future__ import annotations

import asyncio
import math

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.null import NullHandler


def test_it_takes_events_one_by_one_and_many_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(NullHandler().handle_many([Event("hello")]))
    asyncio.run(NullHandler().handle(Event("hello")))

    assert capsys.readouterr().out == ""


def test_it_needs_no_task_and_takes_events_of_any_delay() -> None:
    handler = NullHandler()

    assert (handler.never_waits, handler.longest_delay) == (True, math.inf)
