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

# What both a green thread and the event loop's real one use: a socket of gevent's belongs to one of them.
SHARING = """
{patch}
import sys, threading
from fastapi_events import green_threads
from fastapi_events.handlers.brokers.connection_pool import Keep
from fastapi_events.process_loop import process_loop
from fastapi_events.storage.redis import RedisStore

here = green_threads.real_thread()
keep, store = Keep(), RedisStore(sys.argv[1])

def use():
    with keep.lent() as own:
        owners = [each.opened_in for each in own]
        if not own:
            own.append(Connection())
    claims = [store.inbox.begin(key, token="t", lease=60) for key in "abc"]
    return owners, claims

class Connection:
    def __init__(self):
        self.opened_in = green_threads.real_thread()
    def close(self): ...

async def on_loop():
    return green_threads.real_thread(), use()

assert use()[0] == []
for _ in range(3):
    there, (owners, _) = process_loop().run(on_loop())
    assert there != here
    assert set(owners) <= {{there}}, owners
    assert use()[0] == [here]
    green = []
    thread = threading.Thread(target=lambda: green.append((green_threads.real_thread(), use()[0])))
    thread.start(); thread.join()
    assert green == [(here, [here])], green
print("fine")
"""


def test_here_threads_are_real() -> None:
    assert not green_threads.are_threads_green()
    assert green_threads.real_thread() == 0  # nobody has to tell threads apart


def run(program: str, library: str, *arguments: str) -> None:
    pytest.importorskip(library)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program.format(patch=PATCH[library]), *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout == "fine\n", ended.stderr


@pytest.mark.parametrize("library", list(PATCH))
def test_many_green_threads_wait_for_one_loop_in_a_real_one(library: str) -> None:
    run(PROGRAM, library)


@pytest.mark.valkey
@pytest.mark.parametrize("library", list(PATCH))
def test_no_connection_wanders_from_one_real_thread_to_another(library: str, valkey_url: str) -> None:
    run(SHARING, library, valkey_url)
