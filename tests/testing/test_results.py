"""What a run says of itself, and what a failed assertion tells."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.errors import InvalidSetting
from fastapi_events.event import Event
from fastapi_events.testing.function_results import Function
from fastapi_events.testing.log import Entry
from fastapi_events.testing.results import Outstanding, Run

ONE, OTHER = Event("order-placed", {"number": 1}), Event("order-placed", {"number": 2})


def names(function: Function) -> frozenset[str]:
    return frozenset([function if isinstance(function, str) else function.__name__])


def entry(hook: str, event: Event = ONE, by: str | None = "cook", **rest: Any) -> Entry:
    return Entry(hook=hook, event=event, subscription=by, **rest)


def run_of(
    *entries: Entry,
    delayed: list[tuple[float, str]] | None = None,
    paused: dict[str, float | None] | None = None,
) -> Run:
    return Run(entries, names, Outstanding(delayed or [], paused or {}))


NOTHING = "Nothing ran. Nothing was dispatched."
BOTH = "order-placed {'number': 1}, order-placed {'number': 2}"

SUCCEEDED = run_of(
    entry("started"),
    entry("failed", error=TimeoutError("oven")),
    entry("retried", error=TimeoutError("oven"), wait=1.0, attempt=1),
    entry("started", OTHER),
    entry("started"),
    entry("succeeded", OTHER),
    entry("succeeded"),
)
DEAD = run_of(
    entry("started"),
    entry("failed", error=ValueError("gas")),
    entry("dead", reason="ValueError: gas", attempt=1),
)


def test_what_is_so_is_not_refused() -> None:
    SUCCEEDED.assert_ran("cook", times=2)
    SUCCEEDED.assert_succeeded("cook", attempts=3)
    SUCCEEDED.assert_not_ran("serve")
    SUCCEEDED.assert_nothing_dead()
    SUCCEEDED.assert_nothing_unmatched()
    DEAD.assert_dead("cook", reason="ValueError", attempts=1)


@pytest.mark.parametrize(
    ("assertion", "said"),
    [
        (lambda: SUCCEEDED.assert_ran("serve"), "serve did not run. What ran: cook."),
        (lambda: SUCCEEDED.assert_ran("cook", times=1), f"cook ran 2 times, not once: for {BOTH}."),
        (lambda: SUCCEEDED.assert_not_ran("cook"), f"cook ran 2 times: for {BOTH}."),
        (
            lambda: SUCCEEDED.assert_succeeded("cook", attempts=1),
            "cook took 3 attempts, not 1. It waited for [1.0] s in between.",
        ),
        (lambda: DEAD.assert_succeeded("cook"), "cook did not succeed after 1 attempt: ValueError: gas"),
        (
            lambda: SUCCEEDED.assert_dead("cook"),
            "No message to cook was given up: it succeeded for 2 events.",
        ),
        (lambda: DEAD.assert_dead("serve"), "No message to serve was given up: What ran: cook."),
        (
            lambda: DEAD.assert_dead("cook", reason="Key"),
            "cook was given up, not for 'Key':\n  ValueError: gas",
        ),
        (lambda: DEAD.assert_dead("cook", attempts=2), "cook was given up after 1 attempt, not 2."),
        (lambda: DEAD.assert_nothing_dead(), "1 given up:\n  cook: ValueError: gas"),
        (lambda: run_of().assert_ran("cook"), "cook did not run. Nothing ran. Nothing was dispatched."),
        (
            lambda: run_of(entry("dispatched", by=None), entry("unmatched", by=None)).assert_ran("cook"),
            "cook did not run. Nothing ran. Nobody listens to order-placed.",
        ),
        (
            lambda: run_of(entry("dispatched", by=None), delayed=[(600.0, "reminder")]).assert_ran("cook"),
            "cook did not run. Nothing ran. reminder waits for 600 s more: worker.advance(seconds=600).",
        ),
        (
            lambda: run_of(entry("dispatched", by=None), paused={"cook": None, "eat": 9.0}).assert_ran(
                "cook"
            ),
            "cook did not run. Nothing ran. cook is paused until it is resumed. eat is paused for 9 s more.",
        ),
        (
            lambda: run_of(entry("skipped")).assert_ran("cook"),
            f"cook did not run. It skipped 1 that it had completed before. {NOTHING}",
        ),
        (
            lambda: run_of(entry("lost", by=None, reason="q: away"), entry("dispatched")).assert_ran("cook"),
            "cook did not run. Nothing ran. Lost: 'order-placed', q: away.",
        ),
        (
            lambda: run_of(entry("started")).assert_succeeded("cook"),
            "cook did not succeed after 1 attempt: it has not returned yet",
        ),
    ],
    ids=range(17),
)
def test_what_is_not_so_is_told(assertion: Any, said: str) -> None:
    with pytest.raises(AssertionError) as failing:
        assertion()
    assert str(failing.value) == said


def test_what_was_discarded_was_not_dispatched() -> None:
    run = run_of(entry("dispatched"), entry("dispatched", OTHER), entry("discarded", OTHER))
    run.assert_dispatched_once("order-placed", number=1)
    run.assert_not_dispatched("order-placed", number=2)


def test_it_says_what_happened() -> None:
    assert repr(DEAD) == "<Run: What ran: cook.>"


def test_no_times_at_all_is_a_number_of_times() -> None:
    SUCCEEDED.assert_ran("serve", times=0)
    with pytest.raises(AssertionError, match="cook ran 2 times"):
        SUCCEEDED.assert_ran("cook", times=0)


@pytest.mark.parametrize(
    ("assertion", "said"),
    [
        (lambda: SUCCEEDED.assert_ran("cook", times="2"), "times='2': expected a whole number, 0 or more"),
        (lambda: SUCCEEDED.assert_ran("cook", times=True), "times=True"),
        (lambda: SUCCEEDED.assert_succeeded("cook", attempts=0), "attempts=0"),
        (lambda: DEAD.assert_dead("cook", reason=ValueError), "reason=<class 'ValueError'>: expected a text"),
    ],
    ids=["text", "flag", "none", "class"],
)  # fmt: skip
def test_an_argument_that_says_nothing_is_refused(assertion: Any, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        assertion()
