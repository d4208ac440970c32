"""What handlers of one's own may rely on."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler


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


here: contextvars.ContextVar[str] = contextvars.ContextVar("here", default="nowhere")


def test_events_overlap_where_the_handler_waits() -> None:
    class Mine(BaseEventHandler):
        def __init__(self) -> None:
            self.entered = {"a": asyncio.Event(), "b": asyncio.Event()}

        async def handle(self, event: Event) -> None:
            self.entered[str(event.name)].set()
            await self.entered["b" if event.name == "a" else "a"].wait()

    async def main() -> None:
        await Mine().handle_many([Event("a"), Event("b")])

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("waits", [False, True])
def test_what_one_event_leaves_in_the_context_no_other_finds(waits: bool) -> None:
    found: list[str] = []

    class Through(BaseEventHandler):
        async def handle(self, event: Event) -> None:
            found.append(here.get())
            here.set(str(event.name))

    class Waiting(Through):
        async def handle(self, event: Event) -> None:
            await super().handle(event)

    async def main() -> None:
        await (Waiting() if waits else Through()).handle_many([Event("a"), Event("b")])
        found.append(here.get())

    asyncio.run(main())
    assert found == ["nowhere"] * 3


def test_several_events_that_fail_in_a_handler_that_never_waits_are_all_reported() -> None:
    handled: list[Any] = []

    class Mine(BaseEventHandler):
        async def handle(self, event: Event) -> None:
            handled.append(event.name)
            if event.payload:
                raise event.payload

    with pytest.raises(Exception, match="errors in Mine") as raised:
        asyncio.run(Mine().handle_many([Event("a", ValueError()), Event("b"), Event("c", KeyError())]))

    assert handled == ["a", "b", "c"]
    assert [type(each) for each in raised.value.exceptions] == [ValueError, KeyError]  # type: ignore[attr-defined]
