"""The circuit breaker."""

from __future__ import annotations

from fastapi_events.handlers.task_queue.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_lets_everything_through_until_the_threshold() -> None:
    breaker = Breaker(threshold=2, clock=Clock())

    breaker.failed()
    assert breaker.allows()
    breaker.failed()

    assert breaker.is_open
    assert not breaker.allows()


def test_while_open_it_lets_one_through_in_a_while() -> None:
    clock = Clock()
    breaker = Breaker(pause=2.0, clock=clock)
    breaker.failed()

    clock.now += 1.9
    assert not breaker.allows()
    clock.now += 0.2
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_one_success_closes_it() -> None:
    breaker = Breaker(threshold=2, clock=Clock())
    breaker.failed()
    breaker.failed()

    breaker.succeeded()
    assert breaker.allows()

    breaker.failed()
    assert breaker.allows()  # failures are counted anew
