"""The circuit breaker."""

from __future__ import annotations

import threading

from fastapi_events.handlers.task_queue.publish.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_lets_everything_through_until_the_threshold() -> None:
    breaker = CircuitBreaker(threshold=2, clock=Clock())

    breaker.failed()
    assert breaker.allows()
    breaker.failed()

    assert breaker.is_open
    assert not breaker.allows()


def test_while_open_it_lets_one_through_in_a_while() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause=2.0, clock=clock)
    breaker.failed()

    clock.now += 1.9
    assert not breaker.allows()
    clock.now += 0.2
    assert [breaker.allows(), breaker.allows()] == [True, False]


def test_a_broker_that_has_just_refused_is_left_alone_for_the_whole_pause() -> None:
    clock = Clock()
    breaker = CircuitBreaker(pause=2.0, clock=clock)
    breaker.failed()
    clock.now += 2.0
    assert breaker.allows()

    clock.now += 1.5
    breaker.failed()  # the one that was let through
    clock.now += 1.0
    assert not breaker.allows()
    clock.now += 1.0
    assert breaker.allows()


def test_of_many_flushes_at_once_one_is_let_through() -> None:
    clock, ready, allowed = Clock(), threading.Barrier(8), []
    breaker = CircuitBreaker(pause=2.0, clock=clock)
    breaker.failed()
    clock.now += 2.0

    def flush() -> None:
        ready.wait(10)
        allowed.append(breaker.allows())

    threads = [threading.Thread(target=flush) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(allowed) == [False] * 7 + [True]


def test_a_closed_one_knows_of_no_pause() -> None:
    breaker = CircuitBreaker(pause=2.0, clock=Clock())
    breaker.failed()
    breaker.succeeded()

    assert [breaker.allows(), breaker.allows()] == [True, True]
    assert not breaker.is_open


def test_one_success_closes_it() -> None:
    breaker = CircuitBreaker(threshold=2, clock=Clock())
    breaker.failed()
    breaker.failed()

    breaker.succeeded()
    assert breaker.allows()

    breaker.failed()
    assert breaker.allows()  # failures are counted anew
