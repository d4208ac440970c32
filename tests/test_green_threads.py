"""Real threads under gevent and eventlet, each in a process of its own: what is patched stays patched."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastapi_events import green_threads

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}

PROGRAM = """
{patch}
import asyncio, threading
import _thread
from fastapi_events import green_threads
from fastapi_events.process_loop import process_loop

assert green_threads.are_threads_green()

async def work(number):
    await asyncio.sleep(0.05)
    return number

results = []
def wait(number):
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        results.append(process_loop().run(work(number)))

threads = [threading.Thread(target=wait, args=(number,)) for number in range(20)]
for each in threads: each.start()
for each in threads: each.join()
assert sorted(results) == list(range(20)), results
print("fine")
"""


def test_here_threads_are_real() -> None:
    assert not green_threads.are_threads_green()


@pytest.mark.parametrize("library", list(PATCH))
@pytest.mark.filterwarnings("ignore")
def test_many_green_threads_wait_for_one_loop_in_a_real_one(library: str) -> None:
    pytest.importorskip(library)
    program = PROGRAM.format(patch=PATCH[library])
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "fine\n", ended.stderr
