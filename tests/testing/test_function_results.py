"""What a run says of one function."""

from __future__ import annotations

from tests.testing.test_results import DEAD, ONE, OTHER, SUCCEEDED, entry, run_of


def test_a_retry_is_no_second_time() -> None:
    cook = SUCCEEDED.of("cook")
    assert (cook.times, cook.attempts, cook.waits) == (2, 3, [1.0])
    assert cook.events == [ONE, OTHER]
    assert cook.succeeded == [OTHER, ONE]
    assert [str(each) for each in cook.errors] == ["oven"]
    assert cook.dead == cook.skipped == []


def test_a_second_delivery_is() -> None:
    assert run_of(entry("started"), entry("succeeded"), entry("started")).of("cook").times == 2


def test_what_one_function_did_is_told() -> None:
    assert repr(SUCCEEDED.of("cook")) == "<FunctionResults: ran 2 times, 3 attempts, 2 succeeded>"
    assert repr(DEAD.of("cook")) == "<FunctionResults: ran once, 1 attempt, 1 dead>"
