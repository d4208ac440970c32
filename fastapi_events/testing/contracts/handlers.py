"""What every handler does, whatever it does with events."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import Any

import pytest

from fastapi_events import clock
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import DelayTooLong
from fastapi_events.event import Event
from fastapi_events.handlers.base import BaseEventHandler, check_hooks
from fastapi_events.scope import collect_events
from fastapi_events.subscriptions.runner import drive


class HandlerContract:
    """Tests of the fixture `handler`, to which events of any name may be sent."""

    DEADLINE_SECONDS = 30.0
    """What a hook may take, at most."""

    def test_it_takes_the_events_of_a_flush_by_name_in_a_deque_that_is_its_own(
        self, handler: BaseEventHandler
    ) -> None:
        asyncio.run(handler.handle_many(events=deque([Event("one", {"n": 1}), Event("two", {"n": 2})])))

    def test_it_takes_an_empty_flush(self, handler: BaseEventHandler) -> None:
        asyncio.run(handler.handle_many(events=deque()))

    def test_it_takes_a_single_event(self, handler: BaseEventHandler) -> None:
        asyncio.run(handler.handle(Event("one", {"n": 1})))

    def test_it_leaves_the_events_as_they_are(self, handler: BaseEventHandler) -> None:
        event = Event("one", {"n": 1, "inside": [1, {"a": 2}]})
        asyncio.run(handler.handle_many(events=deque([event])))
        assert event == ("one", {"n": 1, "inside": [1, {"a": 2}]})

    def test_it_gets_what_a_scope_has_collected(self, handler: BaseEventHandler) -> None:
        with collect_events([handler], raise_errors=True):
            dispatch("one", {"n": 1})
            dispatch("two")

    def test_what_has_the_names_of_hooks_are_hooks(self, handler: BaseEventHandler) -> None:
        check_hooks(handler)

    def test_it_starts_and_stops_in_bounded_time_and_again(self, handler: BaseEventHandler) -> None:
        async def live() -> None:
            async with asyncio.timeout(self.DEADLINE_SECONDS):
                await handler.on_startup()
                await handler.on_shutdown()

        asyncio.run(live())
        asyncio.run(live())

    def test_it_stops_without_having_started(self, handler: BaseEventHandler) -> None:
        asyncio.run(asyncio.wait_for(handler.on_shutdown(), self.DEADLINE_SECONDS))

    def test_it_refuses_what_it_cannot_hold_back(self, handler: BaseEventHandler) -> None:
        if handler.longest_delay == float("inf") or getattr(handler, "outbox", None) is not None:
            return  # it can hold everything back
        event = Event("late")
        event.due = clock.now() + timedelta(seconds=handler.longest_delay + 60)
        with pytest.raises(DelayTooLong):
            handler.on_dispatch(event)

    def test_it_waits_for_nothing_where_it_says_so(self, handler: BaseEventHandler) -> None:
        if handler.never_waits:
            drive(_handle(handler, [Event("one", {"n": 1})]))

    def test_its_name_is_a_text(self, handler: BaseEventHandler) -> None:
        assert handler.name
        assert isinstance(handler.name, str)


async def _handle(handler: BaseEventHandler, events: Any) -> None:
    await handler.handle_many(events=deque(events))
