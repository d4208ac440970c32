"""The tracer sees what threads do, and not those that wait."""

from __future__ import annotations

import threading
from collections import Counter

from benchmarks.profiling import Tracer, by_part, table


def work_hard() -> int:
    return sum(number * number for number in range(10_000))


def test_the_busy_are_seen_and_the_idle_are_not() -> None:
    ended = threading.Event()

    def run() -> None:
        work_hard()
        ended.set()

    with Tracer() as tracer:
        thread = threading.Thread(target=run)
        thread.start()
        assert ended.wait(30)
        thread.join()

    names = {name for _, name in tracer.times}
    assert "work_hard" in names
    assert "`work_hard`" in table(tracer.times)
    assert "`tests`" in by_part(tracer.times)


def test_the_table_adds_up_what_it_does_not_show() -> None:
    times = Counter({("fastapi_events.scope", f"f{number}"): 1 for number in range(20)})

    assert "| | 8 others | 40% |" in table(times)
    assert by_part(times) == "`fastapi_events.scope` 100%."
