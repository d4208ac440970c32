"""Scopes: collecting, flushing, and what comes late."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest

from fastapi_events.context import handler_store, handling_loop, in_req_res_cycle
from fastapi_events.dispatcher import dispatch
from fastapi_events.event import Event
from fastapi_events.flush import FinishedScope
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.scope import collect_events, flush
from tests.processes import until
from tests.recording import Diary, Failing, Recorder


def test_events_are_flushed_together_when_the_block_ends() -> None:
    recorder = Recorder()

    with collect_events([recorder]):
        dispatch("first")
        dispatch("second", payload={"n": 2})
        assert recorder.flushes == []

    assert recorder.flushes == [[("first", None), ("second", {"n": 2})]]


def test_an_async_block_flushes_on_its_own_loop() -> None:
    loops = []
    handler = LocalHandler()

    @handler.register(event_name="*")
    async def remember(event):
        loops.append(asyncio.get_running_loop())

    async def main():
        async with collect_events([handler]):
            dispatch("hello")
        return asyncio.get_running_loop()

    expected = asyncio.run(main())
    assert loops == [expected]


def test_a_sync_block_inside_of_a_loop_says_what_to_write_instead() -> None:
    async def main():
        with collect_events([Recorder()]):
            pass

    with pytest.raises(RuntimeError, match="async with collect_events"):
        asyncio.run(main())


def test_a_block_that_raises_discards_its_events(diary: Diary) -> None:
    recorder = Recorder()

    with pytest.raises(ValueError, match="no"), collect_events([recorder]):
        dispatch("doomed")
        raise ValueError("no")

    assert recorder.events == []
    assert diary.of("discarded") == [("doomed", {})]


def test_a_callable_policy_judges_the_finished_scope() -> None:
    recorder = Recorder()
    seen: list[FinishedScope] = []

    def only_with_a_fish(scope: FinishedScope) -> bool:
        seen.append(scope)
        return any(name == "fish" for name, _ in scope.events)

    with collect_events([recorder], flush_when=only_with_a_fish):
        dispatch("bone")
    with collect_events([recorder], flush_when=only_with_a_fish):
        dispatch("fish")

    assert recorder.events == [("fish", None)]
    assert [(scope.error, scope.status, len(scope.events)) for scope in seen] == [(None, None, 1)] * 2


def test_a_scope_without_events_asks_nobody() -> None:
    recorder = Recorder()

    with collect_events([recorder], flush_when=lambda scope: pytest.fail("asked")):
        pass

    assert recorder.flushes == []


def test_flush_sends_what_has_been_collected_so_far() -> None:
    recorder = Recorder()

    async def main():
        async with collect_events([recorder]):
            dispatch("early")
            await flush()
            assert recorder.names == ["early"]
            dispatch("later")

    asyncio.run(main())
    assert recorder.flushes == [[("early", None)], [("later", None)]]


def test_flush_outside_of_a_scope_says_so() -> None:
    with pytest.raises(LookupError, match="no scope is open"):
        asyncio.run(flush())


def test_scopes_nest_and_the_inner_one_keeps_its_events() -> None:
    outer, inner = Recorder(), Recorder()

    with collect_events([outer]):
        dispatch("a")
        with collect_events([inner]):
            dispatch("b")
        dispatch("c")

    assert (outer.names, inner.names) == (["a", "c"], ["b"])


@pytest.mark.parametrize("raise_errors", [False, True])
def test_a_failing_handler_harms_no_other(raise_errors: bool, diary: Diary) -> None:
    recorder = Recorder()
    scope = collect_events(
        [Failing(ValueError("broken")), recorder, Failing(KeyError("too"))], raise_errors=raise_errors
    )

    if raise_errors:
        with pytest.raises(BaseException) as raised, scope:  # noqa: PT011 - the group is built in by 3.11 only
            dispatch("hello")
        assert [type(each) for each in raised.value.exceptions] == [ValueError, KeyError]
    else:
        with scope:
            dispatch("hello")

    assert recorder.names == ["hello"]
    assert [(rest["handler"], type(rest["error"])) for _, rest in diary.of("failed")] == [
        ("Failing", ValueError),
        ("Failing", KeyError),
    ]


def test_the_error_of_a_single_handler_is_raised_as_it_is() -> None:
    with (
        pytest.raises(ValueError, match=r"^broken$"),
        collect_events([Failing(ValueError("broken"))], raise_errors=True),
    ):
        dispatch("hello")


def test_the_error_of_the_block_comes_first() -> None:
    with (
        pytest.raises(KeyError),
        collect_events([Failing(ValueError("broken"))], raise_errors=True, flush_when="always"),
    ):
        dispatch("hello")
        raise KeyError("mine")


def test_a_detached_task_that_outlives_its_scope_is_still_heard() -> None:
    recorder = Recorder()

    async def main():
        gate, flushed = asyncio.Event(), asyncio.Event()

        async def outlive():
            await gate.wait()
            dispatch("late")

        async with collect_events([recorder]):
            task = asyncio.create_task(outlive())
            dispatch("in time")
        gate.set()
        await task
        while recorder.names != ["in time", "late"]:
            await asyncio.sleep(0)
        flushed.set()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_thread_that_outlives_its_scope_is_still_heard() -> None:
    recorder = Recorder()

    async def main():
        gate = threading.Event()

        def outlive():
            gate.wait(10)
            dispatch("late")

        async with collect_events([recorder]):
            running = asyncio.ensure_future(asyncio.to_thread(outlive))
            await asyncio.sleep(0)
        gate.set()
        await running
        while recorder.names != ["late"]:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_what_comes_after_the_loop_has_gone_is_reported_lost(diary: Diary) -> None:
    async def main():
        async with collect_events([Recorder()]):
            return contextvars.copy_context()

    context = asyncio.run(main())
    context.run(dispatch, "too late")

    [(name, rest)] = diary.of("lost")
    assert (name, rest["handler"]) == ("too late", "Recorder")
    assert "event loop is gone" in rest["reason"]


def test_what_comes_late_in_a_refused_scope_is_discarded_as_well(diary: Diary) -> None:
    recorder = Recorder()
    context = None
    with pytest.raises(ValueError, match="no"), collect_events([recorder]):
        context = contextvars.copy_context()
        dispatch("doomed")
        raise ValueError("no")

    context.run(dispatch, "late")

    assert recorder.events == []
    assert [name for name, _ in diary.of("discarded")] == ["doomed", "late"]


def test_what_comes_late_in_a_failed_scope_that_was_empty_is_discarded_as_well(diary: Diary) -> None:
    recorder = Recorder()
    context = None
    with pytest.raises(ValueError, match="no"), collect_events([recorder]):
        context = contextvars.copy_context()
        raise ValueError("no")

    context.run(dispatch, "late")

    assert recorder.events == []
    assert [name for name, _ in diary.of("discarded")] == ["late"]


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_what_was_committed_is_flushed_whatever_the_policy_says(in_a_loop: bool, diary: Diary) -> None:
    recorder = Recorder()

    def fail(backlog):
        dispatch("dispatched")
        backlog.append_committed(Event("committed"))
        raise RuntimeError

    async def main():
        async with collect_events([recorder]) as backlog:
            fail(backlog)

    with pytest.raises(RuntimeError):
        if in_a_loop:
            asyncio.run(main())
        else:
            with collect_events([recorder]) as backlog:
                fail(backlog)

    assert recorder.names == ["committed"]
    assert [name for name, _ in diary.of("discarded")] == ["dispatched"]


def test_what_is_committed_late_is_handled_though_nobody_holds_the_scope() -> None:
    recorder = Recorder()
    with collect_events([recorder]) as backlog:
        pass

    backlog.append_committed(Event("committed"))
    del backlog
    gc.collect()

    until(lambda: recorder.names == ["committed"], "the flush of a late event")


def test_what_follows_something_else_does_not_enter_the_scope() -> None:
    recorder, taken = Recorder(), []

    with collect_events([recorder]) as backlog:
        backlog.follows = lambda into, event: taken.append((into is backlog, event.name))
        dispatch("elsewhere")
        backlog.follows = None
        dispatch("here")

    assert taken == [(True, "elsewhere")]
    assert recorder.names == ["here"]


def test_a_policy_that_fails_costs_neither_the_block_nor_the_events() -> None:
    recorder = Recorder()

    with collect_events([recorder], flush_when=lambda scope: scope.nonsense):  # type: ignore[attr-defined]
        dispatch("hello")

    assert recorder.names == ["hello"]


def test_nothing_is_left_behind_by_a_scope() -> None:
    before = len(handler_store)

    for _ in range(100):
        with collect_events([Recorder()]):
            dispatch("hello")
    gc.collect()

    assert len(handler_store) <= before + 1


def test_a_cancelled_wait_does_not_cancel_the_delivery() -> None:
    recorder = Recorder()

    async def main():
        entered, gate = asyncio.Event(), asyncio.Event()

        class Slow(Recorder):
            async def handle_many(self, events):
                entered.set()
                await gate.wait()
                await recorder.handle_many(events)

        async def work():
            async with collect_events([Slow()]):
                dispatch("precious")

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        while not recorder.events:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_handler_that_never_waits_gets_a_context_of_its_own_as_in_a_task() -> None:
    seen = []
    left = contextvars.ContextVar("left", default="nothing")

    class Through(Recorder):
        never_waits = True

        async def handle_many(self, events):
            seen.append((in_req_res_cycle.get(), handling_loop.get(), left.get()))
            left.set("something")

    async def main():
        for _ in range(2):
            async with collect_events([Through()]):
                dispatch("hello")
        return asyncio.get_running_loop(), left.get(), handling_loop.get()

    loop, leaked, outside = asyncio.run(main())
    assert seen == [(None, loop, "nothing")] * 2
    assert (leaked, outside) == ("nothing", None)


def test_a_cancelled_scope_is_still_delivered() -> None:
    recorder = Recorder()

    async def main():
        entered = asyncio.Event()

        async def work():
            async with collect_events([recorder], flush_when="always"):
                dispatch("precious")
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 10))
    assert recorder.names == ["precious"]


def test_a_handler_that_waits_although_it_never_does_loses_its_events_aloud(
    diary: Diary, caplog: pytest.LogCaptureFixture
) -> None:
    class Liar(Recorder):
        never_waits = True

        async def handle_many(self, events):
            await asyncio.Event().wait()

    async def main():
        async with collect_events([Liar()]):
            dispatch("unlucky")

    asyncio.run(main())

    [(name, rest)] = diary.of("lost")
    assert (name, rest["handler"]) == ("unlucky", "Liar")
    assert "A handler that never waits, as it says, has waited" in caplog.text


def test_a_delivery_cut_off_by_the_end_of_the_loop_is_reported_lost(diary: Diary) -> None:
    class Never(Recorder):
        async def handle_many(self, events):
            await asyncio.Event().wait()

    async def main():
        async with collect_events([Never()]):
            dispatch("unlucky")

    async def impatient():
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(impatient())

    [(name, rest)] = diary.of("lost")
    assert (name, rest["handler"]) == ("unlucky", "Never")
