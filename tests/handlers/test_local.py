"""`LocalHandler`: registering, matching, isolation and order."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from enum import Enum
from typing import Annotated

import pytest
from fastapi import Depends
from pydantic import BaseModel

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, InvalidSetting, MissingEventNameDuringRegistration
from fastapi_events.event import Event
from fastapi_events.handlers.local import LocalHandler, local_handler
from fastapi_events.scope import collect_events
from tests.recording import Diary


class Name(Enum):
    FISH = "fish"
    NUMBER = 7


class Fish(BaseModel):
    __event_name__ = "fish"

    size: int


def handle(handler: LocalHandler, *events: tuple[object, object]) -> None:
    async def main() -> None:
        await handler.handle_many([Event(*event) for event in events])  # type: ignore[arg-type]

    asyncio.run(main())


def test_register_in_all_its_forms() -> None:
    handler = LocalHandler()
    heard: list[str] = []

    @handler.register
    def bare(event):
        heard.append("bare")

    @handler.register(event_name="cat*")
    async def by_pattern(event):
        heard.append("by pattern")

    @handler.register(event_name="dog*")
    @handler.register(event_name="cat-*")
    def stacked(event):
        heard.append("stacked")

    def plain(event):
        heard.append("plain")

    assert handler.register(plain, event_name="cat-1") is plain
    assert handler.register(_func=plain) is plain
    handler.register(plain, "nobody")

    handle(handler, ("cat-1", None))

    assert heard == ["bare", "by pattern", "stacked", "plain", "plain"]


def test_a_pattern_matches_the_enum_member_by_name_and_by_value() -> None:
    handler = LocalHandler()
    heard: list[str] = []
    for pattern in ("fish", "Name.FISH", "Name.*", Name.FISH, "f?sh", "7", Name.NUMBER):
        handler.register(lambda event, pattern=pattern: heard.append(pattern), event_name=pattern)

    handle(handler, (Name.FISH, None))
    assert heard == ["fish", "Name.FISH", "Name.*", Name.FISH, "f?sh"]

    heard.clear()
    handle(handler, ("fish", None))
    assert heard == ["fish", Name.FISH, "f?sh"]

    heard.clear()
    handle(handler, (Name.NUMBER, None))
    assert heard == ["Name.*", Name.NUMBER]


def test_one_failing_function_stops_no_other(diary: Diary) -> None:
    handler = LocalHandler()
    heard: list[object] = []

    @handler.register(event_name="a")
    async def fails(event):
        raise ValueError("async")

    @handler.register(event_name="a")
    def fails_too(event):
        raise KeyError("sync")

    @handler.register(event_name="*")
    async def works(event):
        heard.append(event.name)

    with collect_events([handler]):
        dispatch("a")
        dispatch("b")

    assert sorted(heard) == ["a", "b"]
    assert [
        (rest["subscription"].rpartition(".")[2], type(rest["error"])) for _, rest in diary.of("failed")
    ] == [
        ("fails", ValueError),
        ("fails_too", KeyError),
    ]


def test_handle_raises_the_error_of_a_single_function_as_it_is() -> None:
    handler = LocalHandler()

    @handler.register
    def fails(event):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        asyncio.run(handler.handle(("hello", None)))


def test_a_function_that_cancels_itself_is_a_failure_like_any_other(diary: Diary) -> None:
    handler = LocalHandler()
    heard: list[str] = []

    @handler.register
    async def gives_up(event):
        raise asyncio.CancelledError

    @handler.register
    async def works(event):
        heard.append(event.name)

    with collect_events([handler]):
        dispatch("hello")

    assert heard == ["hello"]
    assert len(diary.of("failed")) == 1


def test_events_overlap_and_start_in_order() -> None:
    async def main() -> list[str]:
        handler, log = LocalHandler(), []
        gate = asyncio.Event()

        @handler.register
        async def work(event):
            log.append(f"start {event.name}")
            if event.name == "a":
                await gate.wait()
            else:
                gate.set()
            log.append(f"end {event.name}")

        async with collect_events([handler]):
            dispatch("a")
            dispatch("b")
        return log

    assert asyncio.run(asyncio.wait_for(main(), 10)) == ["start a", "start b", "end b", "end a"]


def test_a_handle_of_ones_own_is_called_for_every_event() -> None:
    handled: list[object] = []

    class Mine(LocalHandler):
        async def handle(self, event: Event) -> None:
            await asyncio.sleep(0)
            handled.append(event.name)

    handle(Mine(), ("a", None))
    handle(Mine(ordered=True), ("b", None), ("c", None))

    assert handled == ["a", "b", "c"]


def test_functions_that_never_wait_fail_one_by_one_as_well(diary: Diary) -> None:
    handler, heard = LocalHandler(), []

    @handler.register
    async def fail(event: Event) -> None:
        raise ValueError(event.name)

    @handler.register
    async def hear(event: Event) -> None:
        heard.append(event.name)

    with pytest.raises(Exception, match="errors in LocalHandler") as raised:
        handle(handler, ("a", None), ("b", None))

    assert heard == ["a", "b"]
    assert [str(each) for each in raised.value.exceptions] == ["a", "b"]  # type: ignore[attr-defined]
    assert len(diary.of("failed")) == 2


def test_an_ordered_handler_takes_one_event_after_the_other() -> None:
    async def main() -> list[str]:
        handler, log = LocalHandler(ordered=True), []

        @handler.register
        async def work(event):
            log.append(f"start {event.name}")
            await asyncio.sleep(0)
            log.append(f"end {event.name}")

        async with collect_events([handler]):
            for name in "abc":
                dispatch(name)
        return log

    assert asyncio.run(main()) == [f"{what} {name}" for name in "abc" for what in ("start", "end")]


def test_an_ordered_handler_goes_on_after_a_failure() -> None:
    handler, heard = LocalHandler(ordered=True), []

    @handler.register
    async def work(event):
        heard.append(event.name)
        if event.name == "a":
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        handle(handler, ("a", None), ("b", None))
    assert heard == ["a", "b"]


def test_sync_functions_run_in_a_thread_with_the_context() -> None:
    handler, seen = LocalHandler(), []
    tenant = contextvars.ContextVar("tenant", default="nobody")

    @handler.register
    def work(event):
        seen.append((threading.current_thread() is threading.main_thread(), tenant.get()))

    tenant.set("acme")
    handle(handler, ("hello", None))

    assert seen == [(False, "acme")]


def test_a_sync_function_that_raises_stop_iteration_does_not_hang(diary: Diary) -> None:
    handler = LocalHandler()
    handler.register(lambda event: next(iter(())))

    with collect_events([handler]):
        dispatch("hello")

    assert len(diary.of("failed")) == 1


def test_a_function_that_hides_being_async_is_awaited() -> None:
    handler, heard = LocalHandler(), []

    async def work(event):
        heard.append(event.name)

    handler.register(lambda event: work(event))
    handle(handler, ("hello", None))

    assert heard == ["hello"]


def test_dependencies_are_injected_and_can_be_replaced() -> None:
    handler, seen = LocalHandler(), []

    def session():
        return "real"

    @handler.register
    def work(event: Event, db: Annotated[str, Depends(session)], other=Depends(session)):
        seen.append((db, other))

    handle(handler, ("hello", None))
    handler.dependency_overrides[session] = lambda: "fake"
    handle(handler, ("hello", None))

    assert seen == [("real", "real"), ("fake", "fake")]


def test_a_model_is_rebuilt_where_it_is_asked_for() -> None:
    handler, seen = LocalHandler(), []

    @handler.register(Fish)
    def by_registration(fish):
        seen.append(fish)

    @handler.register(event_name="fish")
    def annotated_only(event: Fish):
        seen.append(event[1])

    @handler.register(Fish)
    def as_event(event: Event):
        seen.append(event.payload)

    @handler.register(event_name="fish")
    def plain(event):
        seen.append(event.payload)

    handle(handler, ("fish", {"size": "3"}))

    assert seen == [Fish(size=3), {"size": "3"}, Fish(size=3), {"size": "3"}]


def test_payloads_that_are_no_dict_are_fine() -> None:
    handler, seen = LocalHandler(), []
    handler.register(lambda event: seen.append(event[1]))

    handle(handler, ("a", 5), ("b", [1]), ("c", None), ("d", "text"))

    assert sorted(map(str, seen)) == ["5", "None", "[1]", "text"]


@pytest.mark.parametrize("wrong", ["cat*", 5, Name.FISH])
def test_a_name_in_the_place_of_the_function_is_refused_with_the_cure(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="register"):
        LocalHandler().register(wrong)  # type: ignore[call-overload]


def test_a_model_without_a_name_is_refused() -> None:
    class Nameless(BaseModel):
        pass

    with pytest.raises(MissingEventNameDuringRegistration):
        LocalHandler().register(Nameless)


def test_the_old_registry_is_a_view_of_the_subscriptions() -> None:
    handler = LocalHandler()

    def work(event):
        pass

    handler.register(work, event_name="a*")
    handler.register(work, event_name="b*")

    assert dict(handler._registry) == {"a*": [work], "b*": [work]}
    del handler._registry["a*"]
    assert [each.pattern for each in handler.subscriptions] == ["b*"]
    handler._registry["c"] = [work]
    assert list(handler._registry) == ["b*", "c"]
    handler._registry.clear()
    assert len(handler.subscriptions) == 0
    handler._registry = {"d": [work]}
    assert dict(handler._registry) == {"d": [work]}


def test_the_ready_made_handler_is_one_of_these() -> None:
    assert isinstance(local_handler, LocalHandler)


def test_an_option_of_queue_handlers_is_refused() -> None:
    handler = LocalHandler()
    with pytest.raises(InvalidSetting, match=r"unknown option 'queue'; it takes event_name= alone"):
        handler.register(event_name="cat", queue="kitchen")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"unknown option 'event_nam'; did you mean 'event_name'\?"):
        handler.register(event_nam="cat")  # type: ignore[call-overload]
    assert not list(handler.subscriptions)
