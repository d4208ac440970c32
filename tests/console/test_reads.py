"""Reads: in threads, under a deadline, once for all who ask the same."""

from __future__ import annotations

import asyncio
import threading

from fastapi_events.console.reads import Reads, Told


def test_who_asks_the_same_shares_an_answer() -> None:
    asked: list[int] = []

    async def ask_often() -> list[Told[int]]:
        reads = Reads(good_for=60.0)
        return await asyncio.gather(
            *(reads.ask("The store", "how many", lambda: asked.append(1) or 7) for _ in range(20))
        )

    assert asyncio.run(ask_often()) == [Told(7)] * 20
    assert len(asked) == 1


def test_after_a_change_it_is_asked_anew() -> None:
    answers = iter((1, 2))

    async def ask() -> tuple[int | None, int | None]:
        reads = Reads(good_for=60.0)
        first = await reads.ask("The store", "how many", lambda: next(answers))
        reads.forget()
        second = await reads.ask("The store", "how many", lambda: next(answers))
        return first.value, second.value

    assert asyncio.run(ask()) == (1, 2)


def test_a_failure_is_told_in_a_sentence() -> None:
    def fail() -> int:
        raise ConnectionError("it is away")

    told = asyncio.run(Reads().ask("The store", "how many", fail))

    assert told == Told(None, "The store cannot be asked: ConnectionError: it is away")


def test_what_hangs_is_told_after_the_deadline_and_costs_a_few_threads_only() -> None:
    released = threading.Event()
    begun: list[int] = []

    def hang() -> None:
        begun.append(1)
        released.wait(30)

    async def ask() -> list[Told[None]]:
        reads = Reads(deadline=0.2)
        return await asyncio.gather(*(reads.ask("The store", number, hang) for number in range(40)))

    try:
        told = asyncio.run(ask())
    finally:
        released.set()

    assert {each.trouble for each in told} == {
        "The store has not answered within 0.2 s.",
        "The store does not answer: 12 questions wait for it already.",
    }
    assert len(begun) <= 12


def test_an_answer_that_is_old_is_asked_for_with_the_call_of_now() -> None:
    async def ask() -> list[int | None]:
        reads = Reads(good_for=-1.0)
        return [(await reads.ask("The store", "since", lambda at=at: at)).value for at in (1, 2)]

    assert asyncio.run(ask()) == [1, 2]
