"""Row 28: the application is imported, and used, before its processes are forked."""

from __future__ import annotations

from tests.faults.conftest import PATIENT, Row

FAULT = "fork after import"

PREFORK = """
import os, sys
from fastapi_events.dispatcher import dispatch
from fastapi_events.lifecycle import Lifecycle, observe
from fastapi_events.scope import collect_events
from tests.faults.shop.events import events

class Refused(Lifecycle):
    def __init__(self):
        self.events = []
    def stored(self, events, *, handler, reason):
        self.events += events

refused = Refused()
observe(refused)

def place(numbers):
    for number in numbers:
        with collect_events([events], raise_errors=True):
            dispatch("order-placed", payload={"number": number, "do": ""})

def sockets():
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:         # the one with which the folder was read
            pass
    return {each for each in found if each.startswith("socket:")}

first, count = map(int, sys.argv[1:])
place(range(first, first + count))        # threads, sockets and database handles are open now
assert not refused.events                 # the broker has taken them all
inherited = sockets()
children = []
for child in range(4):
    pid = os.fork()
    if not pid:
        begin = first + count * (child + 1)
        place(range(begin, begin + count))
        assert not refused.events
        assert sockets() - inherited, "the child has no connection of its own"
        sys.exit(0)                       # what runs at exit runs in the child, too
    children.append(pid)
place(range(first + count * 5, first + count * 6))
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
place(range(first + count * 6, first + count * 7))
assert codes == [0, 0, 0, 0], codes
"""


def test_nothing_is_shared_across_it(row: Row) -> None:
    # Given an application that has been used before it is forked, as under a server that preloads it
    shop = row.shop(handler=PATIENT)
    shop.start_worker()
    count = row.events // 7

    # When parent and children dispatch at once
    server = shop.run(PREFORK, "1", str(count))

    # Then each of them does so with connections of its own, and everything is handled
    assert server.wait(100) == 0, shop.logs()
    shop.history.accept(range(1, count * 7 + 1))
    verdict = shop.settle()
    row.record(28, FAULT, "outbox", verdict)
    assert not verdict.lost, shop.logs()
    assert (verdict.reported, verdict.renamed) == (0, frozenset())
