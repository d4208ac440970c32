"""Messages for functions that only other workers have: how soon each goes back to its queue."""

from __future__ import annotations

import math
from collections import Counter

from fastapi_events.handlers.task_queue.passes import Passes


def test_a_message_is_passed_on_at_once_and_after_some_times_with_longer_and_longer_waits() -> None:
    passes = Passes()

    waits = [passes.seconds("bill", ["{}"], alive=True) for _ in range(2_000)]

    assert waits[:8] == [0.0] * 8
    for doubled, wait in enumerate(waits[8:14]):
        assert 0.1 * 0.05 * 2**doubled <= wait <= 0.05 * 2**doubled
    assert all(0.2 <= each <= 2.0 for each in waits[14:])


def test_two_messages_that_are_passed_on_do_not_keep_step() -> None:
    """Each comes to the wrong one of two workers for ever otherwise, by a clock that ticks once a second."""
    passes = Passes()

    waits = [passes.seconds("bill", ["{}"], alive=True) for _ in range(2_000)]

    ticks = Counter(math.ceil(each) for each in waits[14:])
    assert set(ticks) == {1, 2}
    assert min(ticks.values()) > 500


def test_without_a_live_worker_it_waits_from_the_first_time() -> None:
    passes = Passes()

    waits = [passes.seconds("bill", ["{}"], alive=False) for _ in range(2_000)]

    assert 0.75 <= waits[0] <= 1.0
    assert waits[:6] == sorted(waits[:6])
    assert all(22.5 <= each <= 30.0 for each in waits[5:])


def test_each_message_has_its_own_count() -> None:
    passes = Passes()
    for _ in range(20):
        passes.seconds("bill", ["{}"], alive=True)

    assert passes.seconds("bill", ["another"], alive=True) == 0.0
    assert passes.seconds("mail", ["{}"], alive=True) == 0.0
