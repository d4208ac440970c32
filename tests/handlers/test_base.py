"""What handlers of one's own may rely on."""

from __future__ import annotations

import asyncio

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.echo import EchoHandler
from fastapi_events.handlers.null import NullHandler


def test_handle_many_calls_handle_for_each_in_order() -> None:
    handled: list[Event] = []

    class Mine(BaseEventHandler):
        async def handle(self, event: Event) -> None:
            handled.append(event)

    asyncio.run(Mine().handle_many([Event("a"), Event("b")]))

    assert handled == [("a", None), ("b", None)]


def test_one_event_that_fails_does_not_stop_the_others() -> None:
    handled: list[Event] = []

    class Mine(BaseEventHandler):
        async def handle(self, event: Event) -> None:
            if event.name == "bad":
                raise ValueError("no")
            await asyncio.sleep(0)
            handled.append(event)

    with pytest.raises(ValueError, match="no"):
        asyncio.run(Mine().handle_many([Event("bad"), Event("good")]))
    assert handled == [("good", None)]


def test_handle_has_to_be_written() -> None:
    with pytest.raises(TypeError, match="handle"):
        BaseEventHandler()  # type: ignore[abstract]


def test_echo_prints_the_pair(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(EchoHandler().handle_many([Event("hello", {"n": 1})]))

    assert capsys.readouterr().out == "('hello', {'n': 1})\n"


def test_null_does_nothing() -> None:
    asyncio.run(NullHandler().handle_many([Event("hello")]))
    asyncio.run(NullHandler().handle(Event("hello")))
