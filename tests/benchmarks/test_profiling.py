"""The sampler sees what threads do, and not those that wait."""

from __future__ import annotations

import threading
from collections import Counter

from benchmarks.profiling import Sampler, by_part, table


def test_the_busy_are_seen_and_the_idle_are_not() -> None:
    sampler = Sampler()
    ended = threading.Event()

    def work_hard() -> None:
        while not any(name == "work_hard" for _, name in sampler.samples):
            sum(range(100))
        ended.set()

    with sampler:
        threading.Thread(target=work_hard).start()
        assert ended.wait(30)

    names = {name for _, name in sampler.samples}
    assert "work_hard" in names
    assert "wait" not in names
    assert "`work_hard`" in table(sampler.samples)
    assert "`tests`" in by_part(sampler.samples)


def test_the_table_adds_up_what_it_does_not_show() -> None:
    samples = Counter({("fastapi_events.scope", f"f{number}"): 1 for number in range(20)})

    assert "| | 8 others | 40% |" in table(samples)
    assert by_part(samples) == "`fastapi_events.scope` 100%."
