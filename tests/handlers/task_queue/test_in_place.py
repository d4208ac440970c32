"""The outermost flush gets the errors of what runs in place, and nobody else."""

from __future__ import annotations

from fastapi_events.handlers.task_queue.in_place import failures_in_place, raise_at_flush


def test_the_outermost_block_gets_the_errors_of_all() -> None:
    first, second = ValueError("first"), ValueError("second")

    with failures_in_place() as outer:
        raise_at_flush(first)
        with failures_in_place() as inner:
            raise_at_flush(second)

    assert inner == []
    assert outer == [first, second]


def test_outside_of_a_flush_there_is_nobody_to_raise_it() -> None:
    raise_at_flush(ValueError("nobody"))

    with failures_in_place() as failures:
        pass
    assert failures == []
