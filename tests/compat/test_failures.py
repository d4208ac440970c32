"""Errors that are no `Exception`, that take no attributes, or that are raised again and again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from fastapi_events.dispatcher import dispatch
from fastapi_events.handlers.base import BaseEventHandler
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from tests.asgi import call, responding
from tests.recording import Diary, Failing, Recorder

Outcome = pytest.fail.Exception  # derives from BaseException


def request(handlers: list[Any], *names: str, **settings: Any) -> None:
    def then() -> None:
        for name in names:
            dispatch(name)

    asyncio.run(call(EventHandlerASGIMiddleware(responding(then=then), handlers, **settings)))


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
@pytest.mark.parametrize("raise_errors", [None, True, False])
def test_pytest_fail_in_a_function_fails_the_test_once_all_have_run(
    names: list[str], raise_errors: bool | None
) -> None:
    handler, recorder, heard = LocalHandler(), Recorder(), []

    @handler.register(event_name="a")
    def must_not_be_called(event: object) -> None:
        pytest.fail("called")

    handler.register(lambda event: heard.append(event[0]))

    with pytest.raises(Outcome, match="called"):
        request([handler, recorder], *names, raise_errors=raise_errors)

    assert sorted(heard) == names
    assert recorder.names == names


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_so_it_does_in_a_handler_of_ones_own(names: list[str], diary: Diary) -> None:
    recorder = Recorder()

    class Mine(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            if event[0] == "a":
                pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception, match="not here"):
        request([Mine(), recorder], *names)

    assert recorder.names == names
    assert [name for name, _ in diary.of("failed")] == ["a"]


def test_so_does_the_side_effect_of_a_mock() -> None:
    class Above(BaseException):
        pass

    handler = LocalHandler()
    handler.register(Mock(side_effect=Above))
    with pytest.raises(Above), collect_events([handler]):
        dispatch("a")


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()], ids=["exit", "interrupt"])
@pytest.mark.parametrize("kind", ["sync", "async", "handler"])
def test_a_wish_to_end_the_process_is_the_failure_of_its_event(
    error: BaseException, kind: str, diary: Diary
) -> None:
    local, recorder = LocalHandler(), Recorder()

    async def asynchronous(event: object) -> None:
        raise error

    def synchronous(event: object) -> None:
        raise error

    handler: BaseEventHandler = local
    if kind == "handler":
        handler = Failing(error)
    else:
        local.register(asynchronous if kind == "async" else synchronous)

    request([handler, recorder], "a", "b")
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - whichever it was given
        request([handler], "a", raise_errors=True)

    assert raised.value is error
    assert recorder.names == ["a", "b"]
    assert sorted(name for name, _ in diary.of("failed")) == ["a", "a", "b"]


def test_a_detached_failure_above_exception_is_reported(diary: Diary) -> None:
    async def main() -> None:
        EventHandlerASGIMiddleware(responding(), [Failing(Outcome("no"))], middleware_id=71)
        dispatch("a", middleware_id=71)
        while not diary.of("failed"):
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_handler_that_cancels_itself_is_reported_and_its_siblings_run(diary: Diary) -> None:
    class Cancelling(BaseEventHandler):
        async def handle(self, event: Any) -> None:
            if event[0] == "a":
                raise asyncio.CancelledError
            heard.append(event[0])

    heard: list[str] = []
    recorder = Recorder()
    request([Cancelling(), recorder], "a", "b")

    assert heard == ["b"]
    assert recorder.names == ["a", "b"]
    assert [(name, str(rest["error"])) for name, rest in diary.of("failed")] == [
        ("a", "Cancelling cancelled itself")
    ]


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Slotted(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"no attribute {name}")


SHARED = ValueError("a constant of a module")


@pytest.mark.parametrize("error", [Frozen(5), Slotted(), SHARED], ids=["frozen", "slots", "shared"])
def test_every_time_that_an_error_is_raised_it_is_reported(error: Exception, diary: Diary) -> None:
    handler, heard = LocalHandler(), []

    @handler.register(event_name="a")
    async def first(event: object) -> None:
        raise error

    @handler.register(event_name="a")
    async def second(event: object) -> None:
        raise error

    handler.register(lambda event: heard.append(event[0]))

    request([handler, Failing(error)], "a", "a")
    request([handler, Failing(error)], "a")

    failed = [(rest["handler"], rest["subscription"]) for _, rest in diary.of("failed")]
    assert len(heard) == 3
    assert len([each for each in failed if each[0] == "LocalHandler"]) == 3 * 2
    assert len([each for each in failed if each == ("Failing", None)]) == 3
    assert not vars(SHARED)


# No cycle is left, so that what an error holds goes when the last one who looks at it does


class Held:
    pass


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    logging.disable()  # pytest keeps what is logged, errors included
    yield
    logging.disable(logging.NOTSET)
    gc.enable()


async def _asynchronous(event: Any) -> None:
    held = Held()
    event[1].append(weakref.ref(held))
    raise ValueError


class Own(BaseEventHandler):
    async def handle(self, event: Any) -> None:
        await _asynchronous(event)


def _through_a_request(handlers: list[Any], found: list[Any]) -> None:
    app = responding(then=lambda: dispatch("a", found))
    asyncio.run(call(EventHandlerASGIMiddleware(app, handlers)))


def _through_a_request_of_two(handlers: list[Any], found: list[Any]) -> None:
    def then() -> None:
        dispatch("a", found)
        dispatch("a", found)

    app = responding(then=then)
    asyncio.run(call(EventHandlerASGIMiddleware(app, [*handlers, Recorder()])))


def _through_a_block(handlers: list[Any], found: list[Any]) -> None:
    with collect_events(handlers):
        dispatch("a", found)


def _through_a_block_that_raises(handlers: list[Any], found: list[Any]) -> None:
    with contextlib.suppress(ValueError), collect_events(handlers, raise_errors=True):
        dispatch("a", found)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "way",
    [_through_a_request, _through_a_request_of_two, _through_a_block, _through_a_block_that_raises],
    ids=["request", "two", "block", "raised"],
)
@pytest.mark.parametrize("function", [_asynchronous, None], ids=["async", "handler"])
def test_a_failure_leaves_no_cycle(
    way: Callable[[list[Any], list[Any]], None], function: Callable[[Any], Any] | None
) -> None:
    handler: BaseEventHandler = Own()
    if function is not None:
        handler = LocalHandler()
        handler.register(function)
    found: list[Any] = []

    way([handler], found)

    assert found
    assert [held() for held in found] == [None] * len(found)


@pytest.mark.usefixtures("no_collector")
def test_an_endpoint_that_raises_leaves_no_cycle() -> None:
    found: list[Any] = []

    def fail() -> None:
        held = Held()
        found.append(weakref.ref(held))
        raise ValueError

    async def main() -> None:
        with contextlib.suppress(ValueError):
            await call(EventHandlerASGIMiddleware(responding(then=fail), [Recorder()]))

    asyncio.run(main())
    assert found[0]() is None
