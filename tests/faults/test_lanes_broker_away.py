"""A broker that is away for some seconds under ordered traffic: every lane goes on, soon and in its order."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict

import pytest

from tests.faults.conftest import HALVES, Row
from tests.faults.running import Shop

KEYS = ("a", "b", "c", "d")
AWAY_SECONDS = 3.0
STEP_SECONDS = 0.05
"""What is dispatched meanwhile is little, so that the time to work it off does not count as delay."""
LATE_SECONDS = 60.0
"""A busy machine takes some of it; lanes whose next message is lost with the broker take minutes."""


class Steps:
    """Steps of several keys, one request each."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._numbers = itertools.count(1)
        self.taken: dict[str, list[int]] = defaultdict(list)

    def take(self) -> None:
        """One step of each key."""
        for key in KEYS:
            number = next(self._numbers)
            self._shop.post(f"/steps/{number}?key={key}")
            self.taken[key].append(number)

    def handled(self) -> dict[str, list[int]]:
        """Those that were handled, in the order in which they were for the first time."""
        found: dict[str, dict[int, None]] = defaultdict(dict)
        for each in self._shop.history.book("handled"):
            found[each["key"]].setdefault(each["number"])
        return {key: list(numbers) for key, numbers in found.items()}

    def are_handled(self) -> bool:
        handled = self.handled()
        return all(set(handled.get(key, ())) >= set(self.taken[key]) for key in KEYS)


@pytest.mark.pairs(HALVES[0])
def test_every_lane_goes_on_soon_and_in_its_order(row: Row) -> None:
    # Given a web process, a worker, and lanes that are not in the broker
    proxy = row.proxy()
    shop = row.shop(through=proxy, lanes=True, module="chaotic")
    shop.start()
    steps = Steps(shop)
    steps.take()
    shop.wait_until(steps.are_handled, "the first steps")

    # When the broker is away for a while under traffic
    proxy.lead_to(1)
    proxy.cut()
    ends = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < ends:
        steps.take()
        time.sleep(STEP_SECONDS)
    proxy.lead_to(row.broker.port)
    back = time.monotonic()

    # Then every lane goes on when it is back
    late: dict[str, float] = {}
    while len(late) < len(KEYS):
        handled = steps.handled()
        for key in KEYS:
            if set(handled.get(key, ())) >= set(steps.taken[key]):
                late.setdefault(key, time.monotonic() - back)
        assert time.monotonic() - back < LATE_SECONDS, f"{late}\n{shop.logs()}"
        shop.tend()
        time.sleep(0.05)
    assert handled == dict(steps.taken)
    print(" ".join(f"{key}={seconds:.1f}s" for key, seconds in sorted(late.items())))  # noqa: T201 - to see
