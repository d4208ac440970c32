"""EchoHandler prints events."""

from __future__ import annotations

import asyncio
import math

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.echo import EchoHandler


def test_it_prints_the_pair_of_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(EchoHandler().handle_many([Event("hello", {"n": 1}), Event("bye")]))

    assert capsys.readouterr().out == "('hello', {'n': 1})\n('bye', None)\n"


def test_it_takes_events_of_any_delay() -> None:
    assert EchoHandler().longest_delay == math.inf
