"""Handing events to handlers: isolation, and the loops on which it happens."""

from __future__ import annotations

import asyncio
import gc

from fastapi_events.context import handler_store, handling_loop
from fastapi_events.delivery import deliver, handle_soon, keep, settle
from fastapi_events.event import Event
from fastapi_events.process_loop import process_loop
from tests.recording import Diary, Failing, Recorder


def test_every_handler_gets_every_event_whatever_the_others_do(diary: Diary) -> None:
    recorder = Recorder()
    handler_store[1] = [Failing(ValueError("no")), recorder, object()]
    try:
        errors = asyncio.run(deliver(1, [Event("a"), Event("b")]))
    finally:
        del handler_store[1]

    assert recorder.names == ["a", "b"]
    assert len(errors) == 2  # one of each handler that failed
    assert {rest["handler"] for _, rest in diary.of("failed")} == {"Failing", "object"}


def test_handlers_run_side_by_side() -> None:
    async def main() -> None:
        first, second = asyncio.Event(), asyncio.Event()

        class Waiting(Recorder):
            def __init__(self, mine: asyncio.Event, other: asyncio.Event) -> None:
                super().__init__()
                self.mine, self.other = mine, other

            async def handle_many(self, events):  # type: ignore[no-untyped-def]
                self.mine.set()
                await self.other.wait()

        handler_store[1] = [Waiting(first, second), Waiting(second, first)]
        await deliver(1, [Event("a")])

    asyncio.run(asyncio.wait_for(main(), 10))
    del handler_store[1]


def test_a_task_is_kept_until_it_ends() -> None:
    async def main() -> list[str]:
        done: list[str] = []
        gate = asyncio.Event()

        async def work() -> None:
            await gate.wait()
            done.append("done")

        keep(work())
        await asyncio.sleep(0)
        gc.collect()
        gate.set()
        await settle(10)
        return done

    assert asyncio.run(main()) == ["done"]


def test_settling_is_bounded() -> None:
    async def main() -> bool:
        task = keep(asyncio.Event().wait())
        await settle(0.01)
        return task.done()

    assert asyncio.run(main()) is False


def test_without_a_loop_an_event_is_handled_on_the_process_loop() -> None:
    loops: list[object] = []

    class Looking(Recorder):
        async def handle(self, event: Event) -> None:
            loops.append(asyncio.get_running_loop())
            loops.append(handling_loop.get())

    assert handle_soon([Looking()], Event("a")) is None
    process_loop().run(settle(10))

    assert loops == [process_loop().loop] * 2


def test_errors_keep_the_order_of_the_handlers_whoever_of_them_waits() -> None:
    class Waiting(Failing):
        async def handle_many(self, events):  # type: ignore[no-untyped-def]
            await asyncio.sleep(0)
            raise self.error

    first, second, third = KeyError(), ValueError(), TypeError()
    handler_store[1] = [Failing(first), Waiting(second), Failing(third)]
    try:
        errors = asyncio.run(deliver(1, [Event("a")]))
    finally:
        del handler_store[1]

    assert errors == [first, second, third]
