"""Whether workers are alive and consume: what is made of their reports, and of what waits."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.cli.worker_judge import Judge
from fastapi_events.worker_reports import Report

SILENT_AFTER = 10.0


def report(at: float, **changes: Any) -> Report:
    """Of a worker that has had room since it began at 0, and has taken nothing since."""
    said: dict[str, Any] = {
        "pid": 7, "engine": "list", "at": at, "booted": True, "in_hand": 0, "room_since": 0.0,
        "took": {"events": 0.0}, "stopped": [], "looped_at": at,
    }  # fmt: skip
    return said | changes  # type: ignore[return-value]


def judged(*looks: tuple[float, Report | None, int | None]) -> tuple[bool, bool, list[str]]:
    """What is thought after several looks at (time, report, messages that wait; None without a broker)."""
    judge = Judge(["list"], SILENT_AFTER)
    for now, each, ready in looks:
        waiting = {"list": None if ready is None else {"events": ready}}
        verdict, dead = judge.decide([] if each is None else [each], waiting, now=now)
        assert verdict["live"] == (not dead)
    return verdict["live"], verdict["ready"], verdict["problems"]


def test_a_worker_that_has_nothing_to_do_is_ready() -> None:
    assert judged((1_000.0, report(1_000.0), 0)) == (True, True, [])


def test_one_that_has_not_started_is_not() -> None:
    assert judged((1.0, None, 0)) == (True, False, ["list: no worker has started yet"])
    assert judged((1.0, report(1.0, booted=False), 0))[:2] == (True, False)


def test_one_that_takes_nothing_while_messages_wait_is_not_ready_and_then_not_live() -> None:
    def still_for(seconds: float) -> tuple[bool, bool, list[str]]:
        began = 100.0
        return judged((began, report(began), 5), (began + seconds, report(began + seconds), 5))

    assert still_for(9.0) == (True, True, [])
    live, ready, problems = still_for(11.0)
    assert (live, ready) == (True, False)
    assert problems == ["list, pid 7: messages wait in events, and it has taken none for 11 s"]
    assert still_for(21.0)[:2] == (False, False)


def test_one_that_takes_some_of_many_is_ready() -> None:
    assert judged((0.0, report(0.0), 5), (30.0, report(30.0, took={"events": 25.0}), 5))[:2] == (True, True)


def test_an_empty_queue_in_between_begins_anew() -> None:
    found = judged((0.0, report(0.0), 5), (15.0, report(15.0), 0), (20.0, report(20.0), 5))
    assert found == (True, True, [])


def test_one_that_is_busy_for_ten_minutes_is_live_and_ready() -> None:
    busy = report(600.0, in_hand=8, room_since=None, looped_at=0.0)
    assert judged((0.0, busy, 5), (600.0, busy, 5)) == (True, True, [])


@pytest.mark.parametrize("ready", [5, 0, None])
def test_one_whose_process_does_nothing_any_more_is_not_live_whether_or_not_messages_wait(
    ready: int | None,
) -> None:
    hangs = report(0.0)
    assert judged((0.0, hangs, ready), (19.0, hangs, ready))[:2] == (True, False)
    live, _, problems = judged((0.0, hangs, ready), (21.0, hangs, ready))
    assert not live
    assert "list, pid 7: it has not reported for 21 s" in problems
    never_booted = report(0.0, booted=False)
    assert not judged((0.0, never_booted, ready), (21.0, never_booted, ready))[0]


def test_one_whose_function_lets_nothing_else_run_stays_live() -> None:
    judge = Judge(["list"], SILENT_AFTER)
    silent = report(0.0, in_hand=8, room_since=None)

    # Given: it computes for 600 s, at a quarter of a busy CPU; then it does no more
    for second in range(601):
        verdict, dead = judge.decide([silent], {"list": {"events": 5}}, now=second, cpu={7: second / 4})
    assert (verdict["live"], dead) == (True, {})
    assert verdict["problems"] == ["list, pid 7: it has not reported for 600 s"]

    for second in range(601, 630):
        verdict, dead = judge.decide([silent], {"list": {"events": 5}}, now=second, cpu={7: 150.0})
    assert dead == {"list": "list, pid 7: it has not reported for 629 s"}


def test_one_whose_consumer_hangs_with_messages_in_hand_is_not_live_once_its_broker_answers() -> None:
    def hung(now: float, in_hand: int) -> Report:
        return report(now, in_hand=in_hand, looped_at=0.0)

    assert judged((0.0, hung(0.0, 1), 0), (21.0, hung(21.0, 1), 0))[:2] == (False, False)
    assert judged((0.0, hung(0.0, 0), 0), (21.0, hung(21.0, 0), 0))[:2] == (True, False)
    assert judged((0.0, hung(0.0, 1), None), (600.0, hung(600.0, 1), None), (601.0, hung(601.0, 1), 0))[0]


def test_without_a_broker_it_is_live_and_not_ready_for_however_long() -> None:
    found = judged((0.0, report(0.0), 5), (10.0, report(10.0), None), (600.0, report(600.0), None))
    assert found == (True, False, ["list: the broker does not answer"])
    back = judged((0.0, report(0.0), 5), (600.0, report(600.0), None), (601.0, report(601.0), 5))
    assert back == (True, True, [])


def test_one_whose_consumer_has_stopped_or_turns_no_more_is_not_ready() -> None:
    stopped = judged((50.0, report(50.0, stopped=["events"]), 0))
    assert stopped == (True, False, ["list, pid 7: the consumer of events has stopped"])
    hung = judged((50.0, report(50.0, looped_at=30.0), 0))
    assert hung == (True, False, ["list, pid 7: its consumer has not looked for messages for 20 s"])
    assert judged((50.0, report(50.0, looped_at=None), 0))[1]


def test_one_of_several_processes_speaks_for_all() -> None:
    judge = Judge(["list"], SILENT_AFTER)
    every = [report(50.0), report(50.0, pid=8, stopped=["events"])]

    verdict, _ = judge.decide(every, {"list": {"events": 0}}, now=50.0)

    assert not verdict["ready"]
    assert [each["pid"] for each in verdict["workers"]] == [7, 8]


def test_a_worker_that_is_started_again_gets_its_time() -> None:
    judge = Judge(["list"], SILENT_AFTER)
    for now in (0.0, 25.0):
        _, dead = judge.decide([report(now)], {"list": {"events": 1}}, now=now)
    assert dead == {"list": "list, pid 7: messages wait in events, and it has taken none for 25 s"}

    judge.begin_anew(["list"])

    assert judge.decide([report(26.0)], {"list": {"events": 1}}, now=26.0)[0]["live"]


def test_an_engine_that_does_not_miss_a_process_which_has_ended_is_not_live() -> None:
    """Dramatiq waits for ever for a process that was killed while it said that it has started."""
    judge = Judge(["list"], SILENT_AFTER)
    last = report(100.0)

    def look(now: float, ended: list[int]) -> tuple[bool, bool, dict[str, str]]:
        verdict, dead = judge.decide([last], {"list": {"events": 0}}, now=now, ended=ended)
        return verdict["live"], verdict["ready"], dead

    assert look(100.0, []) == (True, True, {})
    assert look(101.0, [7]) == (True, False, {})
    assert look(114.0, [7]) == (True, False, {})
    why = {"list": "list, pid 7: it has ended, which list has not noticed for 16 s"}
    assert look(116.0, [7]) == (False, False, why)
