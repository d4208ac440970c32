"""Chaining: what a function dispatches in a worker goes out before it counts as succeeded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from fastapi_events.context import current_event
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import FunctionExited, NotPublished
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.worker.chained_events import Chained
from fastapi_events.ids import NamedIds
from fastapi_events.process_loop import process_loop
from fastapi_events.subscriptions.dependencies import Caller
from tests.recording import Diary, Recorder


class Way:
    """Where events go out; it remembers each flush, and what had happened by then."""

    def __init__(self) -> None:
        self.flushes: list[list[str]] = []
        self.events: list[list[Event]] = []
        self.refusing: Exception | None = None

    async def flush(self, events: Sequence[Event]) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.flushes.append([str(event.name) for event in events])
        self.events.append(list(events))


class Strict(Recorder):
    """A handler that refuses events of one name on the line that dispatches them."""

    def on_dispatch(self, event: Event) -> None:
        if event.name == "refused":
            raise ValueError("cannot travel")


@pytest.fixture
def way() -> Way:
    return Way()


@pytest.fixture
def chained(way: Way) -> Chained:
    flushing: Any = way  # all that is asked of it is to flush
    return Chained(Strict(), flushing)


def blocking(function: Callable[[], None]) -> Callable[[Caller], Coroutine[Any, Any, None]]:
    return lambda caller: caller.sync(function)


def awaiting(function: Callable[[], None]) -> Callable[[Caller], Coroutine[Any, Any, None]]:
    async def coroutine() -> None:
        function()

    return lambda caller: caller.coro(coroutine)


Kind = Callable[[Callable[[], None]], Callable[[Caller], Coroutine[Any, Any, None]]]

each_kind = pytest.mark.parametrize(
    ("kind", "is_async"), [(blocking, False), (awaiting, True)], ids=["sync", "async"]
)


@each_kind
def test_all_that_it_dispatched_is_one_flush_after_it_has_returned(
    chained: Chained, way: Way, kind: Kind, is_async: bool
) -> None:
    def work() -> None:
        dispatch("first")
        dispatch("second")
        assert way.flushes == []

    chained.run(kind(work), ids=NamedIds("1", "work"), is_async=is_async)

    assert way.flushes == [["first", "second"]]


@each_kind
def test_who_dispatches_nothing_flushes_nothing(
    chained: Chained, way: Way, kind: Kind, is_async: bool
) -> None:
    chained.run(kind(lambda: None), ids=NamedIds("1", "work"), is_async=is_async)

    assert way.flushes == []


@each_kind
def test_what_a_failed_function_dispatched_goes_nowhere(
    chained: Chained, way: Way, diary: Diary, kind: Kind, is_async: bool
) -> None:
    def work() -> None:
        dispatch("follow-up")
        raise ValueError("after dispatching")

    with pytest.raises(ValueError, match="after dispatching"):
        chained.run(kind(work), ids=NamedIds("1", "work"), is_async=is_async)

    assert way.flushes == []
    assert [name for name, _ in diary.of("discarded")] == ["follow-up"]


@each_kind
def test_what_cannot_go_out_fails_the_function(
    chained: Chained, way: Way, kind: Kind, is_async: bool
) -> None:
    way.refusing = NotPublished("the broker is away")

    with pytest.raises(NotPublished, match="broker is away"):
        chained.run(kind(lambda: dispatch("follow-up")), ids=NamedIds("1", "work"), is_async=is_async)


@each_kind
def test_what_the_handler_refuses_is_refused_where_it_is_dispatched(
    chained: Chained, way: Way, kind: Kind, is_async: bool
) -> None:
    def work() -> None:
        dispatch("fine")
        with pytest.raises(ValueError, match="cannot travel"):
            dispatch("refused")

    chained.run(kind(work), ids=NamedIds("1", "work"), is_async=is_async)

    assert way.flushes == [["fine"]]


@each_kind
def test_each_run_has_a_scope_of_its_own(chained: Chained, way: Way, kind: Kind, is_async: bool) -> None:
    for name in "ab":
        chained.run(kind(lambda name=name: dispatch(name)), ids=NamedIds("1", "work"), is_async=is_async)  # type: ignore[misc]

    assert way.flushes == [["a"], ["b"]]


def test_what_may_block_runs_in_this_thread_and_what_waits_on_the_loop_of_the_process(
    chained: Chained,
) -> None:
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())

    chained.run(blocking(work), ids=NamedIds("1", "work"), is_async=False)
    chained.run(awaiting(work), ids=NamedIds("1", "work"), is_async=True)
    chained.run(
        blocking(work), ids=NamedIds("1", "work"), is_async=True
    )  # a dependency of what waits: beside the loop

    async def its_thread() -> threading.Thread:
        return threading.current_thread()

    here, loop = threading.current_thread(), process_loop().run(its_thread())
    assert threads[:2] == [here, loop]
    assert threads[2] not in (here, loop)


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt()])
def test_a_function_that_wants_to_end_the_process_has_failed(
    chained: Chained, way: Way, error: BaseException
) -> None:
    def leave() -> None:
        dispatch("never")
        raise error

    outcome: list[BaseException] = []

    def work() -> None:
        for kind, is_async in ((blocking, False), (awaiting, True)):
            try:
                chained.run(kind(leave), ids=NamedIds("1", "work"), is_async=is_async)
            except FunctionExited as failed:
                outcome.append(failed)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)

    assert [each.__cause__ for each in outcome] == [error, error]
    assert way.flushes == []


def test_a_signal_of_the_process_is_let_through(chained: Chained) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chained.run(blocking(interrupted), ids=NamedIds("1", "work"), is_async=False)


def test_it_goes_by_the_name_of_its_handler(chained: Chained) -> None:
    assert chained.name == "Strict"


@each_kind
def test_who_runs_again_dispatches_the_same_events(
    chained: Chained, way: Way, kind: Kind, is_async: bool
) -> None:
    def work() -> None:
        dispatch("first")
        dispatch("second", {"n": 1})
        dispatch("first")

    token = current_event.set(Event("cause", id="7"))
    try:
        for _ in range(2):
            chained.run(kind(work), ids=NamedIds("7", "work"), is_async=is_async)
        chained.run(kind(work), ids=NamedIds("7", "another"), is_async=is_async)
    finally:
        current_event.reset(token)

    once, again, another = [[event.id for event in flush] for flush in way.events]
    assert once == again
    assert len({*once, *another}) == 6
    assert {event.headers["causationid"] for flush in way.events for event in flush} == {"7"}
