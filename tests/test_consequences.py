"""What events cause: waited for, cut off at a deadline, from any thread."""

from __future__ import annotations

import asyncio
import threading

from fastapi_events.consequences import Consequences


def test_nothing_is_waited_for_at_once() -> None:
    caused = Consequences()
    assert not caused
    assert asyncio.run(caused.settle(None)) == []


def test_what_is_caused_while_it_waits_is_waited_for_too() -> None:
    async def main() -> tuple[list[BaseException], list[int]]:
        caused, done = Consequences(), []

        async def work(depth: int) -> list[BaseException]:
            await asyncio.sleep(0)
            if depth:
                caused.follow(asyncio.ensure_future(work(depth - 1)))
            done.append(depth)
            return [ValueError(depth)]

        caused.follow(asyncio.ensure_future(work(3)))
        return await caused.settle(None), done

    errors, done = asyncio.run(asyncio.wait_for(main(), 10))
    assert done == [3, 2, 1, 0]
    assert [str(error) for error in errors] == ["3", "2", "1", "0"]


def test_what_another_thread_ends_is_waited_for() -> None:
    caused = Consequences()
    expected = caused.expect()
    threading.Timer(0.05, lambda: caused.end(expected, [KeyError()])).start()

    [error] = asyncio.run(asyncio.wait_for(caused.settle(None), 10))

    assert isinstance(error, KeyError)
    assert not caused


def test_at_the_deadline_it_is_cut_off() -> None:
    async def main() -> tuple[bool, list[BaseException]]:
        caused = Consequences()

        async def for_ever() -> list[BaseException]:
            await asyncio.Event().wait()
            return []

        task = asyncio.ensure_future(for_ever())
        caused.follow(task)
        errors = await caused.settle(0.05)
        return task.cancelled(), errors

    cancelled, [error] = asyncio.run(asyncio.wait_for(main(), 10))
    assert cancelled
    assert isinstance(error, TimeoutError)
