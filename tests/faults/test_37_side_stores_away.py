"""Row 37: the store of catalogue and journal is away."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tests.faults.brokers import Valkey
from tests.faults.conftest import PATIENT, Row
from tests.faults.running import Shop
from tests.ports import free_port
from tests.proxy import Proxy

FAULT = "the store of catalogue and journal hangs, then is gone"


def test_events_go_on_without_it(row: Row, tmp_path: Path) -> None:
    # Given two kinds of workers on one queue, whose catalogue and journal are on a server of their own
    server = Valkey(tmp_path / "side")
    with Proxy(server.port) as proxy:
        shop = row.shop(side_url=server.url_through(proxy.port))
        shop.start()
        wrapping = shop.start_worker(module="wrapping")
        shop.wait_until(lambda: shop.place(1, owed=False) and _wraps(shop), "the other kind's first event")
        shop.history.subscriptions = ("ship", "bill", "wrap")
        share = row.events // 4

        # When it does not answer, then all functions go on
        proxy.hang()
        hanging = shop.place(share)
        shop.wait_until(lambda: _all_done(shop, hanging), "what was ordered while it hung")

        # And when it is gone, too
        proxy.lead_to(free_port())
        proxy.heal()
        proxy.cut()
        gone = shop.place(share)
        shop.wait_until(lambda: _all_done(shop, gone), "what was ordered while it was gone")
        assert shop.failed_requests == 0

        # And when a worker starts that has never read it, it finds out who listens when it can
        shop.kill(wrapping)
        shop.start_worker(module="wrapping")
        shop.place(share)
        proxy.lead_to(server.port)
        shop.place(row.events - 3 * share)
        verdict = shop.settle()
        row.record(37, FAULT, "outbox", verdict)
        assert not verdict.lost, shop.logs()
        assert verdict.handled == 3 * row.events
        assert verdict.dead == 0
        assert shop.restarts == 0
        told = [log.read_text(errors="replace") for log in shop.folder.glob("worker-*.log")]
        assert any("cannot be reached; what was known last stays in force" in each for each in told)
    server.close()


def _wraps(shop: Shop) -> bool:
    return any(subscription == "wrap" for subscription, _ in shop.history.parts("handled"))


def _all_done(shop: Shop, numbers: Iterable[int]) -> bool:
    wanted = {(name, number) for name in shop.history.subscriptions for number in numbers}
    return wanted <= shop.history.parts("handled")


def test_what_is_paused_stays_so_while_its_store_is_away(row: Row, tmp_path: Path) -> None:
    # Given a function that is paused, and a journal beside it
    server = Valkey(tmp_path / "side")
    with Proxy(server.port) as proxy:
        shop = row.shop(side_url=server.url_through(proxy.port), handler=PATIENT)
        shop.start()
        target = "tests.faults.shop.handlers:events"
        shop.output("fastapi_events", "pause", target, "bill")
        time.sleep(2)  # what it promises: from then on nothing is started
        share = row.events // 2

        # When the store hangs, then is gone: the sibling goes on, and the function starts nothing
        proxy.hang()
        placed = shop.place(share)
        shop.wait_until(lambda: _shipped(shop, placed), "what was ordered while it hung")
        proxy.lead_to(free_port())
        proxy.heal()
        proxy.cut()
        placed = shop.place(row.events - share)
        shop.wait_until(lambda: _shipped(shop, placed), "what was ordered while it was gone")
        assert shop.failed_requests == 0
        assert {name for name, _ in shop.history.parts("handled")} == {"ship"}

        # Then, once the store is back and it is resumed, it handles all of them
        proxy.lead_to(server.port)
        proxy.cut()
        shop.output("fastapi_events", "resume", target, "bill")
        verdict = shop.settle()
        row.record(37, "a function is paused, and the store that says so goes away", "outbox", verdict)
        assert not verdict.lost, shop.logs()
        assert verdict.handled == 2 * row.events
        assert verdict.dead == 0
        assert shop.restarts == 0
    server.close()


def _shipped(shop: Shop, numbers: Iterable[int]) -> bool:
    return {("ship", number) for number in numbers} <= shop.history.parts("handled")
