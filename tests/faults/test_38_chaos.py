"""Row 38: overlapping faults, drawn from a seed, under traffic. `make chaos SEED=7 MINUTES=2` runs it."""

from __future__ import annotations

import contextlib
import heapq
import http.client
import itertools
import os
import random
import signal
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.faults.conftest import Row
from tests.faults.running import Process, Shop
from tests.proxy import Proxy

FAULT = "chaos"
SEEDS = [int(each) for each in os.environ.get("FASTAPI_EVENTS_CHAOS_SEEDS", "1").split()]
SECONDS = float(os.environ.get("FASTAPI_EVENTS_CHAOS_MINUTES", "1")) * 60
KEYS = ("a", "b", "c")
FIRST_SALE = 1_000_000
FIRST_STEP = 2_000_000
PAUSE_SECONDS = 0.05


class Clients:
    """Clients that order, step in the order of their key, and sell, until they are told to stop."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.steps: dict[str, list[int]] = {key: [] for key in KEYS}
        self.unclear: set[int] = set()
        """What may be dispatched after those that follow, since the client has not waited for its end."""
        self._threads = [threading.Thread(target=self._order), threading.Thread(target=self._sell)]
        self._threads += [threading.Thread(target=self._step, args=(key,)) for key in KEYS]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join()

    def _order(self) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_SECONDS):
            number += 1
            with contextlib.suppress(TimeoutError):
                if self._post(f"/orders/{number}"):
                    with self._lock:
                        self._shop.history.accept([number])

    def _step(self, key: str) -> None:
        number = FIRST_STEP + KEYS.index(key)
        while not self._stopping.wait(PAUSE_SECONDS):
            number += len(KEYS)
            try:
                if self._post(f"/steps/{number}?key={key}"):
                    self.steps[key].append(number)
            except TimeoutError:
                self.unclear.add(number)

    def _sell(self) -> None:
        number = FIRST_SALE
        while not self._stopping.wait(PAUSE_SECONDS):
            number += 1
            with contextlib.suppress(TimeoutError):
                self._post(f"/sales/{number}?how={'rollback' if number % 3 == 0 else 'commit'}")

    def _post(self, path: str) -> bool:
        """Whether the client has read the whole of a good response.

        Raises:
            TimeoutError: When the web process may still be at it.
        """
        request = urllib.request.Request(f"http://127.0.0.1:{self._shop.port}{path}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                response.read()
                return True
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise TimeoutError from error
            return False


class Nemesis:
    """Draws faults, which overlap, and mends each of them after a while."""

    def __init__(self, seed: int, row: Row, shop: Shop, proxy: Proxy) -> None:
        self._random = random.Random(seed)
        self._row = row
        self._shop = shop
        self._proxy = proxy
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._broken: set[str] = set()
        self.killed = 0
        self.said: list[str] = []
        self.web = shop.start_web()

    def rage(self, seconds: float) -> None:
        begun = time.monotonic()
        following = begun
        while time.monotonic() < begun + seconds:
            self._mend(time.monotonic())
            if time.monotonic() >= following:
                self._strike(time.monotonic() - begun)
                following = time.monotonic() + self._random.uniform(0.5, 4.0)
            self._shop.tend()
            time.sleep(0.05)
        self._mend(float("inf"))

    def _strike(self, at: float) -> None:
        what = self._random.choice(["hang", "cut", "broker", "kill", "freeze", "term", "web", "web-term"])
        lasts = self._random.uniform(0.2, 6.0)
        place = {"hang": "way", "cut": "way", "broker": "broker", "kill": "worker", "freeze": "worker",
                 "term": "worker", "web": "web", "web-term": "web"}[what]  # fmt: skip
        if place in self._broken:
            return
        self.said.append(f"{at:5.1f} s {what} for {lasts:.1f} s")
        mend = getattr(self, f"_{what.replace('-', '_')}")(lasts)
        self._broken.add(place)

        def mended() -> None:
            self._broken.discard(place)
            mend()

        heapq.heappush(self._due, (time.monotonic() + lasts, len(self.said), mended))

    def _mend(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            heapq.heappop(self._due)[2]()

    def _hang(self, _lasts: float) -> Callable[[], None]:
        self._proxy.hang()
        return self._proxy.heal

    def _cut(self, _lasts: float) -> Callable[[], None]:
        self._proxy.cut()
        return self._proxy.heal

    def _broker(self, _lasts: float) -> Callable[[], None]:
        self._row.broker.kill()
        return self._row.broker.start

    def _a_worker(self) -> Process:
        return self._random.choice(self._shop.workers)

    def _kill(self, _lasts: float) -> Callable[[], None]:
        self.killed += 1
        self._shop.kill(self._a_worker())
        return self._start_worker

    def _term(self, _lasts: float) -> Callable[[], None]:
        self._shop.dismiss(self._a_worker())
        return self._start_worker

    def _start_worker(self) -> None:
        self._shop.start_worker(module="chaotic")

    def _freeze(self, lasts: float) -> Callable[[], None]:
        worker = self._a_worker()
        self._shop.signal(worker, signal.SIGSTOP)
        # Not longer, even if a web process that is about to start waits for what the worker has locked.
        thaw = threading.Timer(lasts, self._shop.signal, (worker, signal.SIGCONT))
        thaw.start()
        return thaw.join

    def _web(self, _lasts: float) -> Callable[[], None]:
        self._shop.kill(self.web)
        return self._start_web

    def _web_term(self, _lasts: float) -> Callable[[], None]:
        self.web.send_signal(signal.SIGTERM)
        return self._start_web

    def _start_web(self) -> None:
        self.web = self._shop.start_web()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_overlaps_nothing_is_lost_overtaken_or_invented(row: Row, seed: int) -> None:
    proxy = row.proxy()
    # A worker may be frozen while it has the store's only write lock: events that are answered for meanwhile
    # are safe only if the others wait for so long. What comes of stores that fail is for other rows.
    shop = row.shop(
        through=proxy, lanes=True, sales=True, module="chaotic", store={"busy_timeout": 30.0},
        handler={"durability": "response", "max_crashes": 1_000, "flush_deadline": 10.0},
    )  # fmt: skip
    shop.history.subscriptions = ("ship", "bill", "count")
    for _ in range(2):
        shop.start_worker(module="chaotic")
    nemesis = Nemesis(seed, row, shop, proxy)
    clients = Clients(shop)
    try:
        nemesis.rage(SECONDS)
    finally:
        clients.stop()
    told = "\n".join(nemesis.said)

    # Nothing is lost
    verdict = shop.settle()
    row.record(38, FAULT, 'outbox, durability="response"', verdict)
    assert not verdict.lost, f"{told}\n{shop.logs()}"
    assert verdict.dead == 0, told
    assert verdict.renamed == frozenset()
    steps = {("step", number) for accepted in clients.steps.values() for number in accepted}
    shop.wait_until(
        lambda: steps <= shop.history.parts("handled"),
        lambda: f"every step: not {sorted(steps - shop.history.parts('handled'))}\n{told}",
    )

    # Nothing is overtaken, nor what a killed web process has dispatched without a whole response
    for key, handled in _first_of_each_key(shop).items():
        got = [number for number in handled if number not in clients.unclear]
        assert got == sorted(got), f"{key}: {_overtaken(got)}\n{told}"

    # What is to run once runs again only where a process was killed in between
    again = _again(shop, "count")
    assert len(again) <= 4 * (nemesis.killed + shop.restarts), f"{again}\n{told}"

    # And an event exists if its transaction was committed, and only then
    sold = {number for number in shop.sales() if number > FIRST_SALE}
    shop.wait_until(lambda: sold <= _handled(shop, "ship"), f"the events of sales\n{told}")
    assert {each for each in _handled(shop, "ship") if FIRST_SALE < each < FIRST_STEP} == sold, told


def _overtaken(numbers: list[int]) -> list[tuple[int, int]]:
    return [(before, after) for before, after in itertools.pairwise(numbers) if before > after]


def _handled(shop: Shop, subscription: str) -> set[int]:
    return {number for name, number in shop.history.parts("handled") if name == subscription}


def _again(shop: Shop, subscription: str) -> list[int]:
    counts: dict[int, int] = defaultdict(int)
    for each in shop.history.book("handled"):
        if each["subscription"] == subscription:
            counts[each["number"]] += 1
    return [number for number, count in counts.items() if count > 1]


def _first_of_each_key(shop: Shop) -> dict[str, list[int]]:
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for each in shop.history.book("handled"):
        if each["subscription"] == "step":
            found[each["key"]].setdefault(each["number"])
    return {key: list(numbers) for key, numbers in found.items()}
