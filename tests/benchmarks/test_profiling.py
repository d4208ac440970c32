"""The tracer sees what threads do, and not those that wait."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from benchmarks.profiling import by_part, table

# In a process of its own: the hook would hear of all that the other tests have left running in this one.
PROGRAM = """
import threading
from benchmarks.profiling import Tracer, by_part, table

def work_hard():
    return sum(number * number for number in range(10_000))

def run():
    work_hard()
    ended.set()

ended = threading.Event()
with Tracer() as tracer:
    thread = threading.Thread(target=run)
    thread.start()
    assert ended.wait(30)
    thread.join()

print({name for _, name in tracer.times})
print(table(tracer.times))
print(by_part(tracer.times))
"""


def test_the_busy_are_seen_and_the_idle_are_not() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=True
    ).stdout
    names, *page, parts = told.splitlines()

    assert "'work_hard'" in names
    assert any("`work_hard`" in line for line in page)
    assert "`__main__`" in parts


def test_the_table_adds_up_what_it_does_not_show() -> None:
    times = Counter({("fastapi_events.scope", f"f{number}"): 1 for number in range(20)})

    assert "| | 8 others | 40% |" in table(times)
    assert by_part(times) == "`fastapi_events.scope` 100%."
